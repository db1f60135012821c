"""Reclaiming, online and in small steps: uploads, the trash, what nothing refers to, then bytes.

A row goes first, its bytes at least one transaction later, under a key that is never used again: so a push that
races the collector either finds the row and leases it, or stores its own copy.
"""

from dataclasses import dataclass
from typing import Final

from moorage.core.intake import in_thread
from moorage.core.registry import Registry
from moorage.features.gc import rows
from moorage.jobs.job import Job

_BATCH: Final = 50
_ANSWER_AGAIN: Final = 3600 * 1_000_000
"""How long a finished upload is remembered, so that a repeated PUT gets its answer again."""


@dataclass(frozen=True, slots=True)
class Windows:
    """In microseconds: how long links wait in the trash, how often to look, and when an upload is abandoned."""

    trash: int
    interval: int
    upload_age: int
    upload_interval: int


def collector(registry: Registry, windows: Windows) -> Job:
    """The job that reclaims content nothing refers to."""

    async def step() -> bool:
        now, db = registry.now(), registry.db
        lease = now + registry.policy.lease
        found = await db.write(rows.purge_manifests, now, lease, _BATCH)
        found += await db.write(rows.unlink, now, now + windows.trash, _BATCH)
        found += await db.write(rows.give_up, now, _BATCH)
        keys = await db.write(rows.condemn, now, _BATCH)
        for key in keys:
            await in_thread(registry.store.delete, key)
        if keys:
            await db.write(rows.forget, keys)
        return found + len(keys) >= _BATCH

    return Job("gc", windows.interval, step)


def purger(registry: Registry, windows: Windows) -> Job:
    """The job that forgets abandoned uploads (`storage.maintenance.uploadpurging`)."""

    async def step() -> bool:
        now = registry.now()
        before = now - windows.upload_age
        return await registry.db.write(rows.purge_uploads, before, now - _ANSWER_AGAIN, now, _BATCH) >= _BATCH

    return Job("uploadpurging", windows.upload_interval, step)
