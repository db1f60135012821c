"""Jobs go on being run, whatever the database says."""

import asyncio
import io
import time
from contextlib import suppress
from typing import Any

import pytest

from moorage.db import jobs as rows
from moorage.db.engine import Database
from moorage.jobs.job import Job
from moorage.jobs.worker import run


@pytest.mark.parametrize("broken", [rows.waits, rows.take, rows.done, rows.free_all])
async def test_an_error_nobody_expected_ends_neither_its_own_job_nor_others(
    database: Database, monkeypatch: pytest.MonkeyPatch, told: io.StringIO, broken: object
) -> None:
    runs = {"one": 0, "other": 0}
    failed = []
    enough = asyncio.Event()

    def job(name: str) -> Job:
        async def step() -> bool:
            runs[name] += 1
            if failed and min(runs.values()) > 3:
                enough.set()
            return False

        return Job(name, 10_000, step)

    def failing(way: str) -> None:
        sound = getattr(database, way)

        async def fails(fn: object, *arguments: Any, **options: Any) -> Any:
            if fn is broken and not failed:
                failed.append(1)
                raise RuntimeError("cached plan must not change result type")
            return await sound(fn, *arguments, **options)

        monkeypatch.setattr(database, way, fails)

    failing("read")
    failing("write")
    work = run(database, [job("one"), job("other")], lambda: time.time_ns() // 1000, alone=True)
    running = asyncio.ensure_future(work)
    with suppress(TimeoutError):
        async with asyncio.timeout(10):
            await enough.wait()
    assert not running.done()
    assert min(runs.values()) > 3
    running.cancel()
    assert told.getvalue().count("cached plan must not change result type") == 2, "the event, and its traceback"
