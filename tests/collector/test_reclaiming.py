"""Reclaiming: what nothing refers to goes, what something refers to stays."""

import socket
import time
from collections.abc import Callable
from pathlib import Path

import httpx
import pytest

from tests import make
from tests.conftest import Served

SHORT = {
    "REGISTRY_GC_WINDOW": "2s",
    "REGISTRY_GC_TRASH": "100ms",
    "REGISTRY_GC_UNDO": "100ms",
    "REGISTRY_GC_INTERVAL": "200ms",
    "REGISTRY_GC_ORPHANS": "200ms",
    "REGISTRY_STORAGE_MAINTENANCE_UPLOADPURGING_AGE": "1s",
    "REGISTRY_STORAGE_MAINTENANCE_UPLOADPURGING_INTERVAL": "200ms",
}


@pytest.mark.parametrize("dialect", ["sqlite", "postgresql"])
def test_only_what_nothing_refers_to_is_reclaimed(
    serve: Callable[..., Served], request: pytest.FixtureRequest, tmp_path: Path, dialect: str
) -> None:
    environment = dict(SHORT)
    if dialect == "postgresql":
        environment["REGISTRY_DATABASE_URL"] = request.getfixturevalue("postgresql_url")
    server = serve(**environment)
    kept, lost, deleted = (bytes([byte]) * 100_000 for byte in b"klm")
    with httpx.Client(base_url=server.url) as client:
        make.push_image(client, "acme/app", "1", b"{}", kept)
        gone = make.push_image(client, "acme/app", "2", b"{}", deleted)
        make.push_blob(client, "acme/app", lost)
        place = client.post("/v2/acme/app/blobs/uploads/").headers["Location"]
        client.patch(place, content=b"z" * 100_000)
        assert len(_files(server.data)) == 4
        client.delete(f"/v2/acme/app/manifests/{make.digest(gone)}")
        wait(lambda: len(_files(server.data)) == 1)
        assert client.get(place).status_code == 404
        assert client.head(f"/v2/acme/app/blobs/{make.digest(lost)}").status_code == 404
        assert client.get(f"/v2/acme/app/blobs/{make.digest(kept)}").content == kept
        assert client.get(f"/v2/acme/app/blobs/{make.digest(b'{}')}").content == b"{}"
        make.push_image(client, "acme/app", "2", b"{}", deleted)
        assert client.get(f"/v2/acme/app/blobs/{make.digest(deleted)}").content == deleted


def test_bytes_of_a_killed_push_are_reclaimed(serve: Callable[..., Served]) -> None:
    server = serve(REGISTRY_GC_ENABLED="false", REGISTRY_STORAGE_MAINTENANCE_UPLOADPURGING_ENABLED="false")
    content = b"x" * 200_000
    kept, half = make.digest(content), make.digest(content * 2)
    with httpx.Client(base_url=server.url) as client:
        make.push_blob(client, "acme/app", content)
    with socket.create_connection(("127.0.0.1", server.port)) as pusher:
        path = f"/v2/acme/app/blobs/uploads/?digest={half}"
        pusher.sendall(f"POST {path} HTTP/1.1\r\nHost: x\r\nContent-Length: 400000\r\n\r\n".encode() + content)
        wait(lambda: len(_files(server.data)) == 2)
        server.process.kill()
        server.process.wait(10)
    orphan = "ffffffff-0000-4000-8000-000000000000"  # its row was lost with the power
    (server.data / "blobs" / "u" / "ff" / orphan).write_bytes(content)
    server = serve(server.data, **SHORT)
    with httpx.Client(base_url=server.url) as client:
        make.push_image(client, "acme/app", "1", b"{}", content)
        wait(lambda: len(_files(server.data)) == 1)
        assert client.get(f"/v2/acme/app/blobs/{kept}").content == content


def test_a_dry_run_tells_how_many_uploads_are_abandoned_and_keeps_them(serve: Callable[..., Served]) -> None:
    server = serve(**SHORT, REGISTRY_STORAGE_MAINTENANCE_UPLOADPURGING_DRYRUN="true")
    with httpx.Client(base_url=server.url) as client:
        place = client.post("/v2/acme/app/blobs/uploads/").headers["Location"]
        wait(lambda: '"uploads":1' in server.log.read_text())
        assert client.get(place).status_code == 204


def wait(until: Callable[[], bool]) -> None:
    stop = time.monotonic() + 40
    while not until() and time.monotonic() < stop:
        time.sleep(0.1)
    assert until()


def _files(data: Path) -> list[Path]:
    return [one for one in (data / "blobs" / "u").rglob("*") if one.is_file()]
