"""The protocol over real HTTP against a real server, on both databases."""

import json
import socket

import httpx
import pytest

from tests import make
from tests.conftest import Served


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


@pytest.mark.spec("end-5")
def test_an_upload_goes_on_where_it_stands(client: httpx.Client) -> None:
    content = bytes(range(256)) * 300
    place = client.post("/v2/acme/chunks/blobs/uploads/").headers["Location"]
    half = len(content) // 2
    first = client.patch(place, content=content[:half], headers={"Content-Range": f"0-{half - 1}"})
    assert first.headers["Range"] == f"0-{half - 1}"
    wrong = client.patch(place, content=b"x", headers={"Content-Range": "7-7"})
    assert (wrong.status_code, wrong.headers["Range"]) == (416, f"0-{half - 1}")
    assert client.get(place).headers["Range"] == f"0-{half - 1}"
    done = client.put(f"{place}?digest={make.digest(content)}", content=content[half:])
    assert done.status_code == 201
    assert client.get(done.headers["Location"]).content == content
    again = client.put(f"{place}?digest={make.digest(content)}")
    assert again.status_code == 201


@pytest.mark.spec("end-6")
def test_a_wrong_digest_never_becomes_a_blob(client: httpx.Client) -> None:
    place = client.post("/v2/acme/wrong/blobs/uploads/").headers["Location"]
    claimed = make.digest(b"something else")
    answer = client.put(f"{place}?digest={claimed}", content=b"these bytes" * 4000)
    assert (answer.status_code, make.code(answer)) == (400, "DIGEST_INVALID")
    assert client.head(f"/v2/acme/wrong/blobs/{claimed}").status_code == 404
    assert client.get(place).status_code == 404


@pytest.mark.spec("end-2")
@pytest.mark.parametrize("size", [1000, 300_000], ids=["in a row", "in a file"])
def test_ranges_are_exact(client: httpx.Client, size: int) -> None:
    content = bytes(index * 7 % 251 for index in range(size))
    make.push_blob(client, "acme/ranges", content)
    place = f"/v2/acme/ranges/blobs/{make.digest(content)}"
    for asked, wanted in (("500-699", content[500:700]), ("-10", content[-10:]), ("990-", content[990:])):
        answer = client.get(place, headers={"Range": f"bytes={asked}"})
        assert (answer.status_code, answer.content) == (206, wanted)
    for asked in ("500-0", f"{size}-"):
        assert client.get(place, headers={"Range": f"bytes={asked}"}).status_code == 416
    several = client.get(place, headers={"Range": "bytes=0-9,20-29"})
    assert several.status_code == 206
    assert several.headers["Content-Type"].startswith("multipart/byteranges")
    assert content[20:30] in several.content


@pytest.mark.spec("end-8")
def test_pages_of_tags_are_cut_by_bytes(client: httpx.Client) -> None:
    names = ["B", "a", "A", "b", "_x", "1", "a.b", "a-b"]
    for name in names:
        make.push_image(client, "acme/tags", name, b"{}")
    found: list[str] = []
    place = "/v2/acme/tags/tags/list?n=3"
    while place:
        answer = client.get(place)
        found += answer.json()["tags"]
        place = answer.headers.get("Link", "").partition(">")[0].removeprefix("<")
    assert found == sorted(names)
    assert client.get("/v2/acme/tags/tags/list?n=0").json()["tags"] == []
    assert make.code(client.get("/v2/acme/tags/tags/list?n=-1")) == "PAGINATION_NUMBER_INVALID"


@pytest.mark.spec("end-12")
def test_referrers_are_listed_and_filtered_also_under_the_fallback_tag(client: httpx.Client) -> None:
    subject = make.push_image(client, "acme/ref", "1", b"{}", b"signed")
    link = {"mediaType": make.IMAGE, "digest": make.digest(subject), "size": len(subject)}
    referrer = make.push_image(client, "acme/ref", "sig", b"{}", subject=link, artifactType="a/sig")
    place = f"/v2/acme/ref/referrers/{make.digest(subject)}"
    listed = client.get(place).json()["manifests"]
    assert [(one["digest"], one["artifactType"]) for one in listed] == [(make.digest(referrer), "a/sig")]
    assert client.get(place, params={"artifactType": "a/other"}).json()["manifests"] == []
    tag = make.digest(subject).replace(":", "-")
    assert client.get(f"/v2/acme/ref/manifests/{tag}").json()["manifests"] == listed


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


@pytest.mark.spec("end-11")
def test_a_mount_needs_no_bytes(client: httpx.Client) -> None:
    make.push_blob(client, "acme/from", b"shared")
    one = make.digest(b"shared")
    assert client.post(f"/v2/acme/to/blobs/uploads/?mount={one}&from=acme/from").status_code == 201
    assert client.get(f"/v2/acme/to/blobs/{one}").content == b"shared"
    assert client.post(f"/v2/acme/auto/blobs/uploads/?mount={one}").status_code == 201
    nowhere = make.digest(b"nowhere")
    assert client.post(f"/v2/acme/to/blobs/uploads/?mount={nowhere}&from=acme/from").status_code == 202


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


@pytest.mark.parametrize("name", ["Acme/app", "acme//app", "acme/../app", "a" * 256, "acme/app-", "%E2%80%AE/x"])
def test_a_bad_name_is_refused(client: httpx.Client, name: str) -> None:
    answer = client.get(f"/v2/{name}/tags/list")
    assert answer.status_code in {400, 404}
    assert make.code(answer) in {"NAME_INVALID", "PATH_UNKNOWN", "REQUEST_INVALID", "NAME_UNKNOWN"}


SMUGGLING = {
    "two lengths": b"POST /v2/a/blobs/uploads/ HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nab",
    "length and chunks": (
        b"POST /v2/ HTTP/1.1\r\nHost: x\r\nContent-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"
    ),
    "a signed length": b"POST /v2/ HTTP/1.1\r\nHost: x\r\nContent-Length: +5\r\n\r\nhello",
    "two hosts": b"GET /v2/ HTTP/1.1\r\nHost: x\r\nHost: y\r\n\r\n",
    "no host": b"GET /v2/ HTTP/1.1\r\n\r\n",
    "an unknown coding": b"POST /v2/ HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked, identity\r\n\r\n0\r\n\r\n",
    "a space before the colon": b"GET /v2/ HTTP/1.1\r\nHost : x\r\n\r\n",
    "TLS on the plain port": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + b"\0" * 40,
    "a NUL in the path": b"GET /v2/%00/tags/list HTTP/1.1\r\nHost: x\r\n\r\n",
}


@pytest.mark.parametrize("raw", SMUGGLING.values(), ids=SMUGGLING.keys())
def test_what_is_no_request_is_answered_and_cut(served: Served, raw: bytes) -> None:
    with socket.create_connection(("127.0.0.1", served.port), 10) as one:
        one.sendall(raw)
        answer = b""
        while piece := one.recv(65536):
            answer += piece
    assert answer.startswith(b"HTTP/1.1 400 ")
    assert answer.count(b"HTTP/1.1") == 1
    assert json.loads(answer.partition(b"\r\n\r\n")[2])["errors"][0]["code"] == "REQUEST_INVALID"


def test_a_flood_of_headers_is_refused(served: Served) -> None:
    with socket.create_connection(("127.0.0.1", served.port), 10) as one:
        one.sendall(b"GET /v2/ HTTP/1.1\r\nHost: x\r\n" + b"A: b\r\n" * 20_000)
        assert one.recv(65536).startswith(b"HTTP/1.1 431 ")


def test_pipelined_requests_are_answered_in_order(served: Served) -> None:
    with socket.create_connection(("127.0.0.1", served.port), 10) as one:
        one.sendall(
            b"GET /v2/ HTTP/1.1\r\nHost: x\r\nX-Request-Id: first\r\n\r\n"
            b"POST /v2/a/blobs/uploads/ HTTP/1.1\r\nHost: x\r\nX-Request-Id: second\r\nContent-Length: 0\r\n\r\n"
            b"GET /v2/ HTTP/1.1\r\nHost: x\r\nX-Request-Id: third\r\nConnection: close\r\n\r\n"
        )
        answer = b""
        while piece := one.recv(65536):
            answer += piece
    places = [answer.index(name) for name in (b"Id: first", b"Id: second", b"Id: third")]
    assert places == sorted(places)


def test_an_upload_that_was_cut_tells_how_far_it_came(client: httpx.Client, served: Served) -> None:
    place = client.post("/v2/acme/cut/blobs/uploads/").headers["Location"]
    content = bytes(range(256)) * 4096
    with socket.create_connection(("127.0.0.1", served.port), 10) as one:
        one.sendall(
            f"PATCH {place} HTTP/1.1\r\nHost: x\r\nContent-Length: {len(content)}\r\n\r\n".encode() + content[:600_000]
        )
    for _ in range(200):
        arrived = int(client.get(place).headers["Range"].partition("-")[2]) + 1
        if arrived > 1:
            break
    done = client.put(
        f"{place}?digest={make.digest(content)}",
        content=content[arrived:],
        headers={"Content-Range": f"{arrived}-{len(content) - 1}"},
    )
    assert done.status_code == 201
