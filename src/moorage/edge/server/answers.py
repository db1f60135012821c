"""The bytes of an answer's head."""

import re
import time
from collections.abc import Sequence
from email.utils import formatdate
from http import HTTPStatus
from typing import Final

from moorage.edge.http import Header

CONTINUE: Final = b"HTTP/1.1 100 Continue\r\n\r\n"

_TOKEN: Final = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_OURS: Final = frozenset({"connection", "content-length", "date", "keep-alive", "transfer-encoding", "x-request-id"})
_NAMES: Final = 1024


class Starts:
    """Status line and the headers that every answer has, remembered for the second they are true in."""

    def __init__(self) -> None:
        self._second = 0
        self._lines: dict[int, str] = {}
        self._names: set[str] = set()

    def head(self, status: int, headers: Sequence[Header], request_id: str, framing: str) -> bytes:
        """A whole head.  Raises ValueError where a header would break out of its line or is ours to set."""
        second = int(time.time())
        if second != self._second:
            self._second = second
            self._lines.clear()
        start = self._lines.get(status) or self._start(status)
        names = self._names
        for name, _ in headers:
            if name not in names:
                self._check(name)
        fields = "".join([f"{name}: {value}\r\n" for name, value in headers])
        count = len(headers)
        if fields.count("\n") != count or fields.count("\r") != count or "\0" in fields:
            raise ValueError("a header of the answer holds a line break or NUL")
        return f"{start}X-Request-Id: {request_id}\r\n{framing}{fields}\r\n".encode("latin-1")

    def _start(self, status: int) -> str:
        if not 200 <= status <= 599:
            raise ValueError(f"{status} is not the status of an answer")
        phrase = HTTPStatus(status).phrase if status in HTTPStatus._value2member_map_ else ""
        line = (
            f"HTTP/1.1 {status} {phrase}\r\n"
            f"Date: {formatdate(self._second, usegmt=True)}\r\n"
            "Docker-Distribution-API-Version: registry/2.0\r\n"
            "X-Content-Type-Options: nosniff\r\n"
        )
        self._lines[status] = line
        return line

    def _check(self, name: str) -> None:
        if not _TOKEN.fullmatch(name):
            raise ValueError(f"{name!a} is not the name of a header")
        if name.lower() in _OURS:
            raise ValueError(f"the header {name} is set by the server")
        if len(self._names) < _NAMES:
            self._names.add(name)
