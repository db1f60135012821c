"""Damaged blobs: a backup keeps the sound bytes that it has of them, and a restore takes no row at its word."""

from collections.abc import Callable
from pathlib import Path

import httpx
import pytest

from tests import make
from tests.backup.drill import Images, command, condemn, file_of, files, heal, lose_rows, new_files
from tests.conftest import Served
from tests.databases import Server

Serve = Callable[..., Served]

pytestmark = pytest.mark.timeout(600)


@pytest.fixture(params=["sqlite", "postgresql"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """The database of the registry in `tmp_path / "data"`."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path / 'data' / 'moorage.db'}"
    cluster: Server = request.getfixturevalue("postgresql_server")
    return cluster.create(schema=False)


@pytest.fixture
def other(request: pytest.FixtureRequest, url: str, tmp_path: Path) -> str:
    """An empty database of the other kind, for the registry in `tmp_path / "new"`."""
    if not url.startswith("sqlite"):
        return f"sqlite:///{tmp_path / 'new' / 'moorage.db'}"
    cluster: Server = request.getfixturevalue("postgresql_server")
    return cluster.create(schema=False)


def begun(serve: Serve, data: Path, **environment: str) -> tuple[Served, Images, bytes]:
    """A registry with an image, and a layer of it that lives in a file."""
    server = serve(data, **environment)
    images = Images(server.url)
    images.push("1")
    return server, images, images.acknowledged["1"][1][1]


def rot(data: Path, blob: bytes) -> None:
    """Other bytes in the registry's file; what a backup has linked keeps its own."""
    victim = file_of(data, blob)
    victim.unlink()
    victim.write_bytes(bytes(len(blob)))


def test_the_sound_copy_of_a_rotten_blob_is_kept_and_restored(
    serve: Serve, tmp_path: Path, url: str, other: str
) -> None:
    data, folder, new = tmp_path / "data", tmp_path / "backup", tmp_path / "new"
    old = {"REGISTRY_DATABASE_URL": url}
    _, images, layer = begun(serve, data, **old)
    command("backup", folder, data=data, **old)
    rot(data, layer)
    condemn(url, layer)
    for _ in range(2):
        assert new_files(command("backup", folder, data=data, **old)) == (0, 0)
        assert file_of(folder, layer)
    command("restore", folder, data=new, REGISTRY_DATABASE_URL=other)
    images.check(serve(new, REGISTRY_DATABASE_URL=other).url)


@pytest.mark.parametrize("known", [True, False])
def test_the_sound_copy_of_a_blob_that_was_healed_and_is_damaged_again_is_kept(
    serve: Serve, tmp_path: Path, url: str, other: str, known: bool
) -> None:
    """It lies under the key that the blob had before it was pushed anew."""
    data, folder, new = tmp_path / "data", tmp_path / "backup", tmp_path / "new"
    old = {"REGISTRY_DATABASE_URL": url}
    server, images, layer = begun(serve, data, **old)
    command("backup", folder, data=data, **old)
    for last in (False, True):
        file_of(data, layer).unlink()
        if not last:
            heal(server.url, "acme/app", layer)
    if known:
        condemn(url, layer)
    for _ in range(3):
        command("backup", folder, data=data, **old)
        assert file_of(folder, layer)
    command("restore", folder, data=new, REGISTRY_DATABASE_URL=other)
    images.check(serve(new, REGISTRY_DATABASE_URL=other).url)


def test_a_restore_onto_the_same_blobs_replaces_the_rotten_one(serve: Serve, tmp_path: Path) -> None:
    data, folder = tmp_path / "data", tmp_path / "backup"
    server, images, layer = begun(serve, data)
    command("backup", folder, data=data)
    rot(data, layer)
    condemn(f"sqlite:///{data / 'moorage.db'}", layer)
    command("backup", folder, data=data)
    server.stop()
    lose_rows(data)
    assert "1 were there already" in command("restore", folder, data=data)
    images.check(serve(data).url)


def test_what_a_store_has_of_a_damaged_blob_is_never_taken(serve: Serve, tmp_path: Path) -> None:
    data, folder = tmp_path / "data", tmp_path / "backup"
    server, images, layer = begun(serve, data)
    rot(data, layer)
    condemn(f"sqlite:///{data / 'moorage.db'}", layer)
    assert make.digest(layer) in command("backup", folder, data=data, status=1)
    assert len(files(folder)) == 1
    server.stop()
    lose_rows(data)
    assert make.digest(layer) in command("restore", folder, data=data, status=1)
    assert file_of(data, bytes(len(layer))), "it may tell its operator why"
    restored = serve(data)
    heal(restored.url, "acme/app", layer)
    images.check(restored.url)


@pytest.mark.parametrize("harm", ["cut", "another byte", "the same file"])
def test_a_wrong_copy_of_a_damaged_blob_is_not_kept(serve: Serve, tmp_path: Path, harm: str) -> None:
    data, folder = tmp_path / "data", tmp_path / "backup"
    _, _, layer = begun(serve, data)
    command("backup", folder, data=data)
    copy = file_of(folder, layer)
    if harm == "the same file":
        file_of(data, layer).write_bytes(bytes(len(layer)))
    else:
        copy.unlink()
        copy.write_bytes(layer[:-1] if harm == "cut" else b"?" + layer[1:])
    condemn(f"sqlite:///{data / 'moorage.db'}", layer)
    assert make.digest(layer) in command("backup", folder, "--keep", data=data, status=1)
    assert not copy.exists()
    assert make.digest(layer) in command("restore", folder, data=tmp_path / "new", status=1)


def test_of_a_blob_that_lives_in_its_row_the_last_sound_bytes_are_kept(
    serve: Serve, tmp_path: Path, url: str, other: str
) -> None:
    data, folder, new = tmp_path / "data", tmp_path / "backup", tmp_path / "new"
    old = {"REGISTRY_DATABASE_URL": url}
    images = Images(serve(data, **old).url)
    images.push("1")
    images.push("2")
    config = images.acknowledged["1"][1][0]
    command("backup", folder, data=data, **old)
    condemn(url, config, b"?" * len(config))
    for _ in range(2):
        command("backup", folder, data=data, **old)
    assert make.digest(config) in command("backup", tmp_path / "late", data=data, status=1, **old)
    command("restore", folder, data=new, REGISTRY_DATABASE_URL=other)
    images.check(serve(new, REGISTRY_DATABASE_URL=other).url)
    assert make.digest(config) in command("restore", tmp_path / "late", data=tmp_path / "lost", status=1)
    restored = serve(tmp_path / "lost")
    heal(restored.url, "acme/app", config)
    images.check(restored.url)


@pytest.mark.parametrize("lost", ["before the backup", "from the backup"])
def test_a_push_of_what_only_the_trash_had_brings_its_bytes(serve: Serve, tmp_path: Path, lost: str) -> None:
    data, folder, new = tmp_path / "data", tmp_path / "backup", tmp_path / "new"
    server, images, _ = begun(serve, data)
    layer = b"deleted" * 10_000
    with httpx.Client(base_url=server.url) as client:
        assert make.push_blob(client, "acme/app", layer).status_code == 201
        assert client.delete(f"/v2/acme/app/blobs/{make.digest(layer)}").status_code == 202
    if lost == "before the backup":
        file_of(data, layer).unlink()
    assert make.digest(layer) not in command("backup", folder, data=data)
    if lost == "from the backup":
        file_of(folder, layer).unlink()
    assert make.digest(layer) not in command("restore", folder, data=new)
    restored = serve(new)
    heal(restored.url, "acme/app", layer)
    images.check(restored.url)
