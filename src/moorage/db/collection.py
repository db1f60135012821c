"""Whether the registry may destroy anything: armed, or disarmed with the reason.

It is armed unless something says otherwise.  While it is disarmed nothing is reclaimed: pushes, pulls and deletes
go on, and space is not freed.
"""

from dataclasses import dataclass
from typing import Any, Final, Literal

from moorage.db import state
from moorage.db.engine import Tx

_NAME: Final = "collection"

Cause = Literal["restored", "storage", "breaker"]
"""Why it was disarmed: rows came from a backup; rows and bytes were not known to belong together; too much was due
to be destroyed at once."""


@dataclass(frozen=True, slots=True)
class Collection:
    """Armed, or not and why; `since` is in microseconds since the epoch."""

    armed: bool
    since: int = 0
    cause: Cause | None = None
    reason: str = ""
    objects: int = 0
    size: int = 0
    """Disarmed by the breaker: how many blobs and bytes were due.  Armed: as many may go once, whatever it says."""


def look(tx: Tx) -> Collection:
    """How it stands."""
    found: dict[str, Any] | None = state.get(tx, _NAME)
    return Collection(True) if found is None else Collection(**found)


def disarm(tx: Tx, cause: Cause, reason: str, now: int, *, objects: int = 0, size: int = 0) -> None:
    """Let nothing be destroyed from the commit on."""
    _put(tx, {"armed": False, "cause": cause, "reason": reason, "objects": objects, "size": size}, now)


def arm(tx: Tx, now: int, *, objects: int = 0, size: int = 0) -> None:
    """Let what is due be destroyed; of `objects` and `size` see `Collection`."""
    _put(tx, {"armed": True, "objects": objects, "size": size}, now)


def arm_after_check(tx: Tx, before: Collection, now: int) -> bool:
    """A whole check found rows and bytes in agreement; it stood as `before` when that began.  Whether that arms it, or
    armed it was already.

    It does not settle what the breaker asked: whether so much is meant to go is for people to say.  Nor what has
    disarmed it since.
    """
    found = look(tx)
    if not found.armed and found.cause != "breaker" and found == before:
        arm(tx, now)
        return True
    return found.armed


def _put(tx: Tx, value: dict[str, Any], now: int) -> None:
    state.put(tx, _NAME, {**value, "since": now}, now)
