"""Addresses, methods, queries, and the shape of every refusal."""

import httpx
import pytest

from tests import make


@pytest.mark.parametrize("name", ["Acme/app", "acme//app", "acme/a..b", "a" * 256, "acme/app-", "%E2%80%AE/x"])
def test_a_bad_name_is_unknown_to_readers_and_refused_to_writers(client: httpx.Client, name: str) -> None:
    for place in ("tags/list", "manifests/1", f"blobs/{make.digest(b'')}"):
        make.refused(client.get(f"/v2/{name}/{place}"), 404, "NAME_UNKNOWN")
        assert client.head(f"/v2/{name}/{place}").status_code == 404
    make.refused(client.post(f"/v2/{name}/blobs/uploads/"), 400, "NAME_INVALID")


@pytest.mark.parametrize("tag", ["-x", "a" * 129, "a%20b", "%C3%A9"])
def test_a_bad_tag_is_unknown_to_readers_and_refused_to_writers(client: httpx.Client, tag: str) -> None:
    place = f"/v2/acme/app/manifests/{tag}"
    make.refused(client.get(place), 404, "MANIFEST_UNKNOWN")
    assert client.head(place).status_code == 404
    make.refused(client.put(place, content=b"{}", headers={"Content-Type": make.IMAGE}), 400, "TAG_INVALID")
    make.refused(client.delete(place), 400, "TAG_INVALID")


def test_what_is_missing_is_named_the_tag_the_digest_or_the_whole_repository(client: httpx.Client) -> None:
    make.push_blob(client, "acme/held", b"something")
    digest = make.digest(b"nowhere")
    for reference, said in (("1", "tag '1'"), (digest, f"manifest {digest}")):
        for method in ("GET", "DELETE"):
            answer = client.request(method, f"/v2/acme/held/manifests/{reference}")
            make.refused(answer, 404, "MANIFEST_UNKNOWN")
            assert answer.json()["errors"][0]["message"] == f"there is no {said} in acme/held"
            answer = client.request(method, f"/v2/acme/nobody/manifests/{reference}")
            assert make.refused(answer, 404, "NAME_UNKNOWN") == {"name": "acme/nobody"}
    make.refused(client.delete(f"/v2/acme/held/blobs/{digest}"), 404, "BLOB_UNKNOWN")
    make.refused(client.delete(f"/v2/acme/nobody/blobs/{digest}"), 404, "NAME_UNKNOWN")
