"""Signing keys where several processes begin at once, or not all of them can open what is kept."""

import asyncio
import io
import time
from itertools import pairwise

import pytest

from moorage.access import keys
from moorage.access.keys import KeyRing
from moorage.db import generation
from moorage.db import keys as rows
from moorage.db.engine import Database
from moorage.errors import Code, RegistryError
from tests.databases import opening


def ring_of(db: Database, secret: bytes) -> KeyRing:
    return KeyRing(db, secret, lambda: time.time_ns() // 1000)


async def test_those_who_begin_together_sign_with_one_key(database_url: str) -> None:
    async with opening(database_url) as one, opening(database_url) as two:
        rings = [ring_of(db, b"secret") for db in (one, two, one, two)]
        made = await asyncio.gather(*(ring.signing() for ring in rings))
        assert len({key.id for key in made}) == 1
        assert [len((await ring.published())["keys"]) for ring in rings] == [1] * 4


async def test_a_key_of_another_process_is_found_by_all_who_ask_at_once(database_url: str) -> None:
    async with opening(database_url) as one, opening(database_url) as two:
        here, there = (ring_of(db, b"secret") for db in (one, two))
        assert await there.find("unknown") is None, "it has looked just now"
        made = await here.signing()
        found = await asyncio.gather(*(there.find(made.id) for _ in range(20)))
        assert [key and key.id for key in found] == [made.id] * 20


async def test_inventing_key_ids_costs_one_look_a_second(database_url: str) -> None:
    async with opening(database_url) as db:
        ring = ring_of(db, b"secret")
        looks = []
        read = ring._read

        async def counted() -> None:
            looks.append(time.monotonic())
            await read()

        ring._read = counted  # type: ignore[method-assign]
        for number in range(3):
            await asyncio.gather(*(ring.find(f"invented-{number}-{one}") for one in range(50)))
        assert len(looks) <= 6
        assert all(later - earlier > 0.9 for earlier, later in pairwise(looks))


async def test_once_the_secret_has_changed_there_is_another_key_and_it_stays(database_url: str) -> None:
    async with opening(database_url) as one, opening(database_url) as two:
        old = await ring_of(one, b"old").signing()
        made = await asyncio.gather(*(ring_of(db, b"new").signing() for db in (one, two, one, two)))
        (identity,) = {key.id for key in made}
        assert identity != old.id
        changes = await one.read(generation.current)
        again = ring_of(two, b"new")
        assert (await again.signing()).id == identity
        assert await again.find(identity)
        assert [key["kid"] for key in (await again.published())["keys"]] == [identity]
        assert await one.read(generation.current) == changes, "nothing is written to sign again"


async def test_replicas_with_different_secrets_have_a_key_each_and_the_log_says_why(
    database_url: str, told: io.StringIO
) -> None:
    async with opening(database_url) as db:
        here, there = ring_of(db, b"one"), ring_of(db, b"other")
        mine, theirs = await asyncio.gather(here.signing(), there.signing())
        for _ in range(2):
            assert await here.find(theirs.id) is None
            assert await there.find(mine.id) is None
        for secret, kept in ((b"one", mine), (b"other", theirs)) * 2:
            assert (await ring_of(db, secret).signing()).id == kept.id
        assert {row[0] for row in await db.scan(rows.newest_first)} == {mine.id, theirs.id}
        lines = [line for line in told.getvalue().splitlines() if theirs.id in line]
        assert len(lines) == 3, "once in each process that has the other secret"
        assert all("replicas need the same http.secret" in line for line in lines)


async def test_nothing_is_signed_with_a_key_that_was_not_kept(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(keys.rows, "add", lambda *_: None)
    with pytest.raises(RegistryError) as refused:
        await ring_of(database, b"secret").signing()
    assert refused.value.code is Code.UNAVAILABLE
