"""What time it is for the collector: the wall clock's, unless that has jumped.

It never runs more than twice as fast as time was seen to pass, and never ahead of the wall clock.  So a leap of the
wall clock shortens no lease below half, and a leap back expires nothing early.

How much time has passed is what the wall clock says between two looks, but never more than the longest gap that is
believed: a machine that was off, or set to another year, has to catch up.
"""

from typing import Any, Final

from moorage.db import state
from moorage.db.engine import Tx

_NAME: Final = "clock"


def tick(tx: Tx, wall: int, gap: int) -> int:
    """The collector's time, in microseconds since the epoch; `gap` is the longest that is believed at once."""
    before: dict[str, Any] | None = state.get(tx, _NAME)
    gc = wall
    if before is not None:
        passed = min(max(wall - before["wall"], 0), gap)
        gc = min(wall, before["gc"] + 2 * passed)
    state.put(tx, _NAME, {"gc": gc, "wall": wall}, wall)
    return gc
