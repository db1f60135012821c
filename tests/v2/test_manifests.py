"""end-3, end-7: manifests are pushed and come back."""

import httpx
import pytest

from tests import make


@pytest.mark.spec("end-7a")
def test_a_manifest_comes_back_byte_for_byte(client: httpx.Client) -> None:
    body = make.push_image(client, "acme/app", "1", b"{}", b"layer" * 10)
    answer = client.get("/v2/acme/app/manifests/1")
    assert answer.content == body
    assert answer.headers["Docker-Content-Digest"] == make.digest(body)
    assert answer.headers["Content-Type"] == make.IMAGE
    head = client.head("/v2/acme/app/manifests/1")
    assert int(head.headers["Content-Length"]) == len(body)
    same = client.get("/v2/acme/app/manifests/1", headers={"If-None-Match": answer.headers["ETag"]})
    assert same.status_code == 304


@pytest.mark.spec("end-7a")
def test_missing_content_is_refused_and_named(client: httpx.Client) -> None:
    body = make.image(b"no config", b"no layer", b"none either")
    answer = client.put("/v2/acme/absent/manifests/1", content=body, headers={"Content-Type": make.IMAGE})
    assert answer.status_code == 400
    assert make.code(answer) == "MANIFEST_BLOB_UNKNOWN"
    for content in (b"no config", b"no layer", b"none either"):
        assert make.digest(content) in answer.json()["errors"][0]["message"]
    assert client.get("/v2/acme/absent/tags/list").status_code == 404


BAD_MANIFESTS = {
    "not JSON": b"{",
    "not UTF-8": b'{"a": "\xff"}',
    "too deep": b"[" * 200_000,
    "duplicate keys": b'{"schemaVersion": 2, "schemaVersion": 2, "manifests": []}',
    "both an image and an index": b'{"schemaVersion": 2, "manifests": [], "layers": [], "config": {}}',
    "a lone surrogate": b'{"schemaVersion": 2, "manifests": [], "annotations": {"a": "\\ud800"}}',
    "a huge number": b'{"schemaVersion": 2, "manifests": [], "x": ' + b"9" * 5000 + b"}",
    "not a number": b'{"schemaVersion": 2, "manifests": [], "x": NaN}',
}


@pytest.mark.parametrize("body", BAD_MANIFESTS.values(), ids=BAD_MANIFESTS.keys())
def test_a_bad_manifest_is_refused(client: httpx.Client, body: bytes) -> None:
    answer = client.put("/v2/acme/bad/manifests/1", content=body, headers={"Content-Type": make.INDEX})
    assert (answer.status_code, make.code(answer)) == (400, "MANIFEST_INVALID")


def test_a_manifest_beyond_the_limit_is_413(client: httpx.Client) -> None:
    answer = client.put("/v2/acme/bad/manifests/1", content=b" " * (4 * 1024 * 1024 + 1))
    assert answer.status_code == 413
