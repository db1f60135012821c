"""end-9, end-10: deleting."""

import httpx
import pytest

from tests import make


@pytest.mark.spec("end-9")
def test_a_deleted_manifest_takes_its_tags_and_a_live_one_guards_its_blobs(client: httpx.Client) -> None:
    body = make.push_image(client, "acme/gone", "1", b"{}", b"kept")
    layer = f"/v2/acme/gone/blobs/{make.digest(b'kept')}"
    refused = client.delete(layer)
    assert refused.status_code == 405
    assert make.digest(body) in refused.json()["errors"][0]["message"]
    assert client.delete(f"/v2/acme/gone/manifests/{make.digest(body)}").status_code == 202
    assert client.get("/v2/acme/gone/manifests/1").status_code == 404
    assert client.delete(layer).status_code == 202
    assert client.head(layer).status_code == 404
    make.push_image(client, "acme/gone", "1", b"{}", b"kept")
    assert client.get(layer).content == b"kept"
