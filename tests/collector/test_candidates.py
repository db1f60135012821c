"""What a look over the links finds, and what the next looks need not see again."""

import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from moorage.features.gc import candidates, job
from tests import make
from tests.model.nodes import LEASE, SECOND, TRASH, Fleet


@pytest.fixture
def fleet(database_url: str, tmp_path: Path) -> Iterator[Fleet]:
    made = Fleet(database_url, tmp_path / "blobs")
    made.start()
    yield made
    made.end()


def push(fleet: Fleet, number: int) -> str:
    content = b"%d" % number * 20_000
    digest = make.digest(content)
    assert fleet.ask(0, "POST", f"/v2/acme/app/blobs/uploads/?digest={digest}", content).status == 201
    return digest


def collect(fleet: Fleet) -> int:
    return fleet.steps(fleet.nodes[0].jobs[0].step)


def linked(fleet: Fleet) -> int:
    found: int = fleet.nodes[0].db.read_now(lambda tx: len(tx.raw.execute("SELECT * FROM links").fetchall()))
    return found


def there(fleet: Fleet, digest: str) -> bool:
    return fleet.ask(0, "GET", f"/v2/acme/app/blobs/{digest}").status == 200


def test_more_than_one_look_remembers_go_in_one_pass(fleet: Fleet, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(candidates, "MOST", 4)
    monkeypatch.setattr(candidates, "BATCH", 3)
    digests = [push(fleet, number) for number in range(9)]
    fleet.clock.at += LEASE + SECOND
    kept = push(fleet, 9)
    collect(fleet)
    assert linked(fleet) == 1
    assert fleet.ask(0, "HEAD", f"/v2/acme/app/blobs/{kept}").status == 200
    assert all(fleet.ask(0, "HEAD", f"/v2/acme/app/blobs/{one}").status == 404 for one in digests)


def test_what_was_found_but_is_wanted_again_stays(fleet: Fleet, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(candidates, "BATCH", 1)
    digests = [push(fleet, number) for number in range(3)]
    fleet.clock.at += LEASE + SECOND
    step = fleet.nodes[0].jobs[0].step
    assert fleet.runner.run(step())
    assert linked(fleet) == 2, "one is taken, two are found"
    number = next(number for number, one in enumerate(digests) if there(fleet, one))
    push(fleet, number)
    collect(fleet)
    assert linked(fleet) == 1
    assert there(fleet, digests[number])


def test_a_blob_goes_from_the_repository_that_has_no_use_for_it_and_stays_in_others(fleet: Fleet) -> None:
    layer = b"x" * 20_000
    for name in ("acme/app", "b", "z"):
        for one in (layer, b"{}"):
            assert fleet.ask(0, "POST", f"/v2/{name}/blobs/uploads/?digest={make.digest(one)}", one).status == 201
    image = make.image(b"{}", layer)
    assert fleet.ask(0, "PUT", "/v2/b/manifests/1", image, Content_Type=make.IMAGE).status == 201
    fleet.clock.at += LEASE + SECOND
    collect(fleet)
    for one in (layer, b"{}"):
        held = [fleet.ask(0, "HEAD", f"/v2/{name}/blobs/{make.digest(one)}").status for name in ("acme/app", "b", "z")]
        assert held == [404, 200, 404]
    for _ in range(2):
        fleet.clock.at += TRASH + SECOND
        collect(fleet)
    assert fleet.ask(0, "GET", f"/v2/b/blobs/{make.digest(layer)}").status == 200


def test_steps_that_destroy_are_followed_by_a_rest_as_long_as_there_is_more(
    fleet: Fleet, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(job, "_BATCH", 3)
    monkeypatch.setattr(job, "_REST", 0.5)
    for number in range(6):
        push(fleet, number)
    step = fleet.nodes[0].jobs[0].step
    rested, files = [], []
    for span in (LEASE, TRASH):
        fleet.clock.at += span + SECOND
        more = True
        while more:
            began = time.monotonic()
            more = fleet.runner.run(step())
            rested.append(time.monotonic() - began >= 0.5)
            files.append(len(list(fleet.nodes[0].store.keys())))
    assert files == [6, 6, 3, 0, 0]
    assert rested == [False, False, True, True, False], "what only finds does not rest, nor what finds no more"


def test_links_in_use_are_looked_over_once_an_hour_not_every_time(fleet: Fleet) -> None:
    layer = b"x" * 20_000
    for one in (layer, b"{}"):
        assert fleet.ask(0, "POST", f"/v2/acme/app/blobs/uploads/?digest={make.digest(one)}", one).status == 201
    image = make.image(b"{}", layer)
    assert fleet.ask(0, "PUT", "/v2/acme/app/manifests/1", image, Content_Type=make.IMAGE).status == 201
    fleet.clock.at += LEASE // 2
    later = push(fleet, 1)
    fleet.clock.at += LEASE // 2 + SECOND
    collect(fleet)
    assert linked(fleet) == 3
    # No deed of ours takes an edge without giving a lease.
    fleet.nodes[0].db.write_now(lambda tx: tx.raw.execute("DELETE FROM edges"))
    fleet.clock.at += LEASE // 2
    collect(fleet)
    assert fleet.ask(0, "HEAD", f"/v2/acme/app/blobs/{later}").status == 404, "what has expired since was not seen"
    assert linked(fleet) == 2, "all links were looked over again"
    fleet.clock.at += LEASE // 2
    collect(fleet)
    assert linked(fleet) == 0
