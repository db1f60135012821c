"""A raw HTTP/1.1 client on one loopback connection: as little between the measure and the server as possible."""

import socket
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final, Self
from urllib.parse import urlsplit

_BUFFER: Final = 1024 * 1024
_CHUNK: Final = 32 * 1024
"""The size of chunks that Go's clients, docker among them, send."""


Header = tuple[str, str]


class Wrong(Exception):  # noqa: N818 - what it says is the sentence: the answer is wrong
    """A server answered otherwise than a registry should."""


@dataclass(frozen=True, slots=True)
class Answer:
    """Status, headers by lower-case name, and the whole body."""

    status: int
    headers: dict[str, str]
    body: bytes = b""

    def want(self, status: int) -> "Answer":
        """Itself, if the status is as wanted.  Raises Wrong."""
        if self.status != status:
            raise Wrong(f"the answer is {self.status} instead of {status}: {self.body[:300]!r}")
        return self

    def location(self) -> str:
        """The path and query to go on with."""
        parts = urlsplit(self.headers["location"])
        return f"{parts.path}?{parts.query}" if parts.query else parts.path


class Connection:
    """One exchange after the other."""

    def __init__(self, port: int, authorization: Callable[[str], Sequence[Header]] = lambda _: ()) -> None:
        """`authorization` gives the headers that prove who asks for a target."""
        self._port, self._authorization = port, authorization
        self._socket = self._connect()
        self._read = bytearray(_BUFFER)

    def _connect(self) -> socket.socket:
        connected = socket.create_connection(("127.0.0.1", self._port), timeout=60)
        connected.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return connected

    def close(self) -> None:
        self._socket.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def ask(self, method: str, target: str, headers: Sequence[Header] = (), *body: bytes) -> Answer:
        """One exchange; the body goes out with its length."""
        if body or method in {"POST", "PUT", "PATCH"}:
            headers = (*headers, ("Content-Length", str(sum(map(len, body)))))
        self._send(self._request(method, target, headers), body)
        return self._answer(method)

    def ask_in_chunks(self, method: str, target: str, headers: Sequence[Header], *body: bytes) -> Answer:
        """One exchange; the body goes out in chunks.  `body` is what `chunked` made."""
        headers = (*headers, ("Transfer-Encoding", "chunked"))
        self._send(self._request(method, target, headers), body)
        return self._answer(method)

    def discard(self, target: str, headers: Sequence[Header] = ()) -> int:
        """GET whatever is there, leave its bytes in the kernel, and give their number.  Raises Wrong."""
        self._send(self._request("GET", target, headers), ())
        answer, body = self._head()
        length = int(answer.want(206 if headers else 200).headers["content-length"])
        got = len(body)
        while got < length:
            read = self._socket.recv_into(self._read, min(_BUFFER, length - got), socket.MSG_TRUNC)
            if not read:
                raise Wrong(f"the body ends after {got} of {length} bytes")
            got += read
        return got

    def _request(self, method: str, target: str, headers: Sequence[Header]) -> bytes:
        return request(method, target, self._port, (*headers, *self._authorization(target)))

    def _send(self, head: bytes, body: Sequence[bytes]) -> None:
        small = sum(map(len, body)) <= _CHUNK
        self._socket.sendall(b"".join((head, *body)) if small else head)
        if not small:
            for part in body:
                self._socket.sendall(part)

    def _answer(self, method: str) -> Answer:
        answer, rest = self._head()
        if method != "HEAD" and answer.status not in {204, 304}:
            if answer.headers.get("transfer-encoding") == "chunked":
                rest = self._chunks(rest)
            else:
                rest = self._exactly(rest, int(answer.headers.get("content-length", 0)))
        if answer.headers.get("connection") == "close":
            self.close()
            self._socket = self._connect()
        return Answer(answer.status, answer.headers, bytes(rest))

    def _head(self) -> tuple[Answer, bytearray]:
        got = bytearray()
        while (end := got.find(b"\r\n\r\n")) < 0:
            self._more(got)
        first, *lines = got[:end].decode("latin-1").split("\r\n")
        headers = {name.lower(): value for name, _, value in (line.partition(": ") for line in lines)}
        return Answer(int(first[9:12]), headers), got[end + 4 :]

    def _exactly(self, got: bytearray, length: int) -> bytearray:
        while len(got) < length:
            self._more(got)
        if len(got) > length:
            raise Wrong("bytes follow behind the answer")
        return got

    def _chunks(self, got: bytearray) -> bytearray:
        body = bytearray()
        while True:
            while (line := got.find(b"\r\n")) < 0:
                self._more(got)
            size = int(got[:line], 16)
            while len(got) < line + 2 + size + 2:
                self._more(got)
            body += got[line + 2 : line + 2 + size]
            del got[: line + 2 + size + 2]
            if not size:
                return body

    def _more(self, got: bytearray) -> None:
        read = self._socket.recv_into(self._read)
        if not read:
            raise Wrong("the server closed the connection in the middle of an answer")
        got += memoryview(self._read)[:read]


def request(method: str, target: str, port: int, headers: Sequence[Header] = ()) -> bytes:
    """A request's header."""
    lines = [f"{method} {target} HTTP/1.1", f"Host: 127.0.0.1:{port}", *(f"{name}: {value}" for name, value in headers)]
    return ("\r\n".join(lines) + "\r\n\r\n").encode()


def chunked(content: bytes) -> bytes:
    """Content framed in chunks; b"" is the last one."""
    if not content:
        return b"0\r\n\r\n"
    pieces = (content[at : at + _CHUNK] for at in range(0, len(content), _CHUNK))
    return b"".join(b"%x\r\n%b\r\n" % (len(piece), piece) for piece in pieces)
