"""The outbox: what happened, written in the same transaction as the fact."""

import json
from dataclasses import dataclass
from typing import Any, Final

from sqlalchemy import BigInteger, Text, bindparam, cast, func, select, tuple_

from moorage.db.engine import Prepared, Tx
from moorage.db.schema import events
from moorage.db.statements import insert
from moorage.db.tx import Dialect


def _append(dialect: Dialect) -> Any:
    added = insert(dialect, events, "at", "kind", "repository", "actor", "facts")
    if dialect == "sqlite":
        return added
    return added.values(transaction=cast(cast(func.pg_current_xact_id(), Text), BigInteger))


_APPEND: Final = Prepared(_append)
_NEXT = (
    select(
        events.c.transaction,
        events.c.id,
        events.c.at,
        events.c.kind,
        events.c.repository,
        events.c.actor,
        events.c.facts,
    )
    .where(tuple_(events.c.transaction, events.c.id) > tuple_(bindparam("transaction"), bindparam("id")))
    .order_by(events.c.transaction, events.c.id)
    .limit(bindparam("most"))
)
_OLDEST_OPEN = cast(cast(func.pg_snapshot_xmin(func.pg_current_snapshot()), Text), BigInteger)
_NEXT_SETTLED: Final = Prepared(_NEXT.where(events.c.transaction < _OLDEST_OPEN))
_NEXT_ANY: Final = Prepared(_NEXT)

Cursor = tuple[int, int]
"""How far a reader has come: an event's transaction and id.  (0, 0) is before all."""


@dataclass(frozen=True, slots=True)
class Event:
    """Something that happened to a repository; `facts` depend on its kind."""

    cursor: Cursor
    at: int
    kind: str
    repository: str
    actor: str
    facts: dict[str, Any]


def append(tx: Tx, kind: str, repository: str, actor: str, facts: dict[str, object], now: int) -> None:
    """Write an event with the fact it tells of."""
    _APPEND.run(tx, at=now, kind=kind, repository=repository, actor=actor, facts=json.dumps(facts))


def after(tx: Tx, cursor: Cursor, most: int) -> list[Event]:
    """The next events behind `cursor`, none of which a slower transaction can still get in front of.

    On PostgreSQL an id says nothing about when its transaction commits.  So the order is the transactions' own,
    and readers stay below the oldest that is still under way.
    """
    prepared = _NEXT_ANY if tx.dialect == "sqlite" else _NEXT_SETTLED
    rows = prepared.all(tx, transaction=cursor[0], id=cursor[1], most=most)
    return [
        Event((transaction, identity), at, kind, repository, actor, json.loads(facts))
        for transaction, identity, at, kind, repository, actor, facts in rows
    ]
