"""The scrub: how it goes through everything, and what it makes of disks that come and go."""

import errno
import io
import json
import random
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from sqlalchemy import func, select

from moorage.core.registry import DAY, SECOND
from moorage.db import state
from moorage.db.schema import blobs
from moorage.errors import RegistryError
from moorage.features.integrity.scrub import NAME, Pace, Scrub
from moorage.telemetry import metrics
from tests import make
from tests.integrity.plant import Garden, bar, lose
from tests.integrity.test_rot import PACE, scrub, served

LARGE = random.Random(1).randbytes(20 * 1024 * 1024)


def cursor(garden: Garden) -> dict[str, object]:
    kept = garden.fleet.nodes[0].db.read_now(state.get, NAME)
    assert isinstance(kept, dict)
    return kept


def damaged(garden: Garden) -> int:
    return int(garden.rows(select(func.count()).select_from(blobs).where(blobs.c.damaged.is_not(None)))[0][0])


def test_a_pass_comes_once_a_period_and_finds_what_has_rotted_since(garden: Callable[[int], Garden]) -> None:
    plot = garden(3)
    one = Scrub(plot.fleet.nodes[0].registry, PACE)
    plot.fleet.steps(one.step)
    plot.damage("flip", [plot.images[0].layers[0]])
    plot.fleet.clock.at += 6 * DAY
    plot.fleet.steps(one.step)
    assert damaged(plot) == 0
    plot.fleet.clock.at += DAY
    plot.fleet.steps(one.step)
    assert damaged(plot) == 1
    assert cursor(plot)["began"] == plot.fleet.clock.now()


def test_a_clock_that_was_set_back_does_not_stop_it(garden: Callable[[int], Garden]) -> None:
    plot = garden(1)
    scrub(plot)
    plot.damage("flip", [plot.images[0].layers[0]])
    plot.fleet.clock.at -= DAY
    scrub(plot)
    assert damaged(plot) == 1


def test_another_replica_goes_on_where_one_has_stopped(garden: Callable[[int], Garden]) -> None:
    plot = garden(1)
    plot.push_blob("acme/large", LARGE)
    later = b"later" * 10_000
    plot.push_blob("acme/large", later)
    plot.damage("flip", [plot.images[0].layers[0], LARGE, later])
    first = Scrub(plot.fleet.nodes[0].registry, PACE)
    assert plot.fleet.runner.run(first.step())
    before = cursor(plot)
    assert 0 < damaged(plot) < 3  # it stands within the large one
    assert plot.fleet.steps(Scrub(plot.fleet.nodes[1].registry, PACE).step) > 3
    assert damaged(plot) == 3
    assert cursor(plot)["began"] == before["began"]


def test_a_large_blob_that_was_pushed_again_meanwhile_stays(garden: Callable[[int], Garden]) -> None:
    plot = garden(0)
    plot.push_blob("acme/large", LARGE)
    plot.damage("flip", [LARGE])
    slow = Scrub(plot.fleet.nodes[0].registry, PACE)
    assert plot.fleet.runner.run(slow.step())  # has read a part of the rotten bytes
    Path(plot.file(LARGE)).write_bytes(LARGE[:-1])
    assert plot.get("acme/large", f"blobs/{make.digest(LARGE)}").status == 404
    assert plot.push_blob("acme/large", LARGE).status == 201
    plot.fleet.steps(slow.step)
    assert damaged(plot) == 0


def test_it_reads_no_faster_than_its_rate(garden: Callable[[int], Garden]) -> None:
    plot = garden(0)
    plot.push_blob("acme/large", LARGE)
    began = time.monotonic()
    scrub(plot, Pace(DAY, SECOND, rate=len(LARGE)))
    assert time.monotonic() - began > 0.9


def test_a_rate_too_low_for_the_period_is_told(garden: Callable[[int], Garden], told: io.StringIO) -> None:
    plot = garden(0)
    plot.push_blob("acme/large", LARGE)
    scrub(plot, Pace(SECOND // 100, SECOND, rate=1 << 30))
    assert "raise either" in told.getvalue()


def test_bytes_that_come_back_are_served_again(garden: Callable[[int], Garden], tmp_path: Path) -> None:
    plot = garden(2)
    image = plot.images[0]
    scrub(plot)
    path = plot.file(image.layers[0])
    path.rename(tmp_path / "elsewhere")
    assert plot.get(image.repository, f"blobs/{make.digest(image.layers[0])}").status == 404
    assert damaged(plot) == 1
    scrub(plot)
    assert damaged(plot) == 1
    (tmp_path / "elsewhere").rename(path)
    scrub(plot)
    served(plot, image)


def test_a_missing_disk_is_not_taken_for_rot(garden: Callable[[int], Garden], tmp_path: Path) -> None:
    plot = garden(20)
    shards = plot.fleet.blobs / "blobs" / "u"
    shards.rename(tmp_path / "unmounted")
    shards.mkdir()
    one = Scrub(plot.fleet.nodes[0].registry, PACE)
    for _ in range(3):
        with pytest.raises(RegistryError, match="is their disk there"):
            plot.fleet.steps(one.step)
    assert damaged(plot) == 19
    shards.rmdir()
    (tmp_path / "unmounted").rename(shards)
    plot.fleet.steps(one.step)
    plot.fleet.steps(one.step)
    for image in plot.images:
        served(plot, image)


def test_a_file_that_its_disk_will_not_open_is_rot(
    garden: Callable[[int], Garden], monkeypatch: pytest.MonkeyPatch
) -> None:
    plot = garden(3)
    image = plot.images[1]
    with monkeypatch.context() as disk:
        lose(disk, str(plot.file(image.layers[0])).__eq__)
        plot.damage("flip", [plot.images[2].layers[1]])
        scrub(plot)
        assert damaged(plot) == 2
        assert cursor(plot)["part"] == "rest"
        plot.broken[make.digest(image.layers[0])] = "unreadable"
        served(plot, image)
    scrub(plot)
    del plot.broken[make.digest(image.layers[0])]
    served(plot, image)


def test_a_disk_that_fails_everything_is_not_taken_for_rot(
    garden: Callable[[int], Garden], monkeypatch: pytest.MonkeyPatch
) -> None:
    plot = garden(20)
    one = Scrub(plot.fleet.nodes[0].registry, PACE)
    with monkeypatch.context() as disk:
        lose(disk, lambda path: "/blobs/u/" in path, errno.EIO)
        for _ in range(3):
            with pytest.raises(RegistryError, match="is their disk there"):
                plot.fleet.steps(one.step)
    assert damaged(plot) == 19
    plot.fleet.steps(one.step)
    plot.fleet.steps(one.step)
    assert damaged(plot) == 0


def test_a_blob_that_may_not_be_read_is_told_and_passed_over(
    garden: Callable[[int], Garden], told: io.StringIO
) -> None:
    plot = garden(2)
    bar(plot.file(plot.images[0].layers[0]))
    plot.damage("flip", [plot.images[1].layers[1]])
    scrub(plot)
    assert damaged(plot) == 1
    (line,) = [line for line in told.getvalue().splitlines() if "could not be checked" in line]
    assert make.digest(plot.images[0].layers[0]) in line


def test_where_nothing_may_be_read_it_waits(garden: Callable[[int], Garden], told: io.StringIO) -> None:
    plot = garden(12)
    for image in plot.images:
        for layer in image.layers:
            bar(plot.file(layer))
    one = Scrub(plot.fleet.nodes[0].registry, PACE)
    for _ in range(2):
        with pytest.raises(RegistryError, match="is their disk there"):
            plot.fleet.steps(one.step)
    assert damaged(plot) == 0
    assert told.getvalue().count("could not be checked") == 21


def test_what_it_finds_is_logged_and_counted(garden: Callable[[int], Garden], told: io.StringIO) -> None:
    plot = garden(2)
    plot.damage("truncate", [plot.images[0].layers[0]])
    plot.damage_manifests([plot.images[1]])
    scrub(plot)
    lines = [line for line in told.getvalue().splitlines() if "damaged: not served any more" in line]
    assert [what for what in plot.broken if sum(what in line for line in lines) == 1] == list(plot.broken)
    text = metrics.exposition()[0].decode()
    assert 'registry_scrub_damaged_total{kind="size"}' in text
    assert "registry_scrub_bytes_total" in text
    assert json.dumps(cursor(plot)["found"]) == "2"
