"""Reclaiming, online and in small steps: uploads, the trash, what nothing refers to, then bytes.

A row goes first, its bytes at least one transaction later, under a key that is never used again: so a push that
races the collector either finds the row and leases it, or stores its own copy.
"""

import asyncio
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from typing import Final

from moorage.core.intake import in_thread
from moorage.core.registry import SECOND, Registry
from moorage.db import collection, trash
from moorage.errors import RegistryError
from moorage.features.gc import clock, rows
from moorage.features.gc.candidates import Candidates
from moorage.features.gc.guard import Guard, log
from moorage.jobs.job import Job
from moorage.storage.store import BlobStore, StoredKey

_BATCH: Final = 500
"""How many are given up, or destroyed, in one step."""

_MANIFESTS: Final = 100
"""How many are purged in one: each may have held on to as many blobs."""

_REST: Final = 1.0
"""Seconds between two steps that destroy something: nobody waits for them, and whoever pulls meanwhile would."""

_LISTED: Final = 500
_ANSWER_AGAIN: Final = 3600 * 1_000_000
"""How long a finished upload is remembered, so that a repeated PUT gets its answer again."""


@dataclass(frozen=True, slots=True)
class Windows:
    """In microseconds: how long links wait in the trash, how often to look, when an upload is abandoned, and how often
    to look for bytes that no row names; the longest gap between two looks that is believed to have passed; and the
    share of all blobs that may be destroyed at once.
    """

    trash: int
    interval: int
    upload_age: int
    upload_interval: int
    orphan_interval: int
    gap: int = 120 * SECOND
    breaker: float = 0.05


def collector(registry: Registry, windows: Windows) -> Job:
    """The job that reclaims content nothing refers to."""
    guard = Guard(registry.db, windows.breaker)
    candidates = Candidates(registry.db)

    async def step() -> bool:
        now, db = await _now(registry, windows), registry.db
        if not await guard.allows(now, 0 if candidates.waiting else 2 * _BATCH):
            return False
        if await candidates.take(now, now + windows.trash):
            return True
        found = await db.write(rows.purge_manifests, now, now + registry.policy.lease, _MANIFESTS)
        given_up = await db.write(rows.give_up, now, _BATCH)
        keys = await db.write(rows.condemn, now, _BATCH)
        refused: dict[str, str] = {}
        if keys:
            refused = await in_thread(_delete, registry.store, keys)
            await db.write(rows.forget, [key for key in keys if key not in refused])
            if refused:
                await db.write(trash.postpone, list(refused), now + windows.interval)
        guard.spend(given_up + len(keys) - len(refused))
        if found >= _MANIFESTS or given_up + len(keys) >= _BATCH > len(refused):
            await asyncio.sleep(_REST)
            return True
        candidates.end()
        return False

    return Job("gc", windows.interval, step)


def purger(registry: Registry, windows: Windows, *, dry: bool = False) -> Job:
    """The job that forgets abandoned uploads (`storage.maintenance.uploadpurging`); `dry` only counts them."""

    async def step() -> bool:
        now = await _now(registry, windows)
        before = now - windows.upload_age
        if dry:
            log.info("abandoned uploads would be removed", uploads=await registry.db.scan(rows.abandoned, before, now))
            return False
        return await registry.db.write(rows.purge_uploads, before, now - _ANSWER_AGAIN, now, _BATCH) >= _BATCH

    return Job("uploadpurging", windows.upload_interval, step)


def sweeper(registry: Registry, windows: Windows) -> Job:
    """The job that finds bytes without a row: a power cut can take an upload's row and leave its bytes.

    They are listed first and looked up after, so that a row which came meanwhile is seen; and only what has lain
    still for as long as the trash keeps bytes goes there, where it stays as long again.
    """
    listing: Iterator[list[StoredKey]] | None = None

    async def step() -> bool:
        nonlocal listing
        if not (await registry.db.read(collection.look)).armed:
            return False
        if listing is None:
            listing = _batches(registry.store)
        batch = await in_thread(next, listing, None)
        if batch is None:
            listing = None
            return False
        now = await _now(registry, windows)
        old = [(one.key, one.size) for one in batch if one.modified * SECOND < now - windows.trash]
        orphans = await registry.db.scan(trash.unnamed, [key for key, _ in old]) if old else set()
        if orphans:
            found = [one for one in old if one[0] in orphans]
            gone = await registry.db.write(trash.discard_unnamed, found, now + windows.trash)
            log.warning("bytes that no row names go to the trash", objects=gone)
        return True

    return Job("orphans", windows.orphan_interval, step)


async def _now(registry: Registry, windows: Windows) -> int:
    """The time by which things expire."""
    longest = max(windows.trash, windows.upload_age, registry.policy.lease, registry.policy.undo)
    return await registry.db.write(clock.tick, registry.now(), windows.gap, longest, durable=False)


def _batches(store: BlobStore) -> Iterator[list[StoredKey]]:
    keys = store.keys()
    while batch := list(islice(keys, _LISTED)):
        yield batch


def _delete(store: BlobStore, keys: list[str]) -> dict[str, str]:
    """Destroy what lies under `keys`; gives those of which the storage has refused it, and why."""
    refused: dict[str, str] = {}
    for key in keys:
        try:
            store.delete(key)
        except RegistryError as error:
            refused[key] = error.message
        except ValueError as error:  # nothing of ours has such a name: only its row goes
            log.warning("what the trash names is not ours to destroy, and is forgotten", error=str(error))
    if refused:
        key, why = next(iter(refused.items()))
        log.warning("bytes could not be destroyed, and wait for another try", objects=len(refused), key=key, error=why)
    return refused
