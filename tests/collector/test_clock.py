"""No jump of the wall clock makes the collector take what is leased or referred to."""

import asyncio
from collections.abc import Iterator
from pathlib import Path

import pytest

from moorage.db.engine import Database
from moorage.features.gc import clock
from moorage.features.gc.job import Windows, collector, purger
from tests import make
from tests.model.nodes import ABANDONED, LEASE, SECOND, TRASH, Fleet

MINUTE = 60 * SECOND
DAY = 24 * 60 * MINUTE
BLOB = b"b" * 20_000
DIGEST = make.digest(BLOB)


@pytest.fixture
def fleet(database_url: str, tmp_path: Path) -> Iterator[Fleet]:
    one = Fleet(database_url, tmp_path / "blobs")
    one.start()
    node = one.nodes[0]
    windows = Windows(TRASH, MINUTE, ABANDONED, MINUTE, MINUTE)
    node.jobs = [collector(node.registry, windows), purger(node.registry, windows)]
    yield one
    one.end()


def wait(fleet: Fleet, minutes: int) -> None:
    """Let time pass, with the jobs at work every minute."""
    for _ in range(minutes):
        fleet.clock.at += MINUTE
        for job in range(2):
            while fleet.work(0, job):
                pass


def push(fleet: Fleet) -> None:
    assert fleet.ask(0, "POST", f"/v2/z/blobs/uploads/?digest={DIGEST}", BLOB).status == 201


def there(fleet: Fleet) -> bool:
    return fleet.ask(0, "GET", f"/v2/z/blobs/{DIGEST}").status == 200


@pytest.mark.parametrize("days", [1, 30, 3650])
def test_a_leap_forward_leaves_at_least_half_of_every_lease(fleet: Fleet, days: int) -> None:
    wait(fleet, 3)
    layer = b"l" * 20_000
    for one in (layer, b"{}"):
        fleet.ask(0, "POST", f"/v2/z/blobs/uploads/?digest={make.digest(one)}", one)
    image = make.image(b"{}", layer)
    assert fleet.ask(0, "PUT", "/v2/z/manifests/1", image, content_type=make.IMAGE).status == 201
    push(fleet)
    upload = fleet.ask(0, "POST", "/v2/z/blobs/uploads/").headers["Location"]
    assert fleet.ask(0, "PATCH", upload, BLOB[:-1]).status == 202
    wait(fleet, 1)
    fleet.clock.at += days * DAY
    wait(fleet, LEASE // MINUTE // 2 - 4)
    assert there(fleet)
    assert fleet.ask(0, "GET", upload).status == 204
    wait(fleet, 2 * LEASE // MINUTE)
    assert not there(fleet), "what nothing refers to goes in the end"
    assert fleet.ask(0, "GET", "/v2/z/manifests/1").content == image
    assert fleet.ask(0, "GET", f"/v2/z/blobs/{make.digest(layer)}").content == layer


def test_a_leap_back_takes_nothing_that_was_pushed_before_or_after(fleet: Fleet) -> None:
    wait(fleet, 3)
    push(fleet)
    fleet.clock.at -= DAY
    wait(fleet, LEASE // MINUTE + 10)
    assert there(fleet), "leased until what is now tomorrow"
    fleet.ask(0, "DELETE", f"/v2/z/blobs/{DIGEST}")
    push(fleet)
    wait(fleet, LEASE // MINUTE - 1)
    assert there(fleet)


def test_a_leap_back_and_forth_takes_nothing_that_was_pushed_between(fleet: Fleet) -> None:
    wait(fleet, 3)
    fleet.clock.at -= DAY
    wait(fleet, 10)
    push(fleet)
    fleet.clock.at += DAY
    wait(fleet, LEASE // MINUTE // 2 - 4)
    assert there(fleet)


def test_two_servers_a_day_apart_do_not_drive_it_on(database: Database) -> None:
    start = 1_700_000_000 * SECOND

    async def looks() -> list[int]:
        found = []
        for minute in range(240):
            for ahead in (0, DAY):
                wall = start + minute * MINUTE + ahead
                found.append(await database.write(clock.tick, wall, 2 * MINUTE, durable=False) - wall + ahead)
        return found

    assert max(asyncio.run(looks())) <= 4 * MINUTE


def test_it_is_the_wall_clock_where_that_goes_evenly(database: Database) -> None:
    for minute in range(5):
        wall = 1_700_000_000 * SECOND + minute * MINUTE
        assert database.write_now(clock.tick, wall, 2 * MINUTE) == wall
