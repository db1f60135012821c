"""Two requests of which one has seen what the other changes since: what was acknowledged stays."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from moorage.core import upload
from moorage.db import trash
from moorage.oci.digest import Digest
from tests import make
from tests.model.nodes import ABANDONED, LEASE, TRASH, UNDO, Fleet

BLOB = b"b" * 20_000
DIGEST = make.digest(BLOB)
PLACE = f"/v2/acme/app/blobs/{DIGEST}"


@pytest.fixture
def fleet(database_url: str, tmp_path: Path) -> Iterator[Fleet]:
    one = Fleet(database_url, tmp_path / "blobs", sparse=True)
    one.start()
    yield one
    one.end()


def refer(fleet: Fleet, name: str) -> None:
    image = make.image(b"{}", BLOB)
    assert fleet.ask(0, "POST", f"/v2/{name}/blobs/uploads/?digest={make.digest(b'{}')}", b"{}").status == 201
    assert fleet.ask(0, "PUT", f"/v2/{name}/manifests/1", image, content_type=make.IMAGE).status == 201


def collect(fleet: Fleet) -> None:
    """Let every window run out, twice, with the jobs at work."""
    for _ in range(2):
        fleet.clock.at += LEASE + UNDO + TRASH + ABANDONED
        for _ in range(3):
            for job in range(2):
                while fleet.work(0, job):
                    pass
            fleet.clock.at += TRASH + 1


def files(fleet: Fleet) -> list[Path]:
    return [one for one in (fleet.blobs / "blobs" / "u").rglob("*-*") if one.is_file()]


def begun(fleet: Fleet) -> str:
    place = fleet.ask(0, "POST", "/v2/acme/app/blobs/uploads/").headers["Location"]
    return fleet.ask(0, "PATCH", place, BLOB).headers["Location"]


def overtake(fleet: Fleet, monkeypatch: pytest.MonkeyPatch, look: str, place: str) -> list[int]:
    """Have the next request that looks at the upload overtaken, after its look, by the one that finishes it."""
    seen, answers = getattr(upload, look), []

    async def slow(*arguments: Any) -> upload.Upload:
        found: upload.Upload = await seen(*arguments)
        monkeypatch.setattr(upload, look, seen)
        answers.append((await fleet.nodes[1].ask("PUT", f"{place}?digest={DIGEST}", b"", {})).status)
        return found

    monkeypatch.setattr(upload, look, slow)
    return answers


def test_a_cancellation_that_comes_late_takes_nothing_from_the_blob(
    fleet: Fleet, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = begun(fleet)
    answers = overtake(fleet, monkeypatch, "_open", place)
    fleet.ask(0, "DELETE", place)
    assert answers == [201]
    refer(fleet, "acme/app")
    collect(fleet)
    assert fleet.ask(0, "GET", PLACE).content == BLOB


def test_a_wrong_digest_that_comes_late_takes_nothing_from_the_blob(
    fleet: Fleet, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = begun(fleet)
    answers = overtake(fleet, monkeypatch, "_find", place)
    assert fleet.ask(0, "PUT", f"{place}?digest={make.digest(b'other')}").status == 400
    assert answers == [201]
    refer(fleet, "acme/app")
    collect(fleet)
    assert fleet.ask(0, "GET", PLACE).content == BLOB


@pytest.mark.parametrize("form", ["one request", "a session"])
@pytest.mark.parametrize("cut", [None, 7])
def test_a_push_of_a_blob_whose_file_was_lost_brings_it_back(fleet: Fleet, form: str, cut: int | None) -> None:
    """Nobody has noticed yet that it is gone, or too short."""
    first = f"/v2/acme/other/blobs/uploads/?digest={DIGEST}"
    assert fleet.ask(0, "POST", first, BLOB).status == 201
    (file,) = files(fleet)
    file.unlink() if cut is None else file.write_bytes(BLOB[:cut])
    if form == "one request":
        answer = fleet.ask(0, "POST", f"/v2/acme/app/blobs/uploads/?digest={DIGEST}", BLOB)
    else:
        answer = fleet.ask(0, "PUT", f"{begun(fleet)}?digest={DIGEST}")
    assert answer.status == 201
    assert fleet.ask(0, "GET", PLACE).content == BLOB
    refer(fleet, "acme/app")
    collect(fleet)
    assert fleet.ask(0, "GET", PLACE).content == BLOB


def test_a_manifest_pushed_while_its_blob_was_damaged_holds_it_once_it_is_healed(fleet: Fleet) -> None:
    for name in ("acme/app", "acme/other"):
        assert fleet.ask(0, "POST", f"/v2/{name}/blobs/uploads/?digest={DIGEST}", BLOB).status == 201
    for file in files(fleet):
        file.unlink()
    assert fleet.ask(0, "GET", PLACE).status == 404
    refer(fleet, "acme/app")
    assert fleet.ask(0, "POST", f"/v2/acme/other/blobs/uploads/?digest={DIGEST}", BLOB).status == 201
    collect(fleet)
    assert fleet.ask(0, "GET", PLACE).content == BLOB
    assert fleet.ask(0, "GET", PLACE.replace("app", "other")).status == 404, "nothing refers to it there"


def test_bytes_that_a_blob_names_are_not_destroyed_whatever_the_trash_says(fleet: Fleet) -> None:
    assert fleet.ask(0, "POST", f"/v2/acme/app/blobs/uploads/?digest={DIGEST}", BLOB).status == 201
    refer(fleet, "acme/app")
    (file,) = files(fleet)
    key = str(file.relative_to(fleet.blobs))
    fleet.nodes[0].db.write_now(trash.discard, key, Digest.parse(DIGEST), len(BLOB), 0)
    collect(fleet)
    assert fleet.ask(0, "GET", PLACE).content == BLOB
