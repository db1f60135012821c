"""Signing keys where several processes begin at once."""

import asyncio
import time

from moorage.access.keys import KeyRing
from tests.databases import opening


async def test_those_who_begin_together_sign_with_one_key(database_url: str) -> None:
    async with opening(database_url) as one, opening(database_url) as two:
        rings = [KeyRing(db, b"secret", lambda: time.time_ns() // 1000) for db in (one, two, one, two)]
        made = await asyncio.gather(*(ring.signing() for ring in rings))
        assert len({key.id for key in made}) == 1
        assert [len((await ring.published())["keys"]) for ring in rings] == [1] * 4
