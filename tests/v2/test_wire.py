"""HTTP itself: what comes in one go.  What is no request is in tests/security."""

import socket

from tests.conftest import Served


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
