"""What cannot be destroyed, or is not ours to, holds up nothing else."""

import io
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import select

from moorage.db import trash
from moorage.db.schema import trash_blobs
from moorage.db.tx import Tx
from moorage.features.gc import job
from tests.integrity.plant import age
from tests.model.nodes import SECOND, TRASH, Fleet

STRAYS = ("ab/.abcd.Xy12", "ab/.nfs0001", "notes")


@pytest.fixture
def fleet(database_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Fleet]:
    monkeypatch.setattr(job, "_REST", 0)
    made = Fleet(database_url, tmp_path / "blobs")
    made.start()
    yield made
    made.end()


def put(fleet: Fleet, *names: str) -> list[str]:
    """Bytes that no row names, and which have lain there for long."""
    keys = [f"blobs/u/{name[:2]}/{name}" for name in names]
    for key in keys:
        turn = fleet.nodes[0].store.append(key, ())
        turn.write(b"x")
        turn.close()
        age(fleet.blobs / key)
    return keys


def pass_by(fleet: Fleet, times: int = 2) -> None:
    """Let the windows pass, with the sweeper and the collector at work."""
    for _ in range(times):
        fleet.clock.at += TRASH + SECOND
        for number in (2, 0):
            fleet.steps(fleet.nodes[0].jobs[number].step)


def files(fleet: Fleet) -> list[str]:
    return sorted(one.name for one in (fleet.blobs / "blobs" / "u").rglob("*") if one.is_file())


def in_trash(fleet: Fleet) -> list[str]:
    def rows(tx: Tx) -> list[str]:
        return [row[0] for row in tx.execute(select(trash_blobs.c.storage_key)).fetchall()]

    return sorted(fleet.nodes[0].db.read_now(rows))


def refuse(monkeypatch: pytest.MonkeyPatch, *keys: str) -> None:
    """Have the disk refuse to take these away."""

    def unlink(path: Path, *args: Any, sound: Any = Path.unlink, **kwargs: Any) -> None:
        if os.fspath(path).endswith(keys):
            raise PermissionError(1, "Operation not permitted", os.fspath(path))
        sound(path, *args, **kwargs)

    monkeypatch.setattr(Path, "unlink", unlink)


def test_files_of_somebody_else_stay_and_orphans_go(fleet: Fleet) -> None:
    put(fleet, "abcd")
    for name in STRAYS:
        (fleet.blobs / "blobs" / "u" / name).write_bytes(b"theirs")
        age(fleet.blobs / "blobs" / "u" / name)
    (fleet.blobs / "blobs" / "u" / "ab" / "folder").mkdir()
    pass_by(fleet)
    assert files(fleet) == sorted(name.rpartition("/")[2] for name in STRAYS)
    assert in_trash(fleet) == []


def test_what_the_trash_names_and_is_not_ours_is_forgotten(fleet: Fleet, told: io.StringIO) -> None:
    (key,) = put(fleet, "abcd")
    folder = fleet.blobs / "blobs" / "u" / "ab"
    (folder / "folder").mkdir()
    (folder / ".abcd.Xy12").write_bytes(b"theirs")
    found = [("blobs/u/ab/.abcd.Xy12", 6), ("blobs/u/ab/folder", 6), (key, 1)]
    fleet.nodes[0].db.write_now(trash.discard_unnamed, found, fleet.clock.now())
    pass_by(fleet)
    assert (files(fleet), in_trash(fleet)) == ([".abcd.Xy12"], [])
    assert (folder / "folder").is_dir()
    assert told.getvalue().count("is forgotten") == 1


def test_what_the_disk_refuses_waits_and_the_rest_goes(
    fleet: Fleet, monkeypatch: pytest.MonkeyPatch, told: io.StringIO
) -> None:
    keys = put(fleet, "abcd", "abce", "abcf")
    with monkeypatch.context() as disk:
        refuse(disk, "abce")
        pass_by(fleet)
        assert (files(fleet), in_trash(fleet)) == (["abce"], [keys[1]])
        assert told.getvalue().count("could not be destroyed") == 1
        assert "Operation not permitted" in told.getvalue()
    pass_by(fleet, 1)
    assert (files(fleet), in_trash(fleet)) == ([], [])


def test_a_batch_that_is_refused_as_a_whole_lets_others_through(fleet: Fleet, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(job, "_BATCH", 2)
    names = [f"ab{number:02}" for number in range(12)]
    put(fleet, *names)
    refuse(monkeypatch, *names[:5])
    pass_by(fleet)
    for _ in range(6):
        fleet.steps(fleet.nodes[0].jobs[0].step)
    assert files(fleet) == names[:5]
    assert len(in_trash(fleet)) == 5
