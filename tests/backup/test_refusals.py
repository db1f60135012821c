"""Backups and restores that are refused, or cut short, leave everything as it was."""

import json
import shutil
import signal
import sqlite3
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import pytest

from moorage.db.migrate import migrate
from tests import make
from tests.backup.drill import Images, command, files, new_files, refused
from tests.cli.running import environment, moorage
from tests.conftest import Served, missing

Serve = Callable[..., Served]

pytestmark = pytest.mark.timeout(600)


@pytest.fixture
def images(serve: Serve, tmp_path: Path) -> Images:
    """One image, in a registry that runs and has a backup."""
    server = serve(tmp_path / "data")
    made = Images(server.url)
    made.push("1")
    command("backup", tmp_path / "backup", data=tmp_path / "data")
    return made


@pytest.mark.usefixtures("images")
def test_a_restore_takes_nothing_from_a_registry_that_is_there(serve: Serve, tmp_path: Path) -> None:
    folder, data = tmp_path / "backup", tmp_path / "data"
    assert "another server is already using" in refused("restore", folder, data=data)
    other = serve(tmp_path / "other")
    Images(other.url).push("2")
    other.stop()
    told = refused("restore", folder, data=tmp_path / "other")
    assert "already holds something" in told
    assert "1 manifests" in told
    for one in (tmp_path / "other").glob("moorage.db*"):
        one.unlink()
    assert "files that are not of this backup" in refused("restore", folder, data=tmp_path / "other")
    assert len(files(tmp_path / "other")) == 2
    command("restore", folder, data=tmp_path / "empty")
    assert "already holds something" in refused("restore", folder, data=tmp_path / "empty")


@pytest.mark.usefixtures("images")
def test_a_restore_leaves_the_blobs_of_another_registry_alone_that_its_configuration_names(tmp_path: Path) -> None:
    live = tmp_path / "live"
    config = tmp_path / "config.yml"
    config.write_text(f"storage: {{filesystem: {{rootdirectory: {live}}}}}\n")
    done = moorage("restore", tmp_path / "backup", "--config", config, "--data", tmp_path / "new")
    assert done.returncode == 0, done.stderr
    assert files(tmp_path / "new") == {key: tmp_path / "new" / key for key in files(tmp_path / "data")}
    assert not live.exists()


def test_a_registry_that_was_only_started_can_be_restored_into(serve: Serve, images: Images, tmp_path: Path) -> None:
    serve(tmp_path / "new").stop()
    command("restore", tmp_path / "backup", data=tmp_path / "new")
    images.check(serve(tmp_path / "new").url)


@pytest.mark.usefixtures("images")
def test_what_is_no_finished_backup_is_not_restored(tmp_path: Path) -> None:
    folder, new = tmp_path / "backup", tmp_path / "new"
    page = folder / "backup.json"
    said = json.loads(page.read_text())
    for changed, told in (
        ({"schema": "9999"}, "newer than this program knows"),
        ({"format": 2}, "format 2"),
        ({"database": "moorage-gone.db"}, "is missing"),
    ):
        page.write_text(json.dumps({**said, **changed}))
        assert told in refused("restore", folder, data=new)
    page.unlink()
    assert "never finished" in refused("restore", folder, data=new)
    assert files(new) == {}


def test_a_backup_of_an_older_schema_is_brought_up_to_date_on_its_way(serve: Serve, tmp_path: Path) -> None:
    folder, layer = tmp_path / "old", b"l" * 20_000
    key = folder / "blobs/u/ab/abcd"
    key.parent.mkdir(parents=True)
    key.write_bytes(layer)
    manifest = make.image(b"{}", layer)
    rows = folder / "moorage-then.db"
    migrate(f"sqlite:///{rows}", head="0001")
    with closing(sqlite3.connect(rows)) as old:
        old.executescript(
            f"""
            INSERT INTO repositories VALUES (1, 'acme/app', 'library', 0, 0);
            INSERT INTO blobs VALUES (1, '{make.digest(layer)}', {len(layer)}, 'blobs/u/ab/abcd', 0, NULL);
            INSERT INTO blobs VALUES (2, '{make.digest(b"{}")}', 2, NULL, 0, x'7b7d');
            INSERT INTO links VALUES (1, 1, 0, 0), (1, 2, 0, 0);
            INSERT INTO manifests (id, repository_id, digest, media_type, size, pushed_at, content)
                VALUES (1, 1, '{make.digest(manifest)}', '{make.IMAGE}', {len(manifest)}, 0, x'{manifest.hex()}');
            INSERT INTO edges VALUES (1, 0, 1, '{make.digest(b"{}")}', 'config', 2, NULL),
                                     (1, 1, 1, '{make.digest(layer)}', 'layer', 1, NULL);
            INSERT INTO tags VALUES (1, '1', 1, 0);
            """
        )
    page = {"format": 1, "at": "then", "schema": "0001", "store": "0" * 32, "database": rows.name, "repositories": 1}
    page |= {"manifests": 1, "blobs": 2, "files": 1, "size": len(layer), "missing": []}
    (folder / "backup.json").write_text(json.dumps(page))
    command("restore", folder, data=tmp_path / "new")
    restored = Images(serve(tmp_path / "new").url)
    restored.acknowledged["1"] = (manifest, [b"{}", layer])
    restored.check(restored.url)
    assert not list((tmp_path / "new").glob("*.before-*"))


@pytest.mark.usefixtures("images")
def test_a_backup_goes_to_no_folder_that_is_anothers(serve: Serve, tmp_path: Path) -> None:
    data = tmp_path / "data"
    assert "in use by a registry" in refused("backup", data, data=data)
    assert "no registry" in refused("backup", tmp_path / "x", data=tmp_path / "nowhere")
    other = serve(tmp_path / "other")
    Images(other.url).push("2")
    assert "the backup of another registry" in refused("backup", tmp_path / "backup", data=tmp_path / "other")


KILLED = """
import os, signal, sys
from pathlib import Path
from moorage.db import snapshot
from moorage.db.engine import open_database
from moorage.features.backup import record, restore, save
from moorage.storage.filesystem import FilesystemStore

deed, place, data, folder = sys.argv[1], sys.argv[2], *map(Path, sys.argv[3:])
def die(*_, **__): os.kill(os.getpid(), signal.SIGKILL)
def nothing(done, whole): pass
module, name = {"rows": (snapshot, "opened"), "page": (record, "write"), "tidy": (save, "_tidy"),
                "load": (snapshot, "load")}.get(place, (None, None))
if module: setattr(module, name, die)
progress = die if place == "bytes" else nothing
url, store = f"sqlite:///{data / 'moorage.db'}", FilesystemStore(data)
if deed == "backup":
    save.save(open_database(url), store, folder, keep_old=False, progress=progress)
else:
    restore.restore(folder, url, store, data, 0, partial=False, progress=progress)
"""


def killed(*arguments: str | Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", KILLED, *map(str, arguments)], check=False, env=environment(), timeout=100
    )
    assert done.returncode == -signal.SIGKILL


@pytest.mark.parametrize("place", ["rows", "bytes", "page", "tidy"])
def test_a_backup_that_is_killed_leaves_the_one_before_or_a_whole_new_one(
    serve: Serve, images: Images, tmp_path: Path, place: str
) -> None:
    folder, data = tmp_path / "backup", tmp_path / "data"
    images.push("2")
    killed("backup", place, data, folder)
    command("restore", folder, data=tmp_path / "new")
    restored = serve(tmp_path / "new")
    images.check(restored.url, ["1", "2"] if place == "tidy" else ["1"])
    images.push("3")
    assert new_files(command("backup", folder, data=data))[0] == (4 if place == "rows" else 2)
    assert not list(folder.rglob("*.new"))
    assert len(list(folder.glob("moorage-*"))) == 1


@pytest.mark.parametrize("place", ["bytes", "load"])
def test_a_restore_that_is_killed_is_run_again(serve: Serve, images: Images, tmp_path: Path, place: str) -> None:
    new = tmp_path / "new"
    new.mkdir()
    killed("restore", place, new, tmp_path / "backup")
    if place == "bytes":
        cut = next(iter(files(new).values()))
        cut.write_bytes(b"?" * cut.stat().st_size)  # as a power cut may leave what was not yet synced
    told = command("restore", tmp_path / "backup", data=new)
    assert ("1 were" if place == "bytes" else "2 were") + " there already" in told
    images.check(serve(new).url)


@pytest.fixture
def elsewhere(tmp_path: Path) -> Iterator[Path]:
    """A folder on another disk."""
    memory = Path("/dev/shm")
    if not memory.is_dir() or memory.stat().st_dev == tmp_path.stat().st_dev:
        missing("a second file system at /dev/shm")
    folder = Path(tempfile.mkdtemp(prefix="moorage-", dir=memory))
    yield folder
    shutil.rmtree(folder)


@pytest.mark.usefixtures("images")
def test_onto_another_disk_files_are_copied(serve: Serve, tmp_path: Path, elsewhere: Path) -> None:
    told = command("backup", elsewhere / "backup", data=tmp_path / "data")
    assert "linked" not in told
    assert new_files(told) == (2, 0)
    assert new_files(command("backup", elsewhere / "backup", data=tmp_path / "data")) == (0, 0)
