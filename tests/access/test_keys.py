"""Signing keys where several processes begin at once."""

import asyncio
import time
from itertools import pairwise

from moorage.access.keys import KeyRing
from tests.databases import opening


async def test_those_who_begin_together_sign_with_one_key(database_url: str) -> None:
    async with opening(database_url) as one, opening(database_url) as two:
        rings = [KeyRing(db, b"secret", lambda: time.time_ns() // 1000) for db in (one, two, one, two)]
        made = await asyncio.gather(*(ring.signing() for ring in rings))
        assert len({key.id for key in made}) == 1
        assert [len((await ring.published())["keys"]) for ring in rings] == [1] * 4


async def test_a_key_of_another_process_is_found_by_all_who_ask_at_once(database_url: str) -> None:
    async with opening(database_url) as one, opening(database_url) as two:
        here, there = (KeyRing(db, b"secret", lambda: time.time_ns() // 1000) for db in (one, two))
        assert await there.find("unknown") is None, "it has looked just now"
        made = await here.signing()
        found = await asyncio.gather(*(there.find(made.id) for _ in range(20)))
        assert [key and key.id for key in found] == [made.id] * 20


async def test_inventing_key_ids_costs_one_look_a_second(database_url: str) -> None:
    async with opening(database_url) as db:
        ring = KeyRing(db, b"secret", lambda: time.time_ns() // 1000)
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
