"""What the registry remembers of itself, one JSON value a name: whose storage it is, how far a check has come."""

import json
from typing import Any, Final

from sqlalchemy import bindparam, delete, select

from moorage.db.engine import Prepared, Tx
from moorage.db.schema import state
from moorage.db.statements import insert
from moorage.db.tx import Dialect

_GET: Final = Prepared(select(state.c.value).where(state.c.name == bindparam("name")))
_FORGET: Final = Prepared(delete(state).where(state.c.name == bindparam("name")))


def _put(dialect: Dialect) -> Any:
    added = insert(dialect, state, "name", "value", "updated_at")
    return added.on_conflict_do_update(
        index_elements=[state.c.name],
        set_={"value": added.excluded.value, "updated_at": added.excluded.updated_at},
    )


_PUT: Final = Prepared(_put)


def get(tx: Tx, name: str) -> Any:
    """The value, or None where there is none."""
    row = _GET.one(tx, name=name)
    return json.loads(row[0]) if row else None


def put(tx: Tx, name: str, value: Any, now: int) -> None:
    """Remember a value that JSON can hold."""
    _PUT.run(tx, name=name, value=json.dumps(value), updated_at=now)


def forget(tx: Tx, name: str) -> None:
    """Remember it no more."""
    _FORGET.run(tx, name=name)
