"""What a look over the links finds, and what the next looks need not see again."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from moorage.features.gc import candidates
from tests import make
from tests.model.nodes import LEASE, SECOND, Fleet


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
