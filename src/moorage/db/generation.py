"""The access generation: a number that changes with everything that can change a decision.

Whoever remembers decisions forgets them when it has changed; so a change bites within the second or two in which
every process looks.
"""

from typing import Final

from sqlalchemy import BigInteger, Text, bindparam, cast, update

from moorage.db import state
from moorage.db.engine import Prepared, Tx
from moorage.db.schema import state as states

_NAME: Final = "access-generation"
_RAISE: Final = Prepared(
    update(states)
    .where(states.c.name == _NAME)
    .values(value=cast(cast(states.c.value, BigInteger) + 1, Text), updated_at=bindparam("now"))
)


def current(tx: Tx) -> int:
    return int(state.get(tx, _NAME) or 0)


def change(tx: Tx, now: int) -> None:
    """To be called in the same transaction as the change."""
    if not _RAISE.run(tx, now=now):
        state.put(tx, _NAME, 1, now)
