"""The bytes of an answer's head."""

import re
import time
from collections.abc import Sequence
from email.utils import formatdate
from functools import lru_cache
from http import HTTPStatus
from typing import Final

from moorage.edge.http import FileRange, Header, Response

CONTINUE: Final = b"HTTP/1.1 100 Continue\r\n\r\n"

EVERY: Final[tuple[Header, ...]] = (
    ("Docker-Distribution-API-Version", "registry/2.0"),
    ("X-Content-Type-Options", "nosniff"),
)
"""The headers of every answer, whatever server it leaves by."""

_EVERY_LINE: Final = "".join(f"{name}: {value}\r\n" for name, value in EVERY)
_TOKEN: Final = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_OURS: Final = frozenset({"connection", "content-length", "date", "keep-alive", "transfer-encoding", "x-request-id"})


class Starts:
    """Status line and the headers that every answer has, remembered for the second they are true in."""

    def __init__(self) -> None:
        self._second = 0
        self._lines: dict[int, str] = {}

    def head(self, status: int, headers: Sequence[Header], request_id: str, framing: str) -> bytes:
        """A whole head.  Raises ValueError where a header would break out of its line or is ours to set."""
        second = int(time.time())
        if second != self._second:
            self._second = second
            self._lines.clear()
        start = self._lines.get(status) or self._start(status)
        return f"{start}X-Request-Id: {request_id}\r\n{framing}{_fields(tuple(headers))}\r\n".encode("latin-1")

    def _start(self, status: int) -> str:
        if not 200 <= status <= 599:
            raise ValueError(f"{status} is not the status of an answer")
        phrase = HTTPStatus(status).phrase if status in HTTPStatus._value2member_map_ else ""
        line = f"HTTP/1.1 {status} {phrase}\r\nDate: {formatdate(self._second, usegmt=True)}\r\n{_EVERY_LINE}"
        self._lines[status] = line
        return line


@lru_cache(maxsize=512)
def _fields(headers: tuple[Header, ...]) -> str:
    """The lines of what handlers say; often it has been said before."""
    for name, _ in headers:
        _check(name)
    fields = "".join([f"{name}: {value}\r\n" for name, value in headers])
    count = len(headers)
    if fields.count("\n") != count or fields.count("\r") != count or "\0" in fields:
        raise ValueError("a header of the answer holds a line break or NUL")
    return fields


@lru_cache(maxsize=512)
def _check(name: str) -> None:
    if not _TOKEN.fullmatch(name):
        raise ValueError(f"{name!a} is not the name of a header")
    if name.lower() in _OURS:
        raise ValueError(f"the header {name} is set by the server")


def is_bodiless(method: str, status: int) -> bool:
    """Whether such an answer ends with its head (RFC 9110, sections 9.3.2, 15.3.5 and 15.4.5)."""
    return method == "HEAD" or status in {204, 304}


def content_length(method: str, response: Response) -> int | None:
    """What the head says of the body's length, if anything.  Raises ValueError where the body is not so long."""
    body, length, status = response.body, response.length, response.status
    if status == 204 or (status == 304 and not length):
        return None
    if not is_bodiless(method, status) and (
        (isinstance(body, bytes) and length != len(body)) or (isinstance(body, FileRange) and length != body.count)
    ):
        raise ValueError(f"the answer's length is said to be {length}, which its body is not")
    return length


class Measure:
    """Counts a body that comes in pieces: `sent` bytes of `length`, where that was promised."""

    __slots__ = ("_length", "sent")

    def __init__(self, length: int | None) -> None:
        self._length = length
        self.sent = 0

    def add(self, piece: bytes) -> None:
        """Count a piece that is about to leave.  Raises ValueError where it is more than was promised."""
        if self._length is not None and self.sent + len(piece) > self._length:
            raise ValueError("the body is longer than its length")
        self.sent += len(piece)

    def end(self) -> None:
        """Raises ValueError where it was less."""
        if self._length is not None and self.sent != self._length:
            raise ValueError("the body is shorter than its length")
