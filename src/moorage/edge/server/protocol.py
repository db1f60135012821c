"""One connection.

Subclasses uvicorn's httptools protocol, which is pinned.  Of its privates we lean on: `flow` (pause and resume),
`connections`, `transport`, `parser`, `client`, `scheme`, `url`, `headers`, `expect_100_continue`,
`timeout_keep_alive_task` and `_unset_keepalive_if_required`.

A handler is started on the connection itself as soon as the header is complete, by one `send(None)`.  If that
finishes it, head and body leave in one write and no task is ever made; if it waits, a task carries it on.
"""

import asyncio
import os
import time
from collections import deque
from collections.abc import Coroutine, Generator
from dataclasses import dataclass
from email.utils import formatdate
from http import HTTPStatus
from typing import Any, Final
from urllib.parse import unquote_to_bytes

import httptools
from uvicorn.config import Config
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol
from uvicorn.server import ServerState

from moorage.edge.http import FileRange, Handler, Observer, Request, Response, render
from moorage.edge.server.body import IncomingBody
from moorage.edge.server.limits import Limits
from moorage.edge.server.sending import PIECE, SMALL, Cut, resident, send_file
from moorage.errors import Code, Interrupted, RegistryError
from moorage.telemetry import logger

_REASON: Final = {status.value: f"HTTP/1.1 {status.value} {status.phrase}\r\n" for status in HTTPStatus}
_KEPT_REMAINDER: Final = 256 * 1024
_LINGER_BYTES: Final = 64 * 1024 * 1024
_LINGER_SECONDS: Final = 5.0
_HOST_CHARACTERS: Final = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789.-_:[]%")
_ID_CHARACTERS: Final = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789.-_")


@dataclass(slots=True)
class Shared:
    """What all connections of a server share."""

    handler: Handler
    limits: Limits
    observe: Observer | None
    config: Config
    state: ServerState
    prefix: str
    draining: bool = False
    requests: int = 0
    second: int = 0
    date: str = ""

    def now(self) -> str:
        """The Date header's value, made once a second."""
        second = int(time.time())
        if second != self.second:
            self.second, self.date = second, formatdate(second, usegmt=True)
        return self.date

    def new_id(self) -> str:
        self.requests += 1
        return f"{self.prefix}-{self.requests:x}"


class _Started:
    """Awaits what a coroutine that has already taken its first step waits for, and steps it on to its end."""

    def __init__(self, coroutine: Coroutine[Any, Any, Response], first: Any) -> None:
        self._coroutine, self._first = coroutine, first

    def __await__(self) -> Generator[Any, Any, Response]:
        waiting = self._first
        while True:
            try:
                value = yield waiting
            except BaseException as raised:  # noqa: BLE001 - passed on to where it belongs
                step: Any = self._coroutine.throw
                argument: Any = raised
            else:
                step = self._coroutine.send
                argument = value
            try:
                waiting = step(argument)
            except StopIteration as end:
                return end.value  # type: ignore[no-any-return]


class Connection(HttpToolsProtocol):
    """HTTP/1.1 on one socket: one exchange at a time, in order."""

    def __init__(self, shared: Shared, loop: asyncio.AbstractEventLoop) -> None:
        super().__init__(shared.config, shared.state, {}, loop)
        # What comes behind a request that closes the connection is not ours to read.
        self.shared = shared
        self.limits = shared.limits
        self.waiting: deque[tuple[Request, bool]] = deque()
        self.request: Request | None = None
        self.reading: IncomingBody | None = None
        self.task: asyncio.Task[None] | None = None
        self.keep = True
        self.began = 0.0
        self.header_bytes = 0
        self.in_header = False
        self.lingering = False
        self.finished = False
        self.timer: asyncio.TimerHandle | None = None

    # The connection

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self.timer = self.loop.call_later(self.limits.idle_seconds, self._idle)

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 - asyncio's signature
        self.finished = True
        self.connections.discard(self)
        self._stop_timer()
        if self.reading is not None:
            self.reading.lose()
        for request, _ in self.waiting:
            if isinstance(request.body, IncomingBody):
                request.body.lose()
        self.waiting.clear()
        self.flow.resume_writing()
        if self.task is not None and self.request is not None and self.request.facts.get("streaming"):
            self.task.cancel()
        self.parser = None  # type: ignore[assignment]

    def eof_received(self) -> None:
        self.finished = True

    def _stop_timer(self) -> None:
        if self.timer is not None:
            self.timer.cancel()
            self.timer = None

    def _idle(self) -> None:
        self.timer = None
        if self.request is None and not self.transport.is_closing():
            if self.in_header:
                self._refuse(RegistryError(Code.REQUEST_TIMEOUT, "the request's header did not arrive in time"))
            else:
                self.transport.close()

    # Bytes in

    def data_received(self, data: bytes) -> None:
        if self.lingering:
            self.header_bytes += len(data)
            if self.header_bytes > _LINGER_BYTES:
                self.transport.abort()
            return
        if self.request is None and not self.in_header and self.reading is None:
            self._stop_timer()
            self.in_header = True
            self.header_bytes = 0
            self.timer = self.loop.call_later(self.limits.header_seconds, self._idle)
        if self.in_header:
            self.header_bytes += len(data)
        try:
            self.parser.feed_data(data)
        except httptools.HttpParserUpgrade:
            self._refuse(RegistryError(Code.REQUEST_INVALID, "the connection cannot be upgraded"))
        except httptools.HttpParserCallbackError as raised:
            cause = raised.__context__
            error = cause if isinstance(cause, RegistryError) else RegistryError(Code.REQUEST_INVALID)
            self._refuse(error)
        except httptools.HttpParserError as raised:
            self._refuse(RegistryError(Code.REQUEST_INVALID, f"this is not a valid HTTP request: {raised}"[:200]))
        else:
            if self.in_header and self.header_bytes > self.limits.header_bytes:
                self._refuse(self._too_large())

    def _too_large(self) -> RegistryError:
        return RegistryError(
            Code.HEADERS_TOO_LARGE, f"the request's header has more than {self.limits.header_bytes} bytes"
        )

    def _refuse(self, error: RegistryError) -> None:
        """Answer what is no request, and end the connection: nothing behind it can be understood."""
        if self.transport.is_closing():
            return
        self._stop_timer()
        if self.reading is not None:
            self.reading.lose()
        if self.request is None:
            request = Request("", "", "", [], _EMPTY, self.client[0] if self.client else "", "", self.shared.new_id())
            self.transport.write(self._head(request, render(error), close=True) + _bytes(render(error).body))
        self.waiting.clear()
        self._linger()

    # The parser's callbacks

    def on_message_begin(self) -> None:
        self.url = b""
        self.expect_100_continue = False
        self.headers = []

    def on_header(self, name: bytes, value: bytes) -> None:
        self.headers.append((name.lower(), value))

    def on_headers_complete(self) -> None:
        self.in_header = False
        if self.request is None:
            self._stop_timer()
        if sum(len(name) + len(value) + 4 for name, value in self.headers) + len(self.url) > self.limits.header_bytes:
            raise self._too_large()
        version = self.parser.get_http_version()
        request = self._made_request(version)
        keep = self.parser.should_keep_alive() and not self.shared.draining
        if self.request is None and not self.waiting:
            self._start(request, keep)
        else:
            self.flow.pause_reading()
            self.waiting.append((request, keep))

    def _made_request(self, version: str) -> Request:  # noqa: C901, PLR0912 - one pass over the header
        method = self.parser.get_method().decode("ascii")
        if method == "CONNECT":
            raise RegistryError(Code.REQUEST_INVALID, "CONNECT is for proxies")
        headers = [(name.decode("latin-1"), value.decode("latin-1")) for name, value in self.headers]
        path, query = _target(self.url)
        hosts = chunked = 0
        length: int | None = 0
        expects = False
        identity = ""
        for name, value in headers:
            if name == "host":
                hosts += 1
                if not value or not _HOST_CHARACTERS.issuperset(value):
                    raise RegistryError(Code.REQUEST_INVALID, "the Host header is not valid")
            elif name == "content-length":
                if not value.isascii() or not value.isdigit():
                    raise RegistryError(Code.REQUEST_INVALID, "the Content-Length is not a number")
                length = int(value)
            elif name == "transfer-encoding":
                chunked += 1
                if value.strip().lower() != "chunked":
                    raise RegistryError(Code.REQUEST_INVALID, "no Transfer-Encoding but chunked is understood")
            elif name == "expect" and value.lower() == "100-continue":
                expects = True
            elif name == "x-request-id":
                identity = value
        if hosts != 1 and (version == "1.1" or hosts > 1):
            raise RegistryError(Code.REQUEST_INVALID, "exactly one Host header is wanted")
        if chunked:
            if chunked > 1 or version == "1.0":
                raise RegistryError(Code.REQUEST_INVALID, "the Transfer-Encoding is not valid")
            length = None
        if not identity or len(identity) > 128 or not _ID_CHARACTERS.issuperset(identity):
            identity = self.shared.new_id()
        body: Any = _EMPTY
        if length != 0:
            body = IncomingBody(self.transport, length, self.limits.body_seconds, expects=expects)
        self.reading = body if length != 0 else None
        peer = self.client[0] if self.client else ""
        request = Request(method, path, query, headers, body, peer, self.scheme or "http", identity)
        request.facts["version"] = version
        return request

    def on_body(self, body: bytes) -> None:
        if self.reading is not None:
            self.reading.feed(body)

    def on_message_complete(self) -> None:
        if self.reading is not None:
            self.reading.finish()
            if self.request is None and not self.waiting:
                self.flow.resume_reading()
        self.reading = None

    # Answering

    def _start(self, request: Request, keep: bool) -> None:
        self.request, self.keep, self.began = request, keep, time.perf_counter()
        coroutine = self.shared.handler(request)
        try:
            first = coroutine.send(None)
        except StopIteration as end:
            response: Response = end.value
            if isinstance(response.body, bytes) or request.method == "HEAD":
                self._send_whole(request, response)
            else:
                self._carry_on(self._send(request, response))
        except Exception as raised:  # noqa: BLE001 - the last line before the client
            self._send_whole(request, self._failed(request, raised))
        else:
            self._carry_on(self._await(request, _Started(coroutine, first)))

    def _carry_on(self, work: Coroutine[Any, Any, None]) -> None:
        task = self.loop.create_task(work)
        self.task = task
        self.tasks.add(task)
        task.add_done_callback(self.tasks.discard)

    async def _await(self, request: Request, started: _Started) -> None:
        try:
            response = await started
        except (Interrupted, asyncio.CancelledError):
            self.transport.abort()
            return
        except Exception as raised:  # noqa: BLE001 - the last line before the client
            response = self._failed(request, raised)
        if isinstance(response.body, bytes) or request.method == "HEAD":
            self._send_whole(request, response)
        else:
            await self._send(request, response)

    def _failed(self, request: Request, raised: Exception) -> Response:
        logger(__name__).error("a handler failed", request_id=request.id, exc_info=raised)
        return render(RegistryError(Code.UNKNOWN))

    def _send_whole(self, request: Request, response: Response) -> None:
        body = b""
        if isinstance(response.body, FileRange):
            os.close(response.body.fd)
        elif isinstance(response.body, bytes) and request.method != "HEAD":
            body = response.body
        close = self._closes(request)
        if not self.transport.is_closing():
            self.transport.write(self._head(request, response, close=close) + body)
        self._done(request, response, len(body), close=close)

    async def _send(self, request: Request, response: Response) -> None:
        close = self._closes(request)
        request.facts["streaming"] = True
        try:
            sent = await self._send_body(request, response, close=close)
        except (Cut, Interrupted, asyncio.CancelledError, ConnectionError, OSError):
            self.transport.abort()
            return
        except Exception as raised:  # noqa: BLE001 - too late for an answer: cut it, so that the client notices
            logger(__name__).error("an answer broke off", request_id=request.id, exc_info=raised)
            self.transport.abort()
            return
        self._done(request, response, sent, close=close)

    async def _send_body(self, request: Request, response: Response, *, close: bool) -> int:
        head = self._head(request, response, close=close)
        body = response.body
        if isinstance(body, FileRange):
            try:
                return await self._send_file(head, body)
            finally:
                os.close(body.fd)
        if isinstance(body, bytes):
            raise TypeError("bytes are sent whole")
        chunked = response.length is None and request.facts.get("version") != "1.0"
        sent = 0
        self.transport.write(head)
        try:
            async for piece in body:
                if not piece:
                    continue
                await self._drain()
                sent += len(piece)
                self.transport.write(b"%x\r\n%b\r\n" % (len(piece), piece) if chunked else piece)
        finally:
            closing = getattr(body, "aclose", None)
            if closing is not None:
                await closing()
        if response.length is not None and sent != response.length:
            raise Cut("the body is not as long as promised")
        if chunked:
            self.transport.write(b"0\r\n\r\n")
        return sent

    async def _send_file(self, head: bytes, part: FileRange) -> int:
        if part.count <= SMALL:
            data = resident(part)
            if data is None:
                data = await self.loop.run_in_executor(None, os.pread, part.fd, part.count, part.start)
            if len(data) != part.count:
                raise Cut("the file is shorter than promised")
            self.transport.write(head + data)
            return part.count
        if self.scheme == "http":
            while self.transport.get_write_buffer_size():
                await asyncio.sleep(0.001)
                if self.transport.is_closing():
                    raise Cut("the client is gone")
            await send_file(self.transport, head, part, self.limits.send_seconds)
            return part.count
        self.transport.write(head)
        at, stop = part.start, part.start + part.count
        while at < stop:
            await self._drain()
            piece = await self.loop.run_in_executor(None, os.pread, part.fd, min(PIECE, stop - at), at)
            if not piece:
                raise Cut("the file is shorter than promised")
            self.transport.write(piece)
            at += len(piece)
        return part.count

    async def _drain(self) -> None:
        """Wait until the client has read enough.  Raises Cut when it does not, or is gone."""
        if self.transport.is_closing():
            raise Cut("the client is gone")
        if self.flow.write_paused:
            try:
                async with asyncio.timeout(self.limits.send_seconds):
                    await self.flow.drain()
            except TimeoutError:
                raise Cut("the client does not read") from None

    def _closes(self, request: Request) -> bool:
        """Whether the connection must end with this answer."""
        body = request.body
        if isinstance(body, IncomingBody) and not body.complete:
            remainder = body.length
            if body.unsolicited or remainder is None or remainder > _KEPT_REMAINDER:
                return True
        return not self.keep or self.shared.draining

    def _done(self, request: Request, response: Response, sent: int, *, close: bool) -> None:
        if self.shared.observe is not None:
            self.shared.observe(request, response, sent, time.perf_counter() - self.began)
        self.request = self.task = None
        body = request.body
        if isinstance(body, IncomingBody) and not body.complete:
            body.discard()
        if self.transport.is_closing():
            return
        if close:
            self._linger()
            return
        self.flow.resume_reading()
        if self.waiting:
            following, keep = self.waiting.popleft()
            self.loop.call_soon(self._start_if_open, following, keep)
        elif not self.in_header:
            self._stop_timer()
            self.timer = self.loop.call_later(self.limits.idle_seconds, self._idle)

    def _start_if_open(self, request: Request, keep: bool) -> None:
        if not self.transport.is_closing():
            self._start(request, keep)

    def _linger(self) -> None:
        """Say that we are done, and read on for a moment, so that the client gets to read our answer."""
        reading = self.reading is not None or not self.keep
        self.lingering = True
        self.header_bytes = 0
        self._stop_timer()
        if self.reading is None or self.finished or self.scheme != "http":
            self.transport.close()
            return
        if reading and self.transport.can_write_eof():
            self.flow.resume_reading()
            self.transport.write_eof()
        self.timer = self.loop.call_later(_LINGER_SECONDS, self.transport.abort)

    def _head(self, request: Request, response: Response, *, close: bool) -> bytes:
        lines = [_REASON.get(response.status) or f"HTTP/1.1 {response.status} \r\n"]
        for name, value in response.headers:
            if "\n" in value or "\r" in value or "\0" in value:
                raise ValueError(f"the header {name} has a line break")
            lines.append(f"{name}: {value}\r\n")
        if response.status not in {204, 304} and response.length is not None:
            lines.append(f"Content-Length: {response.length}\r\n")
        elif response.length is None and request.facts.get("version") != "1.0":
            lines.append("Transfer-Encoding: chunked\r\n")
        lines.append(
            f"Date: {self.shared.now()}\r\nDocker-Distribution-API-Version: registry/2.0\r\n"
            f"X-Content-Type-Options: nosniff\r\nX-Request-Id: {request.id}\r\n"
        )
        if close or (response.length is None and request.facts.get("version") == "1.0"):
            lines.append("Connection: close\r\n")
        elif request.facts.get("version") == "1.0":
            lines.append("Connection: keep-alive\r\n")
        lines.append("\r\n")
        return "".join(lines).encode("latin-1")

    def shutdown(self) -> None:
        """Finish the exchange under way, then close; at once where there is none."""
        if self.request is None and not self.lingering:
            self.transport.close()
        else:
            self.keep = False


class _Empty:
    """No body at all."""

    length: int | None = 0

    def __aiter__(self) -> "_Empty":
        return self

    async def __anext__(self) -> bytes:
        raise StopAsyncIteration


_EMPTY: Final = _Empty()


def _bytes(body: object) -> bytes:
    return body if isinstance(body, bytes) else b""


def _target(url: bytes) -> tuple[str, str]:
    """Path, decoded once, and raw query of a request target.  Raises REQUEST_INVALID."""
    try:
        parsed = httptools.parse_url(url)
        raw = parsed.path
        path = (unquote_to_bytes(raw) if b"%" in raw else raw or b"").decode("utf-8")
        query = (parsed.query or b"").decode("ascii")
    except (httptools.HttpParserInvalidURLError, ValueError, TypeError):
        raise RegistryError(Code.REQUEST_INVALID, "the request's address cannot be read") from None
    if not path.startswith("/") or not path.isprintable():
        raise RegistryError(Code.REQUEST_INVALID, "the request's address is no path, or has control characters")
    return path, query
