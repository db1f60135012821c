"""Fields that came before are read as they were then, and nothing else is."""

import asyncio
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as some
from uvicorn.server import ServerState

from moorage.edge.server import heads
from moorage.edge.server.heads import HeadReader
from moorage.errors import RegistryError

PLAIN = b"Host: registry.example.com\r\nUser-Agent: docker/28.0\r\nAuthorization: Bearer abc\r\nAccept: */*\r\n\r\n"
HEADS = [
    b"GET /v2/ HTTP/1.1\r\n" + PLAIN,
    b"PUT /v2/acme/app/blobs/uploads/1?digest=sha256%3Aabc HTTP/1.1\r\n" + PLAIN,
    b"GET /v2/ HTTP/1.1\r\n\r\n",
    b"PATCH /a HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nabcGET /b HTTP/1.1\r\nHost: a\r\n\r\n",
    b"POST /a HTTP/1.1\r\nHost: a\r\ntransfer-encoding: chunked\r\n\r\n",
    b"GET /a HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n",
    b"GET /a HTTP/1.1\r\nHost: a\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n",
    b"GET /a HTTP/1.1\r\nHost: a\r\nHost: b\r\nX-Request-Id: 1\r\nAccept: a\r\nAccept: b\r\n\r\n",
    # What is refused, and what only the parser may judge.
    b"GET /a HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\nContent-Length: 4\r\n\r\n",
    b"GET /a HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n",
    b"GET /a HTTP/1.1\r\nHost : a\r\n\r\n",
    b"GET /a HTTP/1.1\r\n Host: a\r\n\r\n",
    b"GET /a HTTP/1.1\r\nHost: a\r\n folded\r\n\r\n",
    b"GET /a HTTP/1.1\r\nHost: a\nX: b\r\n\r\n",
    b"GET /a HTTP/1.1\r\nHost: a\r\nX: \0\r\n\r\n",
    b"GET  /a HTTP/1.1\r\n" + PLAIN,
    b"GET /a\x80 HTTP/1.1\r\n" + PLAIN,
    b"GET /a#b HTTP/1.1\r\n" + PLAIN,
    b"GET /a HTTP/1.0\r\n" + PLAIN,
    b"GET /a HTTP/1.10\r\n" + PLAIN,
    b"GET http://a/b HTTP/1.1\r\n" + PLAIN,
    b"get /a HTTP/1.1\r\n" + PLAIN,
    b"CONNECT a:1 HTTP/1.1\r\n" + PLAIN,
    b"\r\nGET /a HTTP/1.1\r\n" + PLAIN,
    b"GET /a HTTP/1.1\r\n" + PLAIN[:-2] + b"X: " + b"x" * 5000 + b"\r\n\r\n",
]


@pytest.fixture
def loop() -> Iterator[asyncio.AbstractEventLoop]:
    made = asyncio.new_event_loop()
    yield made
    made.close()


def read(loop: asyncio.AbstractEventLoop, *pieces: bytes) -> Any:
    """What a connection reads of its first head, and what it leaves; or why it refuses it."""
    reader = HeadReader(ServerState(), loop, 4096)
    rest: bytes | None = b""
    try:
        for piece in pieces:
            rest = reader.read_head(piece)
    except RegistryError as error:
        return error.code, error.message
    if rest is None:
        return None
    return reader.method, reader.url, reader.version, reader.fields, reader.noted, reader.wants_keep_alive, rest


@pytest.mark.parametrize("head", HEADS)
def test_fields_that_came_before_change_nothing(loop: asyncio.AbstractEventLoop, head: bytes) -> None:
    heads._known.clear()
    first = read(loop, head)
    heads._known.clear()
    # As another request brings them, if they can be brought at all.
    _, _, fields = head.partition(b"\r\n")
    read(loop, b"DELETE /other HTTP/1.1\r\n" + fields)
    read(loop, head)
    assert read(loop, head) == first
    assert read(loop, head[:7], head[7:]) == first


def test_what_goes_on_with_a_head_is_no_first_line(loop: asyncio.AbstractEventLoop) -> None:
    heads._known.clear()
    inside = b"GET /inside HTTP/1.1\r\n" + PLAIN
    read(loop, inside)
    method, url, _, fields, *_ = read(loop, b"GET /outside HTTP/1.1\r\nX: ", inside)
    assert (method, url, fields[0]) == ("GET", b"/outside", ("x", "GET /inside HTTP/1.1"))


FIELDS = some.lists(
    some.tuples(
        some.sampled_from([b"Host", b"Content-Length", b"Transfer-Encoding", b"Connection", b"Upgrade", b"X y", b"Z"]),
        some.sampled_from([b": ", b":", b" : ", b"\t:", b""]),
        some.sampled_from(
            [b"a", b"0", b"5", b"+5", b"chunked", b"close", b"keep-alive, upgrade", b"h2c", b"", b"\x0b"]
        ),
        some.sampled_from([b"\r\n", b"\r\n", b"\r\n", b"\n", b"\r\n ", b"\r"]),
    ),
    max_size=4,
)
LINES = some.tuples(
    some.sampled_from([b"GET", b"HEAD", b"POST", b"PUT", b"PATCH", b"DELETE", b"OPTIONS", b"CONNECT", b"Get"]),
    some.sampled_from([b" ", b" ", b" ", b"  ", b"\t"]),
    some.sampled_from([b"/", b"/v2/a/blobs/sha256:0?x=%20", b"/\x7f", b"/a b", b"*", b"//a", b"/a#", b"http://b/"]),
    some.sampled_from([b" HTTP/1.1", b" HTTP/1.1", b" HTTP/1.0", b" HTTP/2.0", b" HTTP/1.1 ", b"", b" ICE/1.0"]),
).map(b"".join)


@settings(max_examples=500, deadline=None)
@given(first=LINES, second=LINES, fields=FIELDS)
def test_no_first_line_changes_what_fields_are(first: bytes, second: bytes, fields: list[tuple[bytes, ...]]) -> None:
    loop = asyncio.new_event_loop()
    written = b"\r\n" + b"".join(map(b"".join, fields)) + b"\r\nrest"
    heads._known.clear()
    wanted = read(loop, second + written)
    heads._known.clear()
    read(loop, first + written)
    assert read(loop, second + written) == wanted
    loop.close()


def test_what_a_request_does_with_its_fields_is_its_own(loop: asyncio.AbstractEventLoop) -> None:
    heads._known.clear()
    reader = HeadReader(ServerState(), loop, 4096)
    for _ in range(3):
        assert reader.read_head(HEADS[0]) == b""
        assert len(reader.fields) == 4
        reader.fields.append(("x", "y"))
    assert len(heads._known) == 1


def test_fields_that_never_come_again_take_bounded_memory(loop: asyncio.AbstractEventLoop) -> None:
    heads._known.clear()
    reader = HeadReader(ServerState(), loop, 16384)
    for number in range(2000):
        reader.read_head(b"GET / HTTP/1.1\r\nHost: a\r\nTraceparent: %d\r\n\r\n" % number)
    assert len(heads._known) <= 256
    heads._known.clear()
    reader.read_head(b"GET / HTTP/1.1\r\nHost: a\r\nX: " + b"x" * 3000 + b"\r\n\r\n")
    reader.read_head(b"GET / HTTP/1.1\r\nHost: a\r\n" + b"X:\r\n" * 40 + b"\r\n")
    assert not heads._known


@pytest.mark.parametrize(
    ("field", "remembered"),
    [
        (b"Authorization: Bearer abc", True),
        (b"Content-Length: 0", True),
        (b"Authorization: Basic bm90OmEtc2VjcmV0", False),
        (b"Authorization: Bearer a\r\nauthorization:basic bm90OmEtc2VjcmV0", False),
        (b"Content-Length: 1024", False),
        (b"X-Request-Id: 1", False),
        (b"Connection: close", False),
    ],
)
def test_no_password_and_nothing_that_comes_once_is_remembered(
    loop: asyncio.AbstractEventLoop, field: bytes, remembered: bool
) -> None:
    heads._known.clear()
    read(loop, b"PUT / HTTP/1.1\r\nHost: a\r\n" + field + b"\r\n\r\n")
    assert bool(heads._known) is remembered
