"""HTTP itself: what is no request, and what comes in one go."""

import json
import socket

import pytest

from tests.conftest import Served

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
