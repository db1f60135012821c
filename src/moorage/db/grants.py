"""Rows of grants: who may do what on which repositories."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

from sqlalchemy import bindparam, delete, or_, select

from moorage.db.engine import Prepared, Tx
from moorage.db.schema import grants, repositories
from moorage.db.statements import among, insert
from moorage.db.tx import Dialect


@dataclass(frozen=True, slots=True)
class Row:
    """A grant as stored: patterns and actions are text, times microseconds since the epoch."""

    id: int
    subject: str
    pattern: str
    actions: str
    created_by: str
    created_at: int
    expires_at: int | None


_COLUMNS = (
    grants.c.id,
    grants.c.subject,
    grants.c.pattern,
    grants.c.actions,
    grants.c.created_by,
    grants.c.created_at,
    grants.c.expires_at,
)


def _applying(dialect: Dialect) -> Any:
    return select(grants.c.subject, grants.c.pattern, grants.c.actions, grants.c.expires_at).where(
        or_(grants.c.owner == "*", grants.c.owner == bindparam("owner")),
        among(dialect, grants.c.subject, "subjects"),
    )


_APPLYING: Final = Prepared(_applying)
_OF_OWNER: Final = Prepared(
    select(*_COLUMNS)
    .where(grants.c.owner == bindparam("owner"), grants.c.id > bindparam("after"))
    .order_by(grants.c.id)
    .limit(bindparam("most"))
)
_BY_ID: Final = Prepared(select(*_COLUMNS).where(grants.c.id == bindparam("grant")))
_ON: Final = Prepared(
    select(*_COLUMNS).where(grants.c.subject == bindparam("whose"), grants.c.pattern == bindparam("on_pattern"))
)
_REMOVE: Final = Prepared(delete(grants).where(grants.c.id == bindparam("grant")))
_OF_SUBJECT: Final = Prepared(delete(grants).where(grants.c.subject == bindparam("whose")))
_VISIBILITY: Final = Prepared(select(repositories.c.visibility).where(repositories.c.name == bindparam("name")))


_VISIBILITIES: Final = Prepared(
    lambda dialect: select(repositories.c.name, repositories.c.visibility).where(
        among(dialect, repositories.c.name, "names")
    )
)


def _put(dialect: Dialect) -> Any:
    added = insert(dialect, grants, "subject", "owner", "pattern", "actions", "created_by", "created_at", "expires_at")
    changed = ("actions", "created_by", "created_at", "expires_at")
    return added.on_conflict_do_update(
        index_elements=[grants.c.subject, grants.c.pattern],
        set_={name: added.excluded[name] for name in changed},
    )


_PUT: Final = Prepared(_put)


def applying(tx: Tx, owner: str, subjects: tuple[str, ...]) -> list[tuple[str, str, str, int | None]]:
    """The grants to any of `subjects` whose patterns can match a repository of `owner`.

    Of each the subject, the pattern, the actions, and when it ends.
    """
    return _APPLYING.all(tx, owner=owner, subjects=list(subjects))


def visibility(tx: Tx, repository: str) -> str | None:
    """The visibility of a repository; None where there is none of this name."""
    row = _VISIBILITY.one(tx, name=repository)
    return row[0] if row else None


def visibilities(tx: Tx, names: Sequence[str]) -> dict[str, str]:
    """The same for several names, without those of which there is none."""
    return dict(_VISIBILITIES.all(tx, names=list(names)))


def put(
    tx: Tx, subject: str, owner: str, pattern: str, actions: str, by: str, now: int, expires_at: int | None
) -> None:
    """Grant, in place of what the subject had on the same pattern."""
    _PUT.run(
        tx,
        subject=subject,
        owner=owner,
        pattern=pattern,
        actions=actions,
        created_by=by,
        created_at=now,
        expires_at=expires_at,
    )


def find(tx: Tx, identity: int) -> Row | None:
    row = _BY_ID.one(tx, grant=identity)
    return Row(*row) if row else None


def on(tx: Tx, subject: str, pattern: str) -> Row | None:
    """What the subject was granted on just this pattern."""
    row = _ON.one(tx, whose=subject, on_pattern=pattern)
    return Row(*row) if row else None


def remove(tx: Tx, identity: int) -> bool:
    return bool(_REMOVE.run(tx, grant=identity))


def remove_subject(tx: Tx, subject: str) -> None:
    """Take back whatever a subject was granted."""
    _OF_SUBJECT.run(tx, whose=subject)


def page(tx: Tx, owner: str, after: int, most: int) -> list[Row]:
    """At most `most` grants on repositories of an owner, or of several (`*`), behind the id `after`."""
    return [Row(*row) for row in _OF_OWNER.all(tx, owner=owner, after=after, most=most)]
