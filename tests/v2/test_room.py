"""What a registry still does when its disk has less left than it keeps in reserve."""

from collections.abc import Callable

import httpx
import pytest

from tests import make
from tests.conftest import Served

ALL = {"REGISTRY_STORAGE_RESERVE": "1000000GB"}
"""More than any disk has."""


@pytest.fixture
def images(serve: Callable[..., Served]) -> bytes:
    """A manifest that was pushed, with its layers, and an upload, while there was room."""
    server = serve()
    with httpx.Client(base_url=server.url) as client:
        body = make.push_image(client, "acme/app", "1", b"{}", b"layer" * 10_000)
        make.push_image(client, "acme/app", "2", b"{}", b"other" * 10_000)
        assert client.post("/v2/acme/app/blobs/uploads/").status_code == 202
    server.stop()
    return body


def test_pushes_are_refused_and_told_how_much_is_missing(serve: Callable[..., Served], images: bytes) -> None:
    server = serve(**ALL)
    large = b"x" * 100_000
    manifest = {"Content-Type": make.IMAGE}
    with httpx.Client(base_url=server.url) as client:
        for answer in (
            client.post("/v2/acme/app/blobs/uploads/"),
            make.push_blob(client, "acme/app", b"small"),
            make.push_blob(client, "acme/app", large),
            client.post(f"/v2/acme/new/blobs/uploads/?mount={make.digest(b'{}')}&from=acme/app"),
            client.put("/v2/acme/app/manifests/3", content=images, headers=manifest),
        ):
            detail = make.refused(answer, 507, "STORAGE_FULL")
            assert detail["reserve"] == 10**15
            assert detail["free"] + detail["missing"] >= 10**15  # type: ignore[operator]
            message = answer.json()["errors"][0]["message"]
            assert "must free or add space" in message
            assert "storage.reserve" in message
            assert str(server.data) not in answer.text
    assert f"{server.data}" in server.log.read_text()  # the operator is told where


def test_all_else_goes_on(serve: Callable[..., Served], images: bytes) -> None:
    server = serve(**ALL)
    with httpx.Client(base_url=server.url) as client:
        assert client.get("/v2/acme/app/manifests/1").content == images
        assert client.get(f"/v2/acme/app/blobs/{make.digest(b'layer' * 10_000)}").content == b"layer" * 10_000
        assert client.delete("/v2/acme/app/manifests/2").status_code == 202
        assert client.delete(f"/v2/acme/app/manifests/{make.digest(images)}").status_code == 202
        assert client.delete(f"/v2/acme/app/blobs/{make.digest(b'layer' * 10_000)}").status_code == 202
        assert client.get("/readyz").status_code == 200


def test_an_upload_that_was_begun_can_be_asked_for_and_cancelled(serve: Callable[..., Served]) -> None:
    server = serve()
    with httpx.Client(base_url=server.url) as client:
        place = client.post("/v2/acme/app/blobs/uploads/").headers["Location"]
        assert client.patch(place, content=b"x" * 50_000).status_code == 202
    server.stop()
    server = serve(**ALL)
    with httpx.Client(base_url=server.url) as client:
        make.refused(client.patch(place, content=b"y" * 50_000), 507, "STORAGE_FULL")
        make.refused(client.put(f"{place}?digest={make.digest(b'x' * 50_000)}"), 507, "STORAGE_FULL")
        assert client.get(place).headers["Range"] == "0-49999"
        assert client.delete(place).status_code == 204
