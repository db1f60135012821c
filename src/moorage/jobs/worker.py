"""Runs jobs in this process: lease, step until nothing is left, back off."""

import asyncio
import secrets
from collections.abc import Callable, Sequence
from typing import Final

from moorage.db import jobs as rows
from moorage.db.engine import Database
from moorage.errors import RegistryError
from moorage.jobs.job import Job
from moorage.telemetry import logger

_LOOK: Final = 1.0
"""Seconds between two looks at what is due."""


async def run(db: Database, jobs: Sequence[Job], now: Callable[[], int], *, alone: bool = False) -> None:
    """Run every job whenever it is due, until cancelled.  A job that fails is tried again after its rhythm.

    Each has a task of its own, so that one which reads for days holds up no other.  Where this is the only process
    (`alone`), it does not wait for the leases of one that was killed.
    """
    holder = secrets.token_hex(8)
    if alone:
        try:
            await db.write(rows.free_all, durable=False)
        except RegistryError as error:  # on a full disk, say: then their time runs out
            logger(__name__).warning("the jobs of a killed server are waited for", error=error.message)
        except Exception as error:  # noqa: BLE001 - the same
            logger(__name__).error("the jobs of a killed server are waited for", exc_info=error)
    async with asyncio.TaskGroup() as group:
        for job in jobs:
            group.create_task(_keep(db, job, holder, now))


async def _keep(db: Database, job: Job, holder: str, now: Callable[[], int]) -> None:
    while True:
        try:
            waits = await db.read(rows.waits, job.name, holder, now(), job.rhythm)
            if not waits and await db.write(rows.take, job.name, holder, now(), job.rhythm, durable=False):
                await _run(db, job, holder, now)
        except RegistryError as error:
            logger(__name__).warning("a job could not be run", job=job.name, error=error.message)
        except Exception as error:  # noqa: BLE001 - or no job at all would be run any more
            logger(__name__).error("a job could not be run", job=job.name, exc_info=error)
        await asyncio.sleep(min(_LOOK, job.rhythm / 1_000_000))


async def _run(db: Database, job: Job, holder: str, now: Callable[[], int]) -> None:
    error = None
    try:
        while await job.step():
            await asyncio.sleep(0)
            if not await db.write(rows.take, job.name, holder, now(), job.rhythm, durable=False):
                return
    except RegistryError as refused:
        error = refused.message
        logger(__name__).warning("a job failed", job=job.name, error=error, cause=str(refused.__cause__))
    except Exception as raised:  # noqa: BLE001 - one job's failure is not another's
        error = str(raised)
        logger(__name__).error("a job failed", job=job.name, exc_info=raised)
    await db.write(rows.done, job.name, holder, now(), now() + job.rhythm, error, durable=False)
