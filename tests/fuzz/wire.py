"""One connection with whatever bytes, and what may come back on it."""

import json
import re
import socket
from dataclasses import dataclass

from moorage.edge.http import STATUS
from moorage.errors import Code

PATIENCE = 30
"""Seconds after which an exchange counts as hung; everything that was sent is complete or cut by then."""

_START = re.compile(rb"HTTP/1\.1 ([1-5][0-9][0-9]) [ -~]*")
_FIELD = re.compile(rb"([!#$%&'*+.^_`|~0-9A-Za-z-]+): ([\t\x20-\x7e\x80-\xff]*)")


@dataclass
class Answer:
    status: int
    headers: dict[str, str]
    body: bytes
    """As framed; empty where a head alone came (HEAD)."""


def talk(port: int, *pieces: bytes) -> bytes:
    """Send, say that there is no more, and read to the end.  A connection that was cut gives what came until then."""
    received = b""
    with socket.create_connection(("127.0.0.1", port), PATIENCE) as one:
        try:
            for piece in pieces:
                one.sendall(piece)
            one.shutdown(socket.SHUT_WR)
        except TimeoutError:
            raise AssertionError("the server takes nothing") from None
        except OSError:
            pass  # it has answered and closed already
        try:
            while piece := one.recv(1 << 16):
                received += piece
        except ConnectionResetError:
            pass
    return received


def answers(received: bytes, *, head: bool = False) -> list[Answer]:
    """The answers on a connection, each checked; `head` where the first is one to HEAD."""
    found = []
    while received:
        start, end, rest = received.partition(b"\r\n\r\n")
        assert end, f"a head without an end: {received[:200]!r}"
        answer, received = _answer(start, rest, head=head)
        if answer.status != 100:
            _check(answer, head=head)
            found.append(answer)
            head = False
    return found


def _answer(start: bytes, rest: bytes, *, head: bool) -> tuple[Answer, bytes]:
    line, *lines = start.split(b"\r\n")
    status = _START.fullmatch(line)
    assert status, f"not a status line: {line!r}"
    headers: dict[str, str] = {}
    for text in lines:
        field = _FIELD.fullmatch(text)
        assert field, f"not a header: {text!r}"
        name = field[1].decode().lower()
        assert name not in headers, f"{name} is there twice"
        headers[name] = field[2].decode("latin-1")
    answer = Answer(int(status[1]), headers, b"")
    if head or answer.status in (100, 204, 304):
        return answer, rest
    assert "transfer-encoding" not in headers, "nothing of ours is streamed without a length"
    length = int(headers["content-length"])
    if rest.startswith(b"HTTP/1.1 ") or (not rest and length):
        return answer, rest  # an answer to a HEAD among random bytes
    assert len(rest) >= length, "the body is cut"
    answer.body = rest[:length]
    return answer, rest[length:]


def _check(answer: Answer, *, head: bool) -> None:
    assert answer.status < 500, answer
    assert answer.headers["docker-distribution-api-version"] == "registry/2.0"
    assert answer.headers["x-request-id"]
    assert answer.headers["date"]
    if answer.status >= 400 and not head and answer.body:
        assert answer.headers["content-type"] == "application/json"
        document = json.loads(answer.body)
        assert list(document) == ["errors"]
        for error in document["errors"]:
            assert STATUS[Code[error["code"]]] == answer.status
            assert error["message"]
            assert error["message"].isprintable(), error
            assert error.keys() <= {"code", "message", "detail"}
