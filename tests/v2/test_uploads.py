"""end-4, end-5, end-6, end-13, end-14: uploads."""

import os
import socket
import time

import httpx
import pytest

from tests import make
from tests.conftest import Served


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
