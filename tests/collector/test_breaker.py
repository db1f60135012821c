"""Much at once goes only when somebody has said so; while collection is disarmed, nothing goes."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from moorage.db import collection
from moorage.db.schema import blobs
from moorage.db.tx import Tx
from moorage.features.gc import job, rows
from moorage.features.gc.job import Windows, collector, purger, sweeper
from tests import make
from tests.model.nodes import ABANDONED, LEASE, SECOND, TRASH, Fleet

Begin = Callable[..., Fleet]


@pytest.fixture
def begin(database_url: str, tmp_path: Path) -> Iterator[Begin]:
    fleet = Fleet(database_url, tmp_path / "blobs")

    def run(share: float = 0.05) -> Fleet:
        fleet.start()
        node = fleet.nodes[0]
        windows = Windows(TRASH, SECOND, ABANDONED, SECOND, SECOND, gap=LEASE * 100, breaker=share)
        node.jobs = [one(node.registry, windows) for one in (collector, purger, sweeper)]
        return fleet

    yield run
    fleet.end()


def push(fleet: Fleet, count: int, first: int = 0) -> None:
    """So many blobs that nothing refers to; one in fifty lies in a file."""
    for number in range(first, first + count):
        content = b"%d" % number * (1 if number % 50 else 20_000)
        assert fleet.ask(0, "POST", f"/v2/z/blobs/uploads/?digest={make.digest(content)}", content).status == 201


def expire(fleet: Fleet) -> None:
    for span in (LEASE, TRASH, TRASH):
        fleet.clock.at += span + SECOND
        for number in range(3):
            while fleet.work(0, number):
                pass


def count(fleet: Fleet) -> tuple[int, int]:
    """How many blobs there are, and how many files."""
    from sqlalchemy import func, select

    def rows(tx: Tx) -> int:
        return int(tx.execute(select(func.count()).select_from(blobs)).scalar_one())

    node = fleet.nodes[0]
    return node.db.read_now(rows), len(list(node.store.keys()))


def test_a_hundred_blobs_may_go_however_few_there_are(begin: Begin) -> None:
    fleet = begin()
    push(fleet, 100)
    expire(fleet)
    assert count(fleet) == (0, 0)


def test_more_than_the_share_stays_until_somebody_lets_it_through_once(begin: Begin) -> None:
    fleet = begin()
    push(fleet, 150)
    expire(fleet)
    assert count(fleet) == (150, 3)
    db = fleet.nodes[0].db
    found = db.read_now(collection.look)
    assert (found.armed, found.cause, found.objects) == (False, "breaker", 150)
    assert "150 of 150 blobs" in found.reason
    assert db.write_now(collection.arm_after_check, found, 0) is False, "a check does not answer that"
    db.write_now(lambda tx: collection.arm(tx, 0, objects=found.objects, size=found.size))
    expire(fleet)
    assert count(fleet) == (0, 0)
    assert db.read_now(collection.look).objects == 0, "once is once"
    push(fleet, 150)
    expire(fleet)
    assert count(fleet) == (150, 3)


def test_a_breaker_that_trips_again_was_only_armed(begin: Begin) -> None:
    fleet = begin()
    push(fleet, 101)
    expire(fleet)
    fleet.nodes[0].db.write_now(collection.arm, 0)
    expire(fleet)
    assert count(fleet) == (101, 3)
    assert not fleet.nodes[0].db.read_now(collection.look).armed


def test_what_becomes_due_after_a_look_does_not_go_on_its_account(
    begin: Begin, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(job, "_BATCH", 60)
    monkeypatch.setattr(job, "_REST", 0)
    fleet = begin()
    push(fleet, 150)
    expire(fleet)
    push(fleet, 150, first=150)
    fleet.clock.at += LEASE + SECOND
    db = fleet.nodes[0].db
    found = db.read_now(collection.look)
    db.write_now(lambda tx: collection.arm(tx, 0, objects=found.objects, size=found.size))
    while fleet.work(0, 0) and count(fleet)[0] == 300:
        pass
    assert count(fleet)[0] == 240, "one step of 60 has been let through"
    fleet.clock.at += TRASH + SECOND
    while fleet.work(0, 0):
        pass
    assert count(fleet)[0] == 240, "90 that were let through and 150 that were not are due"
    assert not db.read_now(collection.look).armed


def test_what_was_promised_to_nobody_does_not_trip_it(begin: Begin) -> None:
    """Uploads that are cancelled, or turn out wrong, and pushes of what is known already."""
    fleet = begin()
    content = b"known" * 10_000
    push_known = f"/v2/z/blobs/uploads/?digest={make.digest(content)}"
    assert fleet.ask(0, "POST", push_known, content).status == 201
    for number in range(45):
        assert fleet.ask(0, "POST", push_known, content).status == 201
        for size in (1, 20_000):
            place = fleet.ask(0, "POST", "/v2/z/blobs/uploads/").headers["Location"]
            place = fleet.ask(0, "PATCH", place, b"x" * size).headers["Location"]
            if number % 2:
                assert fleet.ask(0, "DELETE", place).status == 204
            else:
                assert fleet.ask(0, "PUT", f"{place}?digest={make.digest(b'other')}").status == 400
    while fleet.work(0, 0):
        pass
    assert fleet.nodes[0].db.read_now(collection.look).armed
    assert count(fleet) == (1, 1)


@pytest.mark.parametrize("blobs_due", [0, 150])
def test_it_overrules_nobody_who_disarms_while_it_looks(
    begin: Begin, monkeypatch: pytest.MonkeyPatch, blobs_due: int
) -> None:
    """Neither by arming, where what was let through once has gone, nor by its own reason."""
    fleet = begin()
    push(fleet, blobs_due)
    expire(fleet)
    db, due = fleet.nodes[0].db, rows.due
    db.write_now(lambda tx: collection.arm(tx, 0, objects=1))

    def slow(tx: Tx, *arguments: int) -> tuple[int, int]:
        fleet.nodes[1].db.write_now(lambda tx: collection.disarm(tx, "storage", "another folder", 1))
        return due(tx, *arguments)

    monkeypatch.setattr(rows, "due", slow)
    fleet.work(0, 0)
    assert db.read_now(collection.look).cause == "storage"


def test_it_can_be_switched_off(begin: Begin) -> None:
    fleet = begin(1.0)
    push(fleet, 150)
    expire(fleet)
    assert count(fleet) == (0, 0)


def test_while_it_is_disarmed_nothing_goes_and_clients_go_on(begin: Begin) -> None:
    fleet = begin()
    push(fleet, 51)
    orphan = "blobs/u/ab/abcd"
    turn = fleet.nodes[0].store.append(orphan, ())
    turn.write(b"x")
    turn.close()
    db = fleet.nodes[0].db
    db.write_now(collection.disarm, "restored", "restored from a backup", 0)
    fleet.clock.at += 10 * 365 * 86_400 * SECOND
    expire(fleet)
    assert count(fleet) == (51, 3)
    push(fleet, 1)
    assert fleet.ask(0, "GET", f"/v2/z/blobs/{make.digest(b'0' * 20_000)}").status == 200
    before = db.read_now(collection.look)
    db.write_now(lambda tx: collection.disarm(tx, "storage", "another folder", 1))
    assert db.write_now(collection.arm_after_check, before, 2) is False, "nobody has looked at that folder"
    assert db.write_now(collection.arm_after_check, db.read_now(collection.look), 2) is True
    expire(fleet)
    assert count(fleet) == (0, 0)
