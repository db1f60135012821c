"""Rows of tokens: secrets with a name, which belong to an account."""

from dataclasses import dataclass
from typing import Any, Final

from sqlalchemy import bindparam, delete, not_, or_, select, update

from moorage.db.engine import Prepared, Tx
from moorage.db.schema import tokens
from moorage.db.statements import insert


@dataclass(frozen=True, slots=True)
class Token:
    """`kind` is personal, robot, refresh or invitation; `scopes` is JSON or None; times are microseconds."""

    id: int
    account: int
    name: str
    kind: str
    scopes: str | None
    created_at: int
    expires_at: int | None
    used_at: int | None
    used_from: str | None

    def usable(self, now: int) -> bool:
        return self.expires_at is None or now < self.expires_at


_SELECT = select(
    tokens.c.id,
    tokens.c.account_id,
    tokens.c.name,
    tokens.c.kind,
    tokens.c.scopes,
    tokens.c.created_at,
    tokens.c.expires_at,
    tokens.c.used_at,
    tokens.c.used_from,
)
_BY_HASH: Final = Prepared(_SELECT.where(tokens.c.secret_hash == bindparam("hash")))
_BY_ID: Final = Prepared(_SELECT.where(tokens.c.id == bindparam("token")))
_NAMED = or_(tokens.c.kind == "personal", tokens.c.kind == "robot")
"""Those that somebody gave a name, or the registry for them; the others stand for a password."""

_OF: Final = Prepared(_SELECT.where(tokens.c.account_id == bindparam("account"), _NAMED).order_by(tokens.c.id))
_ADD: Final = Prepared(
    lambda dialect: insert(
        dialect, tokens, "account_id", "name", "kind", "secret_hash", "scopes", "created_at", "expires_at"
    ).returning(tokens.c.id)
)
_USED: Final = Prepared(
    update(tokens).where(tokens.c.id == bindparam("token")).values(used_at=bindparam("at"), used_from=bindparam("by"))
)
_SHORTEN: Final = Prepared(
    update(tokens)
    .where(
        tokens.c.id == bindparam("token"), or_(tokens.c.expires_at.is_(None), tokens.c.expires_at > bindparam("end"))
    )
    .values(expires_at=bindparam("at"))
)
_REMOVE: Final = Prepared(delete(tokens).where(tokens.c.id == bindparam("token")))
_REMOVE_ALL: Final = Prepared(delete(tokens).where(tokens.c.account_id == bindparam("account")))
_REMOVE_REFRESH: Final = Prepared(delete(tokens).where(tokens.c.account_id == bindparam("account"), not_(_NAMED)))


def by_hash(tx: Tx, kept: str) -> Token | None:
    return _token(_BY_HASH.one(tx, hash=kept))


def find(tx: Tx, identity: int) -> Token | None:
    return _token(_BY_ID.one(tx, token=identity))


def of(tx: Tx, account: int) -> list[Token]:
    """The tokens that an account was given by name."""
    return [found for row in _OF.all(tx, account=account) if (found := _token(row))]


def add(
    tx: Tx, account: int, name: str, kind: str, kept: str, scopes: str | None, now: int, expires_at: int | None
) -> int:
    """A new token, by the hash of its secret.  Gives its id."""
    row = _ADD.one(
        tx,
        account_id=account,
        name=name,
        kind=kind,
        secret_hash=kept,
        scopes=scopes,
        created_at=now,
        expires_at=expires_at,
    )
    if row is None:
        raise LookupError("a new token has no id")
    return int(row[0])


def used(tx: Tx, identity: int, at: int, by: str) -> None:
    """When and from where it was used last."""
    _USED.run(tx, token=identity, at=at, by=by)


def shorten(tx: Tx, identity: int, at: int) -> None:
    """Let a token end at a time, unless it ends before: what a rotation leaves the old one."""
    _SHORTEN.run(tx, token=identity, at=at, end=at)


def remove(tx: Tx, identity: int) -> bool:
    return bool(_REMOVE.run(tx, token=identity))


def remove_of(tx: Tx, account: int, *, only_refresh: bool = False) -> None:
    """Revoke an account's tokens, or only those that stand for its password: refresh tokens, invitations."""
    (_REMOVE_REFRESH if only_refresh else _REMOVE_ALL).run(tx, account=account)


def _token(row: tuple[Any, ...] | None) -> Token | None:
    return Token(*row) if row else None
