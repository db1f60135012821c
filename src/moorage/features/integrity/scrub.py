"""Looking at everything again and again, slowly: rot is found before anybody pulls it.

    rest ──period over──> blobs ──> manifests ──> rest
         └─every interval─> lost ──────────────────┘    what could not be read, once more: disks come back

How far it has come is one value in the database, written once a step: any replica goes on from there.
"""

import asyncio
import time
from dataclasses import asdict, dataclass, replace
from enum import StrEnum
from typing import Final

from moorage.core.intake import in_thread
from moorage.core.registry import SECOND, Registry
from moorage.db import state
from moorage.db.blobs import Blob
from moorage.errors import Code, RegistryError
from moorage.features.integrity import rows, settle, verify
from moorage.features.integrity.rows import Row
from moorage.features.integrity.settle import Then
from moorage.features.integrity.verify import Damage, Reading, is_rotten
from moorage.jobs.job import Job
from moorage.telemetry import counter, gauge, logger

log: Final = logger("moorage.scrub")

NAME: Final = "scrub"
"""The job's name, and under which its cursor is remembered."""

_PAGE: Final = 100
_SLICE: Final = 8 * 1024 * 1024
"""Most bytes of a step: at the lowest `scrub.rate`, 256 KiB a second, it ends well before the job's lease."""

_SEEK: Final = 128 * 1024
"""Finding one more file costs a disk as much as reading so many bytes."""

_TOO_MANY: Final = 20
"""So many blobs in a row that cannot be read are no rot: a disk is missing."""

_BYTES: Final = counter("registry_scrub_bytes", "Bytes that the scrub has looked at.")
_FOUND: Final = counter("registry_scrub_damaged", "Blobs and manifests that the scrub found to be damaged.", ("kind",))
_ENDED: Final = gauge("registry_scrub_finished_timestamp_seconds", "When the last whole pass of the scrub ended.")


class Part(StrEnum):
    """What is being looked at."""

    REST = "rest"
    LOST = "lost"
    BLOBS = "blobs"
    MANIFESTS = "manifests"


@dataclass(frozen=True, slots=True)
class Cursor:
    """How far the scrub has come: behind the id `after`, in a pass that began at `began` and found `found`."""

    part: Part = Part.REST
    after: int = 0
    began: int = 0
    found: int = 0


@dataclass(frozen=True, slots=True)
class Pace:
    """In microseconds, how often everything is looked at and how long is rested; and the most bytes a second."""

    period: int
    interval: int
    rate: int


def scrubber(registry: Registry, pace: Pace) -> Job:
    """The job that finds rot."""
    return Job(NAME, pace.interval, Scrub(registry, pace).step)


class Scrub:
    """The scrub in this process.  What it holds besides the cursor is only the blob that it is in the middle of."""

    def __init__(self, registry: Registry, pace: Pace) -> None:
        self._registry, self._pace = registry, pace
        self._open: tuple[Cursor, Reading] | None = None
        self._unread = 0

    async def step(self) -> bool:
        """Look at a little, then wait as long as the rate asks; False when it is time to rest."""
        began = time.monotonic()
        before = await self._cursor()
        cursor = await self._begin(before) if before.part is Part.REST else before
        if cursor.part is Part.MANIFESTS:
            cursor, taken = await self._manifests(cursor)
        else:
            cursor, taken = await self._blobs(cursor)
        if cursor != before:
            await self._registry.db.write(state.put, NAME, asdict(cursor), self._registry.now(), durable=False)
        _BYTES.add(amount=taken)
        if cursor.part is Part.REST:
            return False
        await asyncio.sleep(max(0.0, taken / self._pace.rate - (time.monotonic() - began)))
        return True

    async def _cursor(self) -> Cursor:
        kept = await self._registry.db.read(state.get, NAME)
        return Cursor(**{**kept, "part": Part(kept["part"])}) if kept else Cursor()

    async def _begin(self, rested: Cursor) -> Cursor:
        """What to do after a rest."""
        now = self._registry.now()
        if 0 <= now - rested.began < self._pace.period:
            return replace(rested, part=Part.LOST, after=0)
        totals = await self._registry.db.scan(rows.totals)
        work = totals.blob_bytes + totals.blobs * _SEEK + totals.manifest_bytes
        if work * SECOND > self._pace.rate * self._pace.period:
            log.warning(
                "at scrub.rate it takes longer than scrub.period to look at everything: raise either",
                bytes=totals.blob_bytes + totals.manifest_bytes,
                blobs=totals.blobs,
                hours=round(work / self._pace.rate / 3600),
            )
        return Cursor(Part.BLOBS, began=now)

    async def _blobs(self, cursor: Cursor) -> tuple[Cursor, int]:
        """Go on with the blobs behind the cursor; gives the new one, and how much work that was, in bytes."""
        reading = self._open[1] if self._open is not None and self._open[0] == cursor else None
        self._open = None
        page = [reading.blob] if reading else await self._page(cursor)
        taken = 0
        for blob in page:
            reading = reading or Reading(self._registry.store, blob)
            wanted = _SLICE - taken
            got = await in_thread(reading.go_on, wanted)
            taken += got
            if got >= wanted:
                self._open = cursor, reading
                break
            cursor = await self._settle(cursor, reading)
            taken += _SEEK if blob.key is not None else 0
            reading = None
            if taken >= _SLICE:
                break
        if not page:
            cursor = replace(cursor, part=Part.MANIFESTS if cursor.part is Part.BLOBS else Part.REST, after=0)
        return cursor, taken

    async def _page(self, cursor: Cursor) -> list[Blob]:
        return await self._registry.db.scan(rows.blobs_after, cursor.after, _PAGE, cursor.part is Part.LOST)

    async def _settle(self, cursor: Cursor, reading: Reading) -> Cursor:
        """Act on what was found of a blob, and go behind it.  Raises UNAVAILABLE where it looks like a missing disk."""
        blob = reading.blob
        cursor = replace(cursor, after=blob.id)
        try:
            damage = reading.damage()
        except RegistryError as error:
            log.warning("a blob could not be checked", digest=str(blob.digest), key=blob.key, error=error.message)
            self._not_read(blob)
            return cursor
        if damage is not None and damage.lost:
            self._not_read(blob)
        elif blob.key is not None:
            self._unread = 0
        if is_rotten(damage) if blob.damaged is not None else damage is None:
            return cursor  # known, or sound
        then = await self._registry.db.write(settle.blob, blob, damage, self._registry.now())
        return _tell(cursor, then, damage, digest=str(blob.digest), key=blob.key)

    def _not_read(self, blob: Blob) -> None:
        """Count the blobs in a row that cannot be read, but not those known before.  Raises UNAVAILABLE at too many."""
        if blob.damaged is not None:
            return
        self._unread += 1
        if self._unread >= _TOO_MANY:
            raise RegistryError(
                Code.UNAVAILABLE,
                f"{self._unread} blobs in a row cannot be read: is their disk there? Nothing more is held back; "
                "if they are lost, run `moorage fsck --repair`",
            )

    async def _manifests(self, cursor: Cursor) -> tuple[Cursor, int]:
        """The same for manifests; behind the last one, everything was looked at."""
        page = await self._registry.db.scan(rows.manifests_after, cursor.after, _PAGE, _SLICE // 2)
        for row, damage in await in_thread(_judged, page):
            stored = row.stored
            known = is_rotten(damage) if stored.damaged else damage is None
            if not known:
                then = await self._registry.db.write(settle.manifest, stored.id, self._registry.now())
                where = row.repository.name.value
                cursor = _tell(cursor, then, damage, digest=str(stored.digest), repository=where)
            cursor = replace(cursor, after=stored.id)
        if not page:
            seconds = (self._registry.now() - cursor.began) // SECOND
            log.info("the scrub has looked at everything", damaged=cursor.found, seconds=seconds)
            _ENDED.set(self._registry.now() / SECOND)
            cursor = replace(cursor, part=Part.REST, after=0)
        return cursor, sum(len(row.content) for row in page)


def _judged(page: list[Row]) -> list[tuple[Row, Damage | None]]:
    return [(row, verify.content(row.stored.digest, row.stored.size, row.content)) for row in page]


def _tell(cursor: Cursor, then: Then, damage: Damage | None, **what: str | None) -> Cursor:
    """Log and count what became of a finding."""
    if then is Then.QUARANTINED and damage is not None:
        log.error("damaged: not served any more until it is pushed again", error=str(damage), **what)
        _FOUND.add(damage.kind.value)
        return replace(cursor, found=cursor.found + 1)
    if then is Then.REPAIRED:
        log.warning("what was held back as damaged, or had a wrong size in its row, is sound", **what)
    return cursor
