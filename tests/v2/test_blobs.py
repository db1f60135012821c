"""end-2: blobs come back, whole and in parts."""

import email
import email.policy

import httpx
import pytest

from tests import make

EMPTY = make.digest(b"")


def multipart(answer: httpx.Response) -> list[tuple[str, bytes]]:
    """Content-Range and bytes of each part, read by somebody else's parser."""
    head = f"Content-Type: {answer.headers['Content-Type']}\r\n\r\n".encode()
    message = email.message_from_bytes(head + answer.content, policy=email.policy.HTTP)
    return [(str(part["Content-Range"]), part.get_content()) for part in message.iter_parts()]


@pytest.fixture(params=[2048, 300_000], ids=["in a row", "in a file"])
def blob(request: pytest.FixtureRequest, client: httpx.Client) -> tuple[str, bytes]:
    content = bytes(index * 7 % 251 for index in range(request.param))
    assert make.push_blob(client, "acme/ranges", content).status_code == 201
    return f"/v2/acme/ranges/blobs/{make.digest(content)}", content


@pytest.mark.spec("end-2")
def test_a_blob_and_its_head_say_the_same(client: httpx.Client, blob: tuple[str, bytes]) -> None:
    place, content = blob
    got, head = client.get(place, headers={"Accept": "image/png", "Accept-Encoding": "gzip"}), client.head(place)
    assert (got.status_code, got.content, head.content) == (200, content, b"")
    for answer in (got, head):
        assert answer.headers["Content-Length"] == str(len(content))
        assert answer.headers["Content-Type"] == "application/octet-stream"
        assert answer.headers["Docker-Content-Digest"] == make.digest(content)
        assert answer.headers["ETag"] == f'"{make.digest(content)}"'
        assert answer.headers["Accept-Ranges"] == "bytes"
        assert not {"Content-Encoding", "Transfer-Encoding", "Vary"} & {name.title() for name in answer.headers}


@pytest.mark.spec("end-2")
def test_one_range_is_exact(client: httpx.Client, blob: tuple[str, bytes]) -> None:
    place, content = blob
    size = len(content)
    for asked, start, stop in (
        ("500-1499", 500, 1500),
        ("500-", 500, size),
        ("-500", size - 500, size),
        (f"{size - 48}-{size + 3000}", size - 48, size),
        ("0-0", 0, 1),
        (f"-{size * 2}", 0, size),
        (f"{size - 1}-{10**18}", size - 1, size),
        ("5-9 , ,6-7", 5, 10),
        ("10-19,5-12", 5, 20),
        (f"3-4,{size}-{size + 9}", 3, 5),
    ):
        answer = client.get(place, headers={"Range": f"bytes={asked}"})
        assert (answer.status_code, answer.content) == (206, content[start:stop]), asked
        assert answer.headers["Content-Range"] == f"bytes {start}-{stop - 1}/{size}"
        assert answer.headers["Content-Length"] == str(stop - start)
        assert answer.headers["Docker-Content-Digest"] == make.digest(content)


@pytest.mark.spec("end-2")
def test_a_range_of_nothing_is_416_with_the_true_size(client: httpx.Client, blob: tuple[str, bytes]) -> None:
    place, content = blob
    size = len(content)
    for asked in ("500-0", f"{size}-", f"{size}-{size + 9}", "-0", "-", "x-y", "5", "1-2-3", f"0-{'9' * 30}"):
        answer = client.get(place, headers={"Range": f"bytes={asked}"})
        assert make.refused(answer, 416, "RANGE_INVALID")["size"] == size
        assert answer.headers["Content-Range"] == f"bytes */{size}"


@pytest.mark.spec("end-2")
def test_what_is_no_range_of_bytes_is_ignored(client: httpx.Client, blob: tuple[str, bytes]) -> None:
    place, content = blob
    many = ",".join(f"{at * 2}-{at * 2}" for at in range(65))
    for header in ("lines=1-2", "bytes", "", f"bytes={many}", f"bytes=0-1,{' ' * 5000}5-6"):
        answer = client.get(place, headers={"Range": header})
        assert (answer.status_code, answer.content) == (200, content), header[:40]
    assert client.head(place, headers={"Range": "bytes=0-9"}).headers["Content-Length"] == str(len(content))


@pytest.mark.spec("end-2")
def test_several_ranges_come_as_parts(client: httpx.Client, blob: tuple[str, bytes]) -> None:
    place, content = blob
    size = len(content)
    answer = client.get(place, headers={"Range": "Bytes=0-9, 20-29,25-39,-5"})
    assert answer.status_code == 206
    assert answer.headers["Content-Type"].startswith("multipart/byteranges; boundary=")
    assert answer.headers["Content-Length"] == str(len(answer.content))
    assert multipart(answer) == [
        (f"bytes 0-9/{size}", content[:10]),
        (f"bytes 20-39/{size}", content[20:40]),
        (f"bytes {size - 5}-{size - 1}/{size}", content[-5:]),
    ]
    most = client.get(place, headers={"Range": "bytes=" + ",".join(f"{at * 2}-{at * 2}" for at in range(64))})
    assert b"".join(part for _, part in multipart(most)) == content[:128:2]


@pytest.mark.spec("end-2")
def test_if_range_decides_whether_the_range_counts(client: httpx.Client, blob: tuple[str, bytes]) -> None:
    place, content = blob
    tag = f'"{make.digest(content)}"'
    for condition, wanted in ((tag, 206), (f"W/{tag}", 200), ('"other"', 200), ("Tue, 01 Jan 2030 00:00:00 GMT", 200)):
        answer = client.get(place, headers={"Range": "bytes=0-9", "If-Range": condition})
        assert answer.status_code == wanted
        assert answer.content == (content[:10] if wanted == 206 else content)


@pytest.mark.spec("end-2")
def test_a_blob_that_the_client_has_is_not_sent_again(client: httpx.Client, blob: tuple[str, bytes]) -> None:
    place, content = blob
    digest = make.digest(content)
    for known in (f'"{digest}"', digest, f'W/"{digest}"', f'"x", "{digest}"', "*"):
        for method in ("GET", "HEAD"):
            answer = client.request(method, place, headers={"If-None-Match": known, "Range": "bytes=0-1"})
            assert (answer.status_code, answer.content) == (304, b"")
            assert answer.headers["ETag"] == f'"{digest}"'
            assert answer.headers["Docker-Content-Digest"] == digest
    assert client.get(place, headers={"If-None-Match": '"other"'}).content == content


@pytest.mark.spec("end-2")
def test_the_empty_blob_is_a_blob(client: httpx.Client) -> None:
    place = f"/v2/acme/empty/blobs/{EMPTY}"
    make.refused(client.get(place), 404, "NAME_UNKNOWN")
    assert client.post(f"/v2/acme/empty/blobs/uploads/?digest={EMPTY}").status_code == 201
    got = client.get(place)
    assert (got.status_code, got.content, got.headers["Content-Length"]) == (200, b"", "0")
    assert client.head(place).headers["Content-Length"] == "0"
    assert client.get(place, headers={"Range": "bytes=0-"}).headers["Content-Range"] == "bytes */0"


@pytest.mark.spec("end-2")
def test_a_blob_is_known_only_where_it_was_pushed(client: httpx.Client) -> None:
    make.push_blob(client, "acme/one", b"only here")
    digest = make.digest(b"only here")
    make.push_blob(client, "acme/two", b"something else")
    assert make.refused(client.get(f"/v2/acme/two/blobs/{digest}"), 404, "BLOB_UNKNOWN") == {"digest": digest}
    assert make.refused(client.get(f"/v2/acme/never/blobs/{digest}"), 404, "NAME_UNKNOWN") == {"name": "acme/never"}
    for name in ("acme/two", "acme/never"):
        assert client.head(f"/v2/{name}/blobs/{digest}").status_code == 404
    body = make.push_image(client, "acme/one", "1", b"{}", b"only here")
    make.refused(client.get(f"/v2/acme/one/blobs/{make.digest(body)}"), 404, "BLOB_UNKNOWN")


@pytest.mark.spec("end-2")
def test_a_blob_has_only_the_digest_it_was_pushed_with(client: httpx.Client) -> None:
    content = b"twice" * 10_000
    for algorithm in ("sha512", "sha256"):
        digest = make.digest(content, algorithm)
        assert client.get(f"/v2/acme/twice/blobs/{digest}").status_code == 404
        assert client.post(f"/v2/acme/twice/blobs/uploads/?digest={digest}", content=content).status_code == 201
        answer = client.get(f"/v2/acme/twice/blobs/{digest}")
        assert (answer.content, answer.headers["Docker-Content-Digest"]) == (content, digest)


BAD_DIGESTS = {
    "too short": "sha256:abc",
    "capital letters": "sha256:" + "A" * 64,
    "no digits": "sha256:" + "g" * 64,
    "no algorithm": "a" * 64,
    "an unknown algorithm": "md5:" + "a" * 32,
    "a registered algorithm that is not ours": "sha384:" + "a" * 96,
    "the other's length": "sha512:" + "a" * 64,
    "a way out": "sha256:..\\..\\..\\etc",
    "two colons": "sha256:sha256:" + "a" * 64,
    "nothing": "sha256:",
    "other digits": "sha256:" + "\u0661" * 64,
}


@pytest.mark.parametrize("digest", BAD_DIGESTS.values(), ids=BAD_DIGESTS.keys())
def test_a_bad_digest_is_refused_wherever_it_stands(client: httpx.Client, digest: str) -> None:
    name = "acme/digests"
    place = client.post(f"/v2/{name}/blobs/uploads/").headers["Location"]
    answers = [
        client.get(f"/v2/{name}/blobs/{digest}"),
        client.delete(f"/v2/{name}/blobs/{digest}"),
        client.get(f"/v2/{name}/referrers/{digest}"),
        client.post(f"/v2/{name}/blobs/uploads/", params={"digest": digest}, content=b"x"),
        client.post(f"/v2/{name}/blobs/uploads/", params={"mount": digest, "from": "acme/one"}),
        client.put(place, params={"digest": digest}, content=b"x"),
    ]
    if ":" in digest:
        answers += [
            client.get(f"/v2/{name}/manifests/{digest}"),
            client.put(f"/v2/{name}/manifests/{digest}", content=b"{}"),
            client.delete(f"/v2/{name}/manifests/{digest}"),
        ]
    for answer in answers:
        assert make.refused(answer, 400, "DIGEST_INVALID")["digest"] == digest
    assert client.get(place).status_code == 204
    assert client.head(f"/v2/{name}/blobs/{digest}").status_code == 400
