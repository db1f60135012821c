"""What time it is for the collector: the wall clock's, unless that has jumped.

It never runs more than twice as fast as time was seen to pass, and never ahead of the wall clock.  So a leap of the
wall clock shortens no lease below half, and a leap back expires nothing early.

How much time has passed is what the wall clock says between two looks, but never more than the longest gap that is
believed: a machine that was off, or set to another year, has to catch up.  It need not do so for decades: once the
longest lease has been seen to pass without a jump, all that was leased before has had its time, and the wall clock is
believed again.
"""

from typing import Any, Final

from moorage.db import state
from moorage.db.engine import Tx

_NAME: Final = "clock"


def tick(tx: Tx, wall: int, gap: int, longest: int) -> int:
    """The collector's time, in microseconds since the epoch; `gap` is the longest that is believed at once, and
    `longest` the longest of all leases.
    """
    before: dict[str, Any] | None = state.get(tx, _NAME)
    gc, even = wall, 0
    if before is not None:
        passed = wall - before["wall"]
        even = before.get("even", 0) + passed if 0 <= passed <= gap else 0
        if even < longest:
            gc = min(wall, before["gc"] + 2 * min(max(passed, 0), gap))
    state.put(tx, _NAME, {"gc": gc, "wall": wall, "even": even}, wall)
    return gc
