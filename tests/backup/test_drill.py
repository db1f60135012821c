"""The drill: back up a registry under load, lose everything, bring it back, on either database."""

import time
from collections.abc import Callable
from pathlib import Path

import httpx
import pytest

from tests import make
from tests.backup.drill import Images, Pushing, command, files, new_files
from tests.conftest import Served
from tests.databases import Server

Serve = Callable[..., Served]

pytestmark = pytest.mark.timeout(600)
PAIRS = [
    ("sqlite", "postgresql"),
    ("postgresql", "sqlite"),
    pytest.param("sqlite", "sqlite", marks=pytest.mark.slow),
    pytest.param("postgresql", "postgresql", marks=pytest.mark.slow),
]


@pytest.mark.parametrize(("source", "target"), PAIRS)
def test_what_was_acknowledged_before_the_backup_comes_back(
    serve: Serve, request: pytest.FixtureRequest, tmp_path: Path, source: str, target: str
) -> None:
    def environment(kind: str) -> dict[str, str]:
        if kind == "sqlite":
            return {}
        cluster: Server = request.getfixturevalue("postgresql_server")
        return {"REGISTRY_DATABASE_URL": cluster.create(schema=False)}

    old, new = environment(source), environment(target)
    data, fresh, folder = tmp_path / "old", tmp_path / "new", tmp_path / "backup"
    server = serve(data, **old)
    images = Images(server.url)
    for number in range(3):
        images.push(f"early-{number}")
    images.push("large", size=3_000_000)
    with Pushing(images):
        first = list(images.acknowledged)
        told = command("backup", folder, data=data, **old)
        assert new_files(told)[0] >= 2 * len(first)
        command("restore", folder, data=tmp_path / "early")
    early = serve(tmp_path / "early")
    listed = httpx.get(f"{early.url}/v2/acme/app/tags/list").json()["tags"]
    assert set(first) <= set(listed) <= set(images.acknowledged)
    images.check(early.url, listed)
    command("backup", folder, data=data, **old)
    images.push("late")
    last = list(images.acknowledged)
    assert new_files(command("backup", folder, data=data, **old)) == (2, 0), "two layers are new; the config is a row"
    images.push("too-late")
    server.stop()

    told = command("restore", folder, data=fresh, **new)
    assert "collection is disarmed" in told
    restored = serve(fresh, **new)
    images.check(restored.url, last)
    assert "restored from the backup of" in command("gc", "status", data=fresh, status=1, **new)
    assert set(files(fresh)) == set(files(folder))
    more = Images(restored.url, name="acme/app")
    more.push("after")
    more.check(restored.url)
    assert new_files(command("backup", folder, data=fresh, **new)) == (2, 0), "it goes on where the old one was"
    command("gc", "arm", data=fresh, **new)
    assert "armed" in command("gc", "status", data=fresh, **new)


def test_files_are_links_on_the_same_disk_and_outlive_the_registry(serve: Serve, tmp_path: Path) -> None:
    server = serve(tmp_path / "data")
    images = Images(server.url)
    images.push("1")
    assert "linked" in command("backup", tmp_path / "backup", data=tmp_path / "data")
    for key, one in files(tmp_path / "data").items():
        assert one.stat().st_ino == (tmp_path / "backup" / key).stat().st_ino
        one.unlink()
    assert len(files(tmp_path / "backup")) == 2


def test_what_the_registry_no_longer_has_leaves_the_backup_unless_it_should_stay(serve: Serve, tmp_path: Path) -> None:
    quick = {"REGISTRY_GC_WINDOW": "1s", "REGISTRY_GC_TRASH": "0s", "REGISTRY_GC_UNDO": "0s"}
    server = serve(tmp_path / "data", REGISTRY_GC_INTERVAL="100ms", **quick)
    images = Images(server.url)
    images.push("1")
    images.push("2")
    both = (tmp_path / "one", tmp_path / "two")
    for folder in both:
        command("backup", folder, data=tmp_path / "data")
    httpx.delete(f"{server.url}/v2/acme/app/manifests/{make.digest(images.acknowledged['1'][0])}")
    stop = time.monotonic() + 60
    while len(files(tmp_path / "data")) > 2 and time.monotonic() < stop:
        time.sleep(0.2)
    assert new_files(command("backup", both[0], data=tmp_path / "data")) == (0, 2)
    assert new_files(command("backup", both[1], "--keep", data=tmp_path / "data")) == (0, 0)
    assert [len(files(folder)) for folder in both] == [2, 4]
    assert [len(list(folder.glob("moorage-*.db"))) for folder in both] == [1, 2]
