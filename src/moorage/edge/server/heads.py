"""Reading request heads with llhttp, and nothing but heads.

The parser is fed up to the end of a header and no further: bodies are framed by us, so it is always known
where the next request begins, and a pipelined one is not even parsed before its turn.

A client sends the same fields with each of its requests.  Those that came before, byte for byte, are what they were:
of such a head only the first line is read.  Passwords are not among what is remembered: how long an answer takes would
tell whether somebody had used one.
"""

import asyncio
import re
from typing import Final, NamedTuple, cast

import httptools
from uvicorn.config import Config
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol
from uvicorn.server import ServerState

from moorage.edge.http import Header
from moorage.edge.server.proxies import FORWARDED
from moorage.errors import Code, RegistryError

LEANS_ON: Final = (
    "connection_lost",
    "connection_made",
    "connections",
    "flow.drain",
    "flow.pause_reading",
    "flow.read_paused",
    "flow.resume_reading",
    "flow.write_paused",
    "loop",
    "on_headers_complete",
    "on_message_begin",
    "on_url",
    "parser",
    "pause_writing",
    "resume_writing",
    "shutdown",
    "tasks",
    "transport",
    "url",
)
"""What we use or override of uvicorn's class, which promises none of it: its version is pinned, a test looks."""

NOTED: Final = FORWARDED | {"content-length", "expect", "host", "transfer-encoding", "x-request-id"}
"""The headers the server itself reads."""

_END: Final = b"\r\n\r\n"
FIELDS: Final = 256
"""Most header fields of a request: short ones take many times their bytes in memory."""
_NAMES: Final = 512
_NAME: Final = 64
"""Only so long a name is remembered, in bytes."""
_lower_names: dict[bytes, str] = {}

_LINE: Final = re.compile(rb"(GET|HEAD|POST|PUT|PATCH|DELETE) (/[!$%&'()*+,./0-9:;=?@A-Z_a-z~-]*) HTTP/1\.1\r\n")
"""First lines in which the parser finds nothing that depends on the fields, or they on it."""

_KNOWN: Final = 256
_KNOWN_BYTES: Final = 2048
_KNOWN_FIELDS: Final = 32
"""Only so many sets of fields are remembered, and only such of so many bytes and fields: 2 MB at worst."""


_EMPTY: Final = ["0"]


class _Fields(NamedTuple):
    """What the parser made of the fields of an HTTP/1.1 request that keeps its connection."""

    all: tuple[Header, ...]
    noted: dict[str, list[str]]


_known: dict[bytes, _Fields] = {}


class _Wiring:
    """The attributes of uvicorn's Config that its protocol reads; the rest of it is for uvicorn's own server."""

    loaded = True
    loaded_app = None
    ws_protocol_class = None
    root_path = ""
    asgi_version = "3.0"
    limit_concurrency = None
    timeout_keep_alive = 0


class HeadReader(HttpToolsProtocol):
    """Collects the head of one request after the other."""

    def __init__(self, state: ServerState, loop: asyncio.AbstractEventLoop, header_bytes: int) -> None:
        super().__init__(cast("Config", _Wiring), state, {}, loop)
        self.fields: list[Header] = []
        self.noted: dict[str, list[str]] = {}
        self.method = ""
        self._verb = b""
        self.version = ""
        self.wants_keep_alive = False
        self.partial = False
        """Whether a head has begun and is not complete."""
        self._complete = False
        self._first = b""
        """The head's first bytes, at least to the end of the request line."""
        self._header_bytes = header_bytes
        self._read = 0
        self._tail = b""
        """The last bytes of an incomplete head: its end may be cut in two."""
        self._stale = False

    def parse_afresh(self) -> None:
        """The last head was followed by a body, which the parser will not see: the next needs a new one."""
        self._stale = True

    def read_head(self, data: bytes) -> bytes | None:
        """Feed up to the end of a head; gives what follows it, or None while it is incomplete.

        Raises REQUEST_INVALID and HEADERS_TOO_LARGE; then nothing more can be read from this connection.
        """
        if self._read:  # this goes on with a head, whatever it looks like
            return self._parse(data)
        line = _LINE.match(data)
        end = data.find(_END, line.end() - 2) + len(_END) if line else 0
        if line is None or not len(_END) <= end <= self._header_bytes:
            return self._parse(data)
        written = data[line.end() : end]
        fields = _known.get(written)
        if fields is None:
            rest = self._parse(data)
            self._remember(written)
            return rest
        self.method, self.url, self.version = line[1].decode("ascii"), line[2], "1.1"
        self.fields, self.noted, self.wants_keep_alive = list(fields.all), fields.noted, True
        return data[end:]

    def _remember(self, written: bytes) -> None:
        if len(written) <= _KNOWN_BYTES and len(self.fields) <= _KNOWN_FIELDS and self._may_come_again():
            if len(_known) >= _KNOWN:
                _known.clear()
            _known[written] = _Fields(tuple(self.fields), self.noted)

    def _may_come_again(self) -> bool:
        """Whether these may be the fields of many requests, on a connection that goes on, and hold no password."""
        noted = self.noted
        return (
            self.wants_keep_alive
            and "x-request-id" not in noted
            and noted.get("content-length", _EMPTY) == _EMPTY
            and all(key != "authorization" or text[:7].lower() == "bearer " for key, text in self.fields)
        )

    def _parse(self, data: bytes) -> bytes | None:
        if self._stale:
            self._stale = False
            self.parser = httptools.HttpRequestParser(self)
        rest = data
        while rest:
            window = self._tail + rest if self._tail else rest
            end = window.find(_END)
            cut = len(rest) if end < 0 else end + len(_END) - len(self._tail)
            piece = rest if cut == len(rest) else rest[:cut]
            self._first = piece if not self._read else self._longer_beginning(piece)
            self._read += cut
            if self._read > self._header_bytes:
                raise RegistryError(
                    Code.HEADERS_TOO_LARGE, f"the request's header is larger than {self._header_bytes} bytes"
                )
            self._feed(piece)
            if len(self.fields) > FIELDS:
                raise RegistryError(Code.HEADERS_TOO_LARGE, f"the request's header has more than {FIELDS} fields")
            rest = rest[cut:]
            if end < 0:
                self.partial = True
                self._tail = window[-3:]
                if self._complete:
                    raise RegistryError(Code.REQUEST_INVALID, "the header's lines must end in CRLF")
                return None
            self._tail = b""
            if self._complete:
                self._check_line()
                self._complete = self.partial = False
                self._read = 0
                return rest
            # Otherwise these were empty lines in front of a request, which are to be ignored (RFC 9112, 2.2).
        self.partial = True
        return None

    def _longer_beginning(self, piece: bytes) -> bytes:
        return self._first if b"\n" in self._first.lstrip(b"\r\n") else self._first + piece

    def _check_line(self) -> None:
        """The parser forgives more in a first line than others do: further spaces, protocols that are not HTTP."""
        line = b"%b %b HTTP/%b\r\n" % (self._verb, self.url, self.version.encode())
        if not self._first.startswith(line) and not self._first.lstrip(b"\r\n").startswith(line):
            raise RegistryError(Code.REQUEST_INVALID, "the first line must be a method, a target and HTTP/1.1")

    def _feed(self, piece: bytes) -> None:
        try:
            self.parser.feed_data(piece)
        except httptools.HttpParserUpgrade:
            # An offer to speak something else, which we may ignore; the parser has switched already.
            self._stale = True
        except httptools.HttpParserError as reason:
            raise RegistryError(Code.REQUEST_INVALID, f"this is not a valid HTTP request: {reason}") from reason

    def on_message_begin(self) -> None:
        self.url = b""
        self.fields = []
        self.noted = {}

    def on_header(self, name: bytes, value: bytes) -> None:
        if len(self.fields) > FIELDS:
            return  # too many already, and refused as soon as this piece is read
        key = _lower_names.get(name) or _lower(name)
        text = value.decode("latin-1").strip(" \t")
        if key in NOTED:
            self.noted.setdefault(key, []).append(text)
        self.fields.append((key, text))

    def on_headers_complete(self) -> None:
        parser = self.parser
        self._complete = True
        self._verb = parser.get_method()
        self.method = self._verb.decode("ascii")
        self.version = parser.get_http_version()
        self.wants_keep_alive = parser.should_keep_alive()

    def on_body(self, _body: bytes) -> None:
        raise RegistryError(Code.REQUEST_INVALID, "a header ends where it should not")

    def on_message_complete(self) -> None:
        pass


def _lower(name: bytes) -> str:
    lower = name.decode("ascii").lower()
    if len(_lower_names) < _NAMES and len(name) <= _NAME:
        _lower_names[name] = lower
    return lower
