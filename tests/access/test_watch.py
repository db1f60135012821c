"""The look at the access generation goes on, whatever the database says."""

import asyncio
import io
import time
from typing import Any

import pytest

from moorage.access import rules
from moorage.access.rules import Authority, NoCredentials
from moorage.db import generation
from moorage.db.engine import Database
from moorage.errors import Code, RegistryError


@pytest.mark.parametrize("way", ["read", "write"])
@pytest.mark.parametrize(
    "error", [RuntimeError("cached plan must not change"), RegistryError(Code.UNAVAILABLE, "it is away")]
)
async def test_a_look_that_fails_is_told_and_the_next_one_sees_the_change(
    database: Database, monkeypatch: pytest.MonkeyPatch, told: io.StringIO, way: str, error: Exception
) -> None:
    monkeypatch.setattr(rules, "RHYTHM", 0.05)
    authority = Authority(database, NoCredentials(), lambda: time.time_ns() // 1000)
    authority.notes.add("access.denied", "alice")
    sound, failed = getattr(database, way), []

    async def fails(*arguments: Any, **options: Any) -> Any:
        if len(failed) < 3:
            failed.append(1)
            authority.notes.add("access.denied", "alice")
            raise error
        return await sound(*arguments, **options)

    monkeypatch.setattr(database, way, fails)
    watching = asyncio.ensure_future(authority.watch())
    for change in range(2):
        await asyncio.to_thread(database.write_now, generation.change, change)
        wanted = await database.scan(generation.current), None
        async with asyncio.timeout(10):
            while authority._memory.generation != wanted or len(failed) < 3:
                await asyncio.sleep(0.01)
    assert not watching.done()
    watching.cancel()
    assert told.getvalue().count("the access generation could not be read") == 3
