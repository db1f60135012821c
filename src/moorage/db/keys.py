"""Rows of the keys that sign bearer tokens."""

from typing import Final

from sqlalchemy import bindparam, delete, select

from moorage.db.engine import Prepared, Tx
from moorage.db.schema import signing_keys
from moorage.db.statements import insert

_ALL: Final = Prepared(
    select(signing_keys.c.id, signing_keys.c.public, signing_keys.c.private, signing_keys.c.created_at).order_by(
        signing_keys.c.created_at.desc(), signing_keys.c.id
    )
)
_ADD: Final = Prepared(
    lambda dialect: insert(dialect, signing_keys, "id", "public", "private", "created_at").on_conflict_do_nothing()
)
_REMOVE: Final = Prepared(delete(signing_keys).where(signing_keys.c.created_at < bindparam("before")))

Row = tuple[str, str, str, int]
"""Id, public key as JSON, private key encrypted, when it was made."""


def newest_first(tx: Tx) -> list[Row]:
    return [(row[0], row[1], row[2], row[3]) for row in _ALL.all(tx)]


def add(tx: Tx, identity: str, public: str, private: str, now: int) -> None:
    _ADD.run(tx, id=identity, public=public, private=private, created_at=now)


def remove_before(tx: Tx, before: int) -> None:
    """Forget keys so old that no token they signed can still be good."""
    _REMOVE.run(tx, before=before)
