"""Reclaiming: what nothing refers to goes, what something refers to stays."""

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
        stop = time.monotonic() + 40
        while len(_files(server.data)) > 1 and time.monotonic() < stop:
            time.sleep(0.2)
        assert len(_files(server.data)) == 1
        assert client.get(place).status_code == 404
        assert client.head(f"/v2/acme/app/blobs/{make.digest(lost)}").status_code == 404
        assert client.get(f"/v2/acme/app/blobs/{make.digest(kept)}").content == kept
        assert client.get(f"/v2/acme/app/blobs/{make.digest(b'{}')}").content == b"{}"
        make.push_image(client, "acme/app", "2", b"{}", deleted)
        assert client.get(f"/v2/acme/app/blobs/{make.digest(deleted)}").content == deleted


def _files(data: Path) -> list[Path]:
    return [one for one in (data / "blobs" / "u").rglob("*") if one.is_file()]
