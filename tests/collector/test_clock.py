"""No jump of the wall clock makes the collector take what is leased or referred to."""

import asyncio
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest

from moorage.db import jobs
from moorage.db.engine import Database
from moorage.features.gc import clock
from moorage.features.gc.job import Windows, collector, purger
from moorage.jobs.job import Job
from moorage.jobs.worker import run
from tests import make
from tests.conftest import Served, missing
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
                found.append(await database.write(clock.tick, wall, 2 * MINUTE, DAY, durable=False) - wall + ahead)
        return found

    assert max(asyncio.run(looks())) <= 4 * MINUTE


def test_it_is_the_wall_clock_where_that_goes_evenly(database: Database) -> None:
    for minute in range(5):
        wall = 1_700_000_000 * SECOND + minute * MINUTE
        assert database.write_now(clock.tick, wall, 2 * MINUTE, DAY) == wall


def test_after_a_start_in_the_year_of_the_epoch_it_is_right_once_the_longest_lease_has_passed(
    database: Database,
) -> None:
    """As on a machine without a clock of its own, until somebody tells it the time."""
    right = 1_700_000_000 * SECOND

    def look(wall: int) -> int:
        return database.write_now(clock.tick, wall, 2 * MINUTE, DAY)

    assert look(right - MINUTE) == right - MINUTE
    assert look(5 * SECOND) == 5 * SECOND
    behind = [minute for minute in range(3 * 24 * 60) if look(right + minute * MINUTE) < right + minute * MINUTE]
    assert len(behind) == behind[-1] + 1 == DAY // MINUTE
    assert look(right + 3650 * DAY) < right + 4 * DAY, "the next leap begins another wait"


def take(database: Database, holder: str, now: int) -> bool:
    waits = database.read_now(jobs.waits, "gc", holder, now, MINUTE)
    taken = database.write_now(jobs.take, "gc", holder, now, MINUTE)
    assert taken is not waits, "a look tells whether it can be taken"
    return taken


def test_a_job_does_not_wait_for_the_future_after_a_leap_back(database: Database) -> None:
    now = 1_700_000_000 * SECOND
    assert take(database, "a", now)
    assert not take(database, "b", now), "it is leased"
    assert not take(database, "b", now - 10 * MINUTE), "two clocks may differ a little"
    assert take(database, "b", now - DAY)
    database.write_now(jobs.done, "gc", "b", now, now + MINUTE, None)
    assert not take(database, "a", now - 10 * MINUTE)
    assert take(database, "a", now - DAY)


def test_a_job_that_waits_is_only_looked_at(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    runs, writes = [], []

    async def step() -> bool:
        runs.append(1)
        return False

    write = database.write

    def counted(*arguments: Any, **options: Any) -> Any:
        writes.append(arguments[0])
        return write(*arguments, **options)

    async def idle() -> None:
        monkeypatch.setattr(database, "write", counted)
        with suppress(TimeoutError):
            async with asyncio.timeout(2.5):
                await run(database, [Job("dull", 60 * MINUTE, step)], lambda: time.time_ns() // 1000)

    asyncio.run(idle())
    assert runs == [1]
    assert writes == [jobs.take, jobs.done]


@pytest.mark.parametrize("leap", ["+1d", "+30d", "-1d"])
def test_a_server_whose_machine_leaps_in_time_keeps_what_is_leased(
    serve: Callable[..., Served], tmp_path: Path, leap: str
) -> None:
    libraries = sorted(Path("/usr/lib").glob("*/faketime/libfaketimeMT.so.1"))
    if not libraries:
        missing("libfaketime")
    now = tmp_path / "now"
    now.write_text("+0d")
    server = serve(
        LD_PRELOAD=str(libraries[0]),
        FAKETIME_TIMESTAMP_FILE=str(now),
        FAKETIME_NO_CACHE="1",
        DONT_FAKE_MONOTONIC="1",
        REGISTRY_GC_INTERVAL="100ms",
        REGISTRY_GC_TRASH="0s",
    )
    with httpx.Client(base_url=server.url, timeout=30) as client:
        image = make.push_image(client, "acme/app", "1", b"{}", b"l" * 20_000)
        assert make.push_blob(client, "acme/app", BLOB).status_code == 201
        now.write_text(leap)
        time.sleep(3)  # thirty looks
        seen = datetime.strptime(client.get("/v2/").headers["Date"], "%a, %d %b %Y %H:%M:%S GMT").replace(tzinfo=UTC)
        assert abs(seen - datetime.now(UTC)) > timedelta(hours=20), "the server leapt"
        assert client.get(f"/v2/acme/app/blobs/{DIGEST}").content == BLOB
        assert client.get(f"/v2/acme/app/blobs/{make.digest(b'l' * 20_000)}").status_code == 200
        assert client.get("/v2/acme/app/manifests/1").content == image
        assert len(list((server.data / "blobs" / "u").glob("*/*"))) == 2
        after = b"after" * 10_000
        assert make.push_blob(client, "acme/app", after).status_code == 201
        now.write_text("+0d")
        time.sleep(2)
        assert client.get(f"/v2/acme/app/blobs/{make.digest(after)}").content == after
