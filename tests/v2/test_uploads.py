"""end-4, end-5, end-6, end-13, end-14: uploads."""

import os
import re
import socket
import time
from collections.abc import Iterator

import httpx
import pytest

from tests import make
from tests.conftest import Served

SIZES = [600, 300_000]
"""In a row; in a file."""


def begin(client: httpx.Client, name: str) -> str:
    """The place of a fresh upload."""
    return str(client.post(f"/v2/{name}/blobs/uploads/").headers["Location"])


def stands_at(client: httpx.Client, place: str) -> int:
    """How many bytes the upload has: one and none look the same."""
    answer = client.get(place)
    assert (answer.status_code, answer.headers["Location"]) == (204, place.partition("?")[0])
    first, last = answer.headers["Range"].split("-")
    assert first == "0"
    return int(last) + 1


@pytest.mark.spec("end-4a")
@pytest.mark.parametrize("path", ["uploads/", "uploads"])
def test_an_upload_begins_with_its_place(client: httpx.Client, path: str) -> None:
    answer = client.post(f"/v2/acme/begin/blobs/{path}", headers={"Content-Type": "application/json"})
    assert (answer.status_code, answer.headers["Range"], answer.headers["Content-Length"]) == (202, "0-0", "0")
    place, identity = answer.headers["Location"], answer.headers["Docker-Upload-UUID"]
    assert re.fullmatch(rf"/v2/acme/begin/blobs/uploads/{identity}", place)
    status = client.get(place)
    assert (status.status_code, status.headers["Range"]) == (204, "0-0")
    assert status.headers["Docker-Upload-UUID"] == identity
    assert client.head(place).status_code == 204
    # An upload alone makes no repository.
    make.refused(client.get("/v2/acme/begin/tags/list"), 404, "NAME_UNKNOWN")


@pytest.mark.spec("end-4c")
def test_an_upload_may_announce_its_algorithm_and_finish_with_another(client: httpx.Client) -> None:
    for announced in ("sha256", "sha512", ""):
        for algorithm in ("sha512", "sha256"):
            for size in (100, 100_000):
                content = os.urandom(size)
                query = f"?digest-algorithm={announced}" if announced else ""
                place = client.post(f"/v2/acme/algorithm/blobs/uploads/{query}").headers["Location"]
                client.patch(place, content=content[:60])
                digest = make.digest(content, algorithm)
                done = client.put(f"{place}?digest={digest}", content=content[60:])
                assert (done.status_code, done.headers["Docker-Content-Digest"]) == (201, digest)
                assert client.get(done.headers["Location"]).content == content
    refused = client.post("/v2/acme/algorithm/blobs/uploads/?digest-algorithm=md5")
    assert make.refused(refused, 400, "DIGEST_INVALID") == {"algorithm": "md5"}


def in_pieces(content: bytes) -> Iterator[bytes]:
    """A body without a length: chunked."""
    for at in range(0, len(content), 70_001):
        yield content[at : at + 70_001]


@pytest.mark.spec("end-4b")
@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("algorithm", ["sha256", "sha512"])
@pytest.mark.parametrize("way", ["post", "post chunked", "put", "put chunked", "patch", "patch stream", "chunks"])
def test_every_way_to_push_a_blob(client: httpx.Client, way: str, algorithm: str, size: int) -> None:
    name, content = "acme/ways", os.urandom(size)
    digest = make.digest(content, algorithm)
    if way.startswith("post"):
        body = content if way == "post" else in_pieces(content)
        done = client.post(f"/v2/{name}/blobs/uploads/?digest={digest}", content=body)
    else:
        place = begin(client, name)
        last = b""
        if way == "put":
            last = content
        elif way == "patch":
            assert client.patch(place, content=content).headers["Range"] == f"0-{size - 1}"
        elif way == "patch stream":
            assert client.patch(place, content=in_pieces(content)).headers["Range"] == f"0-{size - 1}"
        elif way == "chunks":
            for start in range(0, size, size // 3):
                stop = min(start + size // 3, size)
                range_ = f"{'bytes ' if start else ''}{start}-{stop - 1}"
                answer = client.patch(place, content=content[start:stop], headers={"Content-Range": range_})
                assert (answer.status_code, answer.headers["Range"]) == (202, f"0-{stop - 1}")
                assert (answer.headers["Location"], answer.headers["Content-Length"]) == (place, "0")
        body = in_pieces(content) if way == "put chunked" else last
        done = client.put(f"{place}?digest={digest}", content=body)
    assert (done.status_code, done.headers["Location"]) == (201, f"/v2/{name}/blobs/{digest}")
    assert (done.headers["Docker-Content-Digest"], done.headers["Content-Length"]) == (digest, "0")
    assert client.get(done.headers["Location"]).content == content


@pytest.mark.spec("end-5")
@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("method", ["PATCH", "PUT"])
def test_a_chunk_out_of_order_is_416_with_the_true_offset(client: httpx.Client, method: str, size: int) -> None:
    content = os.urandom(size)
    place = begin(client, "acme/order")
    target = place if method == "PATCH" else f"{place}?digest={make.digest(content)}"
    half = size // 2

    def wrong(start: int, stands: int) -> None:
        chunk = content[start : start + 50]
        headers = {"Content-Range": f"{start}-{start + 49}"}
        answer = client.request(method, target, content=chunk, headers=headers)
        assert make.refused(answer, 416, "RANGE_INVALID")["offset"] == stands
        assert (answer.headers["Location"], answer.headers["Range"]) == (place, f"0-{max(stands - 1, 0)}")
        assert stands_at(client, target) == max(stands, 1)

    wrong(7, 0)
    assert client.patch(place, content=content[:half], headers={"Content-Range": f"0-{half - 1}"}).status_code == 202
    for start in (0, half - 1, half + 1):
        wrong(start, half)
    rest = {"Content-Range": f"{half}-{size - 1}"}
    done = client.put(f"{place}?digest={make.digest(content)}", content=content[half:], headers=rest)
    assert done.status_code == 201
    assert client.get(done.headers["Location"]).content == content


@pytest.mark.spec("end-5")
def test_a_chunk_whose_length_is_not_what_it_says_changes_nothing(client: httpx.Client) -> None:
    place = begin(client, "acme/lengths")
    for range_, status, code in (
        ("0-9", 400, "SIZE_INVALID"),
        ("5-0", 400, "SIZE_INVALID"),
        ("abc", 416, "RANGE_INVALID"),
        ("0-", 416, "RANGE_INVALID"),
        ("-5", 416, "RANGE_INVALID"),
        ("0-4,9-9", 416, "RANGE_INVALID"),
        ("lines 0-4", 416, "RANGE_INVALID"),
        ("0-" + "9" * 40, 416, "RANGE_INVALID"),
    ):
        answer = client.patch(place, content=b"12345", headers={"Content-Range": range_})
        make.refused(answer, status, code)
        assert client.get(place).headers["Range"] == "0-0"
    make.refused(client.patch(place, content=in_pieces(b"x"), headers={"Content-Range": "9-0"}), 416, "RANGE_INVALID")
    assert client.put(f"{place}?digest={make.digest(b'12345')}", content=b"12345").status_code == 201


@pytest.mark.spec("end-6")
@pytest.mark.parametrize("size", SIZES)
def test_finishing_again_is_answered_again_while_the_blob_is_there(client: httpx.Client, size: int) -> None:
    content = os.urandom(size)
    place = begin(client, "acme/again")
    target = f"{place}?digest={make.digest(content)}"
    for body in (content, b"", content):
        done = client.put(target, content=body)
        assert (done.status_code, done.headers["Docker-Content-Digest"]) == (201, make.digest(content))
    other = client.put(f"{place}?digest={make.digest(b'other')}", content=b"other")
    make.refused(other, 404, "BLOB_UPLOAD_UNKNOWN")
    for method in ("GET", "PATCH", "DELETE"):
        answer = client.request(method, place)
        assert make.refused(answer, 404, "BLOB_UPLOAD_UNKNOWN") == {"upload": place.rpartition("/")[2]}
    assert client.delete(done.headers["Location"]).status_code == 202
    make.refused(client.put(target, content=content), 404, "BLOB_UPLOAD_UNKNOWN")


@pytest.mark.spec("end-14")
def test_a_cancelled_upload_is_gone(client: httpx.Client) -> None:
    place = begin(client, "acme/cancel")
    client.patch(place, content=b"x" * 50_000)
    assert client.delete(place).status_code == 204
    for method in ("GET", "PATCH", "PUT", "DELETE"):
        answer = client.request(method, f"{place}?digest={make.digest(b'x')}")
        make.refused(answer, 404, "BLOB_UPLOAD_UNKNOWN")


@pytest.mark.spec("end-5")
def test_an_upload_belongs_to_its_repository(client: httpx.Client) -> None:
    place = begin(client, "acme/mine")
    elsewhere = place.replace("acme/mine", "acme/yours")
    for method in ("GET", "PATCH", "PUT", "DELETE"):
        answer = client.request(method, f"{elsewhere}?digest={make.digest(b'x')}")
        make.refused(answer, 404, "BLOB_UPLOAD_UNKNOWN")
    make.refused(client.get("/v2/acme/mine/blobs/uploads/no-such-upload"), 404, "BLOB_UPLOAD_UNKNOWN")
    assert client.get(place).status_code == 204


@pytest.mark.spec("end-6")
def test_an_upload_is_invisible_until_finished(client: httpx.Client) -> None:
    content = os.urandom(40_000)
    digest = make.digest(content)
    place = begin(client, "acme/invisible")
    client.patch(place, content=content)
    make.refused(client.get(f"/v2/acme/invisible/blobs/{digest}"), 404, "NAME_UNKNOWN")
    missing = client.put(place)
    make.refused(missing, 400, "DIGEST_INVALID")
    twice = client.put(f"{place}?digest={digest}&digest={make.digest(b'other')}")
    assert make.refused(twice, 400, "QUERY_INVALID") == {"parameter": "digest"}
    assert client.put(f"{place}?digest={digest}&digest={digest}&ns=docker.io").status_code == 201


@pytest.mark.spec("end-4b")
@pytest.mark.parametrize("body", [b"", b"small", b"large" * 50_000], ids=["nothing", "small", "large"])
def test_a_push_in_one_request_with_the_wrong_digest_leaves_nothing(client: httpx.Client, body: bytes) -> None:
    claimed = make.digest(b"what it is said to be")
    answer = client.post(f"/v2/acme/claimed/blobs/uploads/?digest={claimed}", content=body)
    assert make.refused(answer, 400, "DIGEST_INVALID")["digest"] == claimed
    for digest in (claimed, make.digest(body)):
        assert client.head(f"/v2/acme/claimed/blobs/{digest}").status_code == 404


@pytest.mark.spec("end-6")
@pytest.mark.parametrize("way", ["put", "patch", "chunk on put", "stream"])
@pytest.mark.parametrize("size", SIZES)
def test_a_wrong_digest_never_becomes_a_blob(client: httpx.Client, way: str, size: int) -> None:
    content = os.urandom(size)
    place = begin(client, "acme/wrong")
    first = {"put": 0, "patch": size, "chunk on put": size // 2, "stream": size}[way]
    if first:
        body = in_pieces(content) if way == "stream" else content[:first]
        assert client.patch(place, content=body).status_code == 202
    headers = {"Content-Range": f"{first}-{size - 1}"} if way == "chunk on put" else {}
    claimed = make.digest(b"something else")
    answer = client.put(f"{place}?digest={claimed}", content=content[first:], headers=headers)
    assert make.refused(answer, 400, "DIGEST_INVALID")["digest"] == claimed
    for digest in (claimed, make.digest(content)):
        assert client.head(f"/v2/acme/wrong/blobs/{digest}").status_code == 404
    make.refused(client.get(place), 404, "BLOB_UPLOAD_UNKNOWN")


def test_an_upload_that_was_cut_tells_how_far_it_came(client: httpx.Client, served: Served) -> None:
    place = client.post("/v2/acme/cut/blobs/uploads/").headers["Location"]
    content = bytes(range(256)) * 4096
    with socket.create_connection(("127.0.0.1", served.port), 10) as one:
        one.sendall(
            f"PATCH {place} HTTP/1.1\r\nHost: x\r\nContent-Length: {len(content)}\r\n\r\n".encode() + content[:600_000]
        )
    arrived, stop = 1, time.monotonic() + 30
    while arrived == 1 and time.monotonic() < stop:
        time.sleep(0.02)
        arrived = int(client.get(place).headers["Range"].partition("-")[2]) + 1
    done = client.put(
        f"{place}?digest={make.digest(content)}",
        content=content[arrived:],
        headers={"Content-Range": f"{arrived}-{len(content) - 1}"},
    )
    assert done.status_code == 201


@pytest.mark.spec("end-5")
@pytest.mark.parametrize("size", SIZES)
def test_of_two_clients_at_one_upload_one_is_refused_and_the_other_goes_on(
    client: httpx.Client, served: Served, size: int
) -> None:
    first, second = os.urandom(3_000_000), b"y" * size
    place = begin(client, "acme/two")
    identity = place.rpartition("/")[2]
    written = served.data / "blobs" / "u" / identity[:2] / identity
    with socket.create_connection(("127.0.0.1", served.port), 20) as slow:
        slow.sendall(f"PATCH {place} HTTP/1.1\r\nHost: x\r\nContent-Length: {len(first)}\r\n\r\n".encode())
        slow.sendall(first[:2_000_000])
        stop = time.monotonic() + 30
        while not (written.exists() and written.stat().st_size) and time.monotonic() < stop:
            time.sleep(0.05)
        other = client.patch(place, content=second)
        slow.sendall(first[2_000_000:])
        answered = int(slow.recv(65536).split()[1])
    assert sorted([answered, other.status_code]) == [202, 416]
    content = first if answered == 202 else second
    assert stands_at(client, place) == len(content)
    done = client.put(f"{place}?digest={make.digest(content)}")
    assert done.status_code == 201
    assert client.get(done.headers["Location"]).content == content


@pytest.mark.spec("end-5")
@pytest.mark.parametrize("stale", ["before the other's chunk", "before the other's last chunk"])
def test_a_client_that_comes_late_to_an_upload_changes_nothing_of_what_was_acknowledged(
    client: httpx.Client, served: Served, stale: str
) -> None:
    """Two clients on one session: the late one has read where the upload stood before the other went on."""
    name = "acme/late"
    content, other = os.urandom(200_000), b"evil" * 50_000
    place = client.post(f"/v2/{name}/blobs/uploads/").headers["Location"]
    with socket.create_connection(("127.0.0.1", served.port), 20) as late:
        late.sendall(f"PATCH {place} HTTP/1.1\r\nHost: x\r\nContent-Length: {len(other)}\r\n\r\n".encode())
        time.sleep(0.3)  # until it waits for its body
        first = 100_000 if stale == "before the other's chunk" else 0
        if first:
            assert client.patch(place, content=content[:first]).status_code == 202
            late.sendall(other)
            assert late.recv(65536).startswith(b"HTTP/1.1 416 ")
        done = client.put(f"{place}?digest={make.digest(content)}", content=content[first:])
        assert done.status_code == 201
        if not first:
            late.sendall(other)
            assert late.recv(65536).startswith(b"HTTP/1.1 4")
    assert client.get(done.headers["Location"]).content == content
