"""Rows and bytes from different times or places: nothing is destroyed, and what is missing heals."""

import shutil
import time
from collections.abc import Callable
from pathlib import Path

import httpx
import pytest

from tests import make
from tests.backup.drill import LAB, Images, command, condemn, file_of, files, heal, lose_rows, refused
from tests.closed import ADMIN, Closed
from tests.conftest import Served, start

Serve = Callable[..., Served]

pytestmark = pytest.mark.timeout(600)

QUICK = {
    "REGISTRY_GC_WINDOW": "1s",
    "REGISTRY_GC_TRASH": "0s",
    "REGISTRY_GC_UNDO": "0s",
    "REGISTRY_GC_INTERVAL": "100ms",
    "REGISTRY_GC_ORPHANS": "100ms",
}
ROOT_DIRECTORY = "REGISTRY_STORAGE_FILESYSTEM_ROOTDIRECTORY"


def test_rows_older_than_the_blobs_leave_the_newer_ones_alone_while_disarmed(serve: Serve, tmp_path: Path) -> None:
    data = tmp_path / "data"
    server = serve(data)
    images = Images(server.url)
    images.push("1")
    command("backup", tmp_path / "backup", data=data)
    images.push("2")
    server.stop()
    lose_rows(data)
    told = command("restore", tmp_path / "backup", data=data)
    assert "0 files" in told
    assert "2 were there already" in told
    server = serve(data, **QUICK)
    images.check(server.url, ["1"])
    time.sleep(2)  # the windows have passed many times
    assert len(files(data)) == 4
    assert "collection is disarmed" in server.log.read_text()
    command("gc", "arm", data=data)
    stop = time.monotonic() + 60
    while len(files(data)) > 2 and time.monotonic() < stop:
        time.sleep(0.2)
    assert len(files(data)) == 2
    images.check(server.url, ["1"])


def test_a_lost_database_makes_nobody_take_the_blobs_for_rubbish(serve: Serve, tmp_path: Path) -> None:
    data = tmp_path / "data"
    server = serve(data)
    Images(server.url).push("1")
    server.stop()
    lose_rows(data)
    serve(data, **QUICK)
    time.sleep(2)
    assert len(files(data)) == 2
    assert "the database no blobs" in command("gc", "status", data=data, status=1)


def test_blobs_older_than_the_rows_are_unknown_and_heal_by_a_push(serve: Serve, tmp_path: Path) -> None:
    data = tmp_path / "data"
    server = serve(data)
    images = Images(server.url)
    images.push("1")
    command("backup", tmp_path / "backup", data=data)
    images.push("2")
    server.stop()
    shutil.rmtree(data / "blobs")
    shutil.copytree(tmp_path / "backup" / "blobs", data / "blobs")
    command("gc", "adopt", data=data)
    server = serve(data, **QUICK)
    images.check(server.url, ["1"])
    for layer in images.acknowledged["2"][1][1:]:
        assert httpx.get(f"{server.url}/v2/acme/app/blobs/{make.digest(layer)}").status_code == 404
        condemn(f"sqlite:///{data / 'moorage.db'}", layer)
        heal(server.url, "acme/app", layer)
    images.check(server.url)


@pytest.mark.parametrize("harm", ["missing", "cut", "another byte"])
def test_a_backup_that_lacks_blobs_is_restored_only_if_that_is_wanted(serve: Serve, tmp_path: Path, harm: str) -> None:
    server = serve(tmp_path / "data")
    images = Images(server.url)
    images.push("1")
    folder = tmp_path / "backup"
    command("backup", folder, data=tmp_path / "data")
    layer = images.acknowledged["1"][1][1]
    victim = file_of(folder, layer)
    victim.unlink()  # it was a link to the registry's own file
    if harm == "cut":
        victim.write_bytes(layer[:-1])
    elif harm == "another byte":
        victim.write_bytes(b"?" + layer[1:])
    if harm != "another byte":
        told = refused("restore", folder, data=tmp_path / "new")
        assert make.digest(layer) in told
        assert "incomplete" in told
    told = command("restore", folder, "--partial", data=tmp_path / "new", status=1)
    assert make.digest(layer) in told
    restored = serve(tmp_path / "new")
    assert httpx.get(f"{restored.url}/v2/acme/app/blobs/{make.digest(layer)}").status_code == 404
    assert httpx.get(f"{restored.url}/v2/acme/app/manifests/1").status_code == 200
    heal(restored.url, "acme/app", layer)
    images.check(restored.url)


def test_a_blob_that_the_registry_lost_is_told_and_the_others_are_saved(serve: Serve, tmp_path: Path) -> None:
    data, folder = tmp_path / "data", tmp_path / "backup"
    server = serve(data)
    images = Images(server.url)
    images.push("1")
    layer = images.acknowledged["1"][1][1]
    file_of(data, layer).unlink()
    for _ in range(2):
        assert make.digest(layer) in command("backup", folder, data=data, status=1)
    assert make.digest(layer) in command("restore", folder, data=tmp_path / "new", status=1)
    restored = serve(tmp_path / "new")
    heal(restored.url, "acme/app", layer)
    images.check(restored.url)


def test_the_blob_folder_of_another_registry_is_refused_until_it_is_adopted(serve: Serve, tmp_path: Path) -> None:
    mine, other = tmp_path / "mine", tmp_path / "other"
    for data in (mine, other):
        server = serve(data)
        Images(server.url).push("1")
        server.stop()
    with pytest.raises(RuntimeError, match="belongs to the blob store") as refusal:
        start(mine, **{ROOT_DIRECTORY: str(other)})
    words = str(refusal.value)
    said = (str(mine / "moorage.db"), f"{other} (configuration file {LAB})", "moorage restore", "moorage gc adopt")
    assert [one for one in said if one not in words] == []
    assert "belongs to the blob store" in refused(
        "backup", tmp_path / "backup", data=mine, **{ROOT_DIRECTORY: str(other)}
    )
    running = serve(mine)
    assert "another server is already using" in refused("gc", "adopt", data=mine, **{ROOT_DIRECTORY: str(other)})
    running.stop()
    command("gc", "adopt", data=mine, **{ROOT_DIRECTORY: str(other)})
    server = serve(mine, **QUICK, **{ROOT_DIRECTORY: str(other)})
    time.sleep(2)
    assert len(files(other)) == 2
    assert "gc adopt" in command("gc", "status", data=mine, status=1)


@pytest.mark.parametrize("elsewhere", [False, True])
def test_bearer_tokens_end_with_a_restore_and_new_ones_are_good_at_once(tmp_path: Path, elsewhere: bool) -> None:
    """Elsewhere the secret is another: it is no part of a backup."""
    old, scope = Closed(tmp_path), "repository:acme/app:pull,push"
    before = old.bearer(ADMIN, scope)
    command("backup", tmp_path / "backup", data=old.served.data)
    old.stop()
    if elsewhere:
        old.served.data.rename(tmp_path / "gone")
    else:
        lose_rows(old.served.data)
    command("restore", tmp_path / "backup", data=old.served.data)
    new = Closed(tmp_path)

    def start_upload(bearer: str) -> int:
        headers = {"Authorization": f"Bearer {bearer}"}
        return new.client.post("/v2/acme/app/blobs/uploads/", headers=headers).status_code

    assert [start_upload(before), start_upload(new.bearer(ADMIN, scope))] == [401, 202]
    new.stop()
