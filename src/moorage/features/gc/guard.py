"""Whether the collector may destroy anything: it is armed, and what is due is not suspiciously much.

A typo in a retention rule, or rows that were lost, look like rubbish to a collector.  Deleting takes more than a
week from the deed to the destruction; the breaker makes sure that somebody looks before so much goes.
"""

import sys
from typing import Final

from moorage.db import collection
from moorage.db.collection import Collection
from moorage.db.engine import Database, Tx
from moorage.features.gc import rows
from moorage.telemetry import gauge, logger

log: Final = logger("moorage.gc")

FEW: Final = 100
"""Blobs that may always go at once, however small the registry."""

_FEW_BYTES: Final = FEW << 30

_DISARMED: Final = gauge("registry_gc_disarmed", "1 while collection is disarmed, so that nothing is reclaimed.")


class Guard:
    """Asked before each step of the collector; `share` of all blobs, and of their bytes, may go at once."""

    def __init__(self, db: Database, share: float) -> None:
        self._db, self._share = db, share
        self._told = False
        self._left = 0
        """How many more blobs may go before it has to look again."""

    async def allows(self, now: int, most: int) -> bool:
        """Whether the step may go on, which destroys `most` blobs at most."""
        found = await self._db.read(collection.look)
        if found.armed and self._share < 1 and self._left < most:
            found = await self._look(found, now)
        _DISARMED.set(0 if found.armed else 1)
        if not found.armed and not self._told:
            log.warning("collection is disarmed, so nothing is reclaimed", reason=found.reason)
        self._told = not found.armed
        return found.armed

    def spend(self, blobs: int) -> None:
        """So many were destroyed."""
        self._left = max(self._left - blobs, 0)

    async def _look(self, found: Collection, now: int) -> Collection:
        """How collection stands after a look at what is due."""
        objects, size = await self._db.scan(rows.due, now, FEW + 1)
        if objects <= FEW and size <= _FEW_BYTES:
            if found.objects:  # what was let through once has gone
                await self._db.write(_settle, found, now)
            return found
        objects, size = await self._db.scan(rows.due, now, sys.maxsize)
        all_objects, all_size = await self._db.scan(rows.total)
        fits = objects <= max(FEW, self._share * all_objects) and size <= max(_FEW_BYTES, self._share * all_size)
        if fits or (objects <= found.objects and size <= found.size):
            self._left = objects
            return found
        reason = (
            f"{objects} of {all_objects} blobs, {size / 2**30:.1f} of {all_size / 2**30:.1f} GiB, were due to be "
            f"destroyed at once, more than gc.breaker ({self._share:.0%}) lets pass; if they are meant to go, run "
            "`moorage gc arm --once`"
        )
        log.error("collection is disarmed by its breaker", blobs=objects, bytes=size, share=self._share)
        return await self._db.write(_disarm, found, reason, now, objects, size)


def _settle(tx: Tx, found: Collection, now: int) -> None:
    if collection.look(tx) == found:  # nobody has disarmed it meanwhile
        collection.arm(tx, now)


def _disarm(tx: Tx, found: Collection, reason: str, now: int, objects: int, size: int) -> Collection:
    if collection.look(tx) == found:  # or the reason why somebody has would be lost
        collection.disarm(tx, "breaker", reason, now, objects=objects, size=size)
    return collection.look(tx)
