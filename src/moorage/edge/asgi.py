"""The same handlers as an ASGI application, for HTTP/1.1 servers that are not ours.

    scope, receive ──> Request ──> handler ──> Response ──> send

What a request means and what an answer may say is decided where `edge/server` decides it.  What that does on the
connection itself is left to the server in front: framing, the size and time of heads, idle connections.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, MutableMapping
from concurrent.futures import ThreadPoolExecutor
from time import monotonic
from typing import Any, final
from urllib.parse import quote

from moorage.edge.http import FileRange, Handler, Header, Observer, Request, Response, render
from moorage.edge.server.addressing import address
from moorage.edge.server.answers import EVERY, Measure, Starts, content_length, is_bodiless
from moorage.edge.server.bodies import EMPTY, STALLED
from moorage.edge.server.exchange import CLIENT_GONE, close, failed
from moorage.edge.server.files import FilePieces
from moorage.edge.server.framing import body_length
from moorage.edge.server.heads import NOTED
from moorage.edge.server.ids import RequestIds
from moorage.edge.server.limits import MIB, Limits
from moorage.edge.server.networks import EVERYBODY, Admission
from moorage.edge.server.proxies import UNKNOWN, Trust
from moorage.edge.server.server import READERS
from moorage.errors import Code, Interrupted, RegistryError

Message = MutableMapping[str, Any]
Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
ASGI = Callable[[Scope, Receive, Send], Awaitable[None]]


def app(
    handler: Handler,
    *,
    limits: Limits | None = None,
    observe: Observer | None = None,
    trusted_proxies: tuple[str, ...] = (),
    admission: Admission = EVERYBODY,
) -> ASGI:
    """An ASGI application that answers with `handler`.  Of `limits` it keeps the times of bodies and of sending.

    `trusted_proxies` are addresses, networks or `unix`; ValueError for anything else.  Client certificates prove
    nobody here: what the server in front knows of them it has no agreed way to tell.
    """
    return _Application(handler, limits or Limits(), observe, Trust(trusted_proxies), admission)


@final
class _Body:
    """A request's body, from `receive`."""

    def __init__(self, receive: Receive, length: int | None, seconds: float) -> None:
        self.length = length
        self.ended = length == 0
        self._receive = receive
        self._seconds = seconds
        self._gone = False
        self._rest = memoryview(b"")

    def __aiter__(self) -> "_Body":
        return self

    async def __anext__(self) -> memoryview:
        while not self._rest:
            if self._gone:
                raise Interrupted
            if self.ended:
                raise StopAsyncIteration
            await self._more()
        piece, self._rest = self._rest[:MIB], self._rest[MIB:]
        return piece

    def at_hand(self) -> None:
        return None

    async def _more(self) -> None:
        try:
            async with asyncio.timeout(self._seconds):
                message = await self._receive()
        except TimeoutError:
            raise RegistryError(Code.REQUEST_TIMEOUT, STALLED) from None
        if message["type"] == "http.disconnect":
            self._gone = True
        else:
            self._rest = memoryview(message.get("body", b""))
            self.ended = not message.get("more_body", False)

    async def left(self) -> None:
        """Return once the client is gone; what is left of the body is dropped."""
        while not self._gone:
            self._gone = (await self._receive())["type"] == "http.disconnect"


@final
class _Application:
    def __init__(
        self, handler: Handler, limits: Limits, observe: Observer | None, trust: Trust, admission: Admission
    ) -> None:
        self.handler = handler
        self.limits = limits
        self.observe = observe
        self.trust = trust
        self.admission = admission
        self.ids = RequestIds()
        self.starts = Starts()
        self.readers = ThreadPoolExecutor(READERS, "moorage-read")

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self._live(receive, send)
        elif scope["type"] == "http":
            await _Exchange(self, scope, receive, send).run()
        else:
            raise ValueError(f"only HTTP is spoken here, not {scope['type']}")

    async def _live(self, receive: Receive, send: Send) -> None:
        """Nothing is opened at start: who makes the handler opens and closes what it needs."""
        while True:
            stage = (await receive())["type"]
            if stage == "lifespan.shutdown":
                self.readers.shutdown(wait=False)
            await send({"type": f"{stage}.complete"})
            if stage == "lifespan.shutdown":
                return


@final
class _Exchange:
    """One request and its answer."""

    def __init__(self, application: _Application, scope: Scope, receive: Receive, send: Send) -> None:
        self._app = application
        self._scope = scope
        self._send_message = send
        self._began = monotonic()
        self._body = _Body(receive, 0, application.limits.body_seconds)
        self._noted: dict[str, list[str]] = {}
        self._request = self._read_head()
        self._keep = True
        self._measure = Measure(None)

    def _read_head(self) -> Request:
        scope, ids = self._scope, self._app.ids
        fields: list[Header] = []
        for name, value in scope["headers"]:
            key, text = name.decode("latin-1").lower(), value.decode("latin-1").strip(" \t")
            if key in NOTED:
                self._noted.setdefault(key, []).append(text)
            fields.append((key, text))
        peer = _peer(scope)
        offered = self._noted.get("x-request-id")
        identity = ids.accept(offered[0]) if offered else ids.fresh()
        return Request(scope["method"], "", "", fields, EMPTY, peer, scope.get("scheme", "http"), identity)

    async def run(self) -> None:
        response = Response(CLIENT_GONE)
        try:
            response = await self._respond()
            await self._answer(response)
        except Interrupted:
            pass  # there is nobody to answer, and nothing to complain of
        finally:
            if self._app.observe is not None:
                self._app.observe(self._request, response, self._measure.sent, monotonic() - self._began)

    async def _respond(self) -> Response:
        request, app = self._request, self._app
        try:
            self._complete(request)
        except RegistryError as error:
            request.path = request.path or str(self._scope["path"])
            # Nobody can tell how a server in front has read it: nothing more may come that way.
            self._keep = False
            return render(error)
        try:
            return await app.handler(request)
        except Interrupted:
            raise
        except Exception:  # noqa: BLE001 - whatever a handler raises, the client gets an answer
            return failed(request, "a handler failed")

    def _complete(self, request: Request) -> None:
        """Address and body.  Raises REQUEST_INVALID, and DENIED for an address that is not let in."""
        scope, noted, trust = self._scope, self._noted, self._app.trust
        path: bytes = scope.get("raw_path") or quote(scope["path"]).encode()
        query: bytes = scope["query_string"]
        target = b"%b?%b" % (path, query) if query else path
        address(request, target, scope["http_version"], noted, trust, trusted=trust.trusts(request.peer))
        self._app.admission.check(request.peer)
        self._body.length = body_length(scope["http_version"], noted)
        self._body.ended = self._body.length == 0
        request.body = self._body

    async def _answer(self, response: Response) -> None:
        """Send an answer; whatever it opened is closed in any case.  Raises Interrupted where the client leaves."""
        pieces = self._pieces(response)
        try:
            head = self._head(response)
        except Exception:  # noqa: BLE001 - a defect of ours: the client gets an answer
            await close(pieces)
            response = failed(self._request, "an answer cannot be sent")
            head, pieces = self._head(response), self._pieces(response)
        try:
            await self._send(head)
            last = b""
            if is_bodiless(self._request.method, response.status):
                pass
            elif isinstance(response.body, bytes):
                last = response.body
                self._measure.add(last)
            else:
                await self._pour(pieces, watch=isinstance(response.body, FileRange) or self._body.ended)
            await self._send({"type": "http.response.body", "body": last})
        finally:
            await close(pieces)

    def _pieces(self, response: Response) -> AsyncIterator[bytes]:
        """The body as something to be closed, and read where it is not at hand as bytes."""
        self._measure = Measure(response.length)
        if isinstance(response.body, FileRange):
            return FilePieces(response.body, asyncio.get_running_loop(), self._app.readers)
        return _nothing() if isinstance(response.body, bytes) else response.body

    def _head(self, response: Response) -> Message:
        """Raises ValueError where the answer contradicts itself or HTTP."""
        request, status = self._request, response.status
        length = content_length(request.method, response)
        self._app.starts.head(status, response.headers, request.id, "")  # raises for what must not be sent
        headers = [("X-Request-Id", request.id), *EVERY, *response.headers]
        if length is not None and status != 304:
            headers.append(("Content-Length", str(length)))
        if not self._keep:
            headers.append(("Connection", "close"))
        encoded = [(name.lower().encode("latin-1"), value.encode("latin-1")) for name, value in headers]
        return {"type": "http.response.start", "status": status, "headers": encoded}

    async def _pour(self, pieces: AsyncIterator[bytes], *, watch: bool) -> None:
        """Send the pieces; an error tells the server in front to cut the connection.

        Without `watch` the rest of the request's body is left alone: the pieces may be made of it.
        """
        leaving = asyncio.ensure_future(self._body.left()) if watch else None
        try:
            async for piece in pieces:
                if leaving is not None and leaving.done():
                    raise Interrupted
                if piece:
                    self._measure.add(piece)
                    await self._send({"type": "http.response.body", "body": piece, "more_body": True})
            self._measure.end()
        finally:
            if leaving is not None:
                leaving.cancel()
                await asyncio.wait({leaving})

    async def _send(self, message: Message) -> None:
        try:
            async with asyncio.timeout(self._app.limits.send_seconds):
                await self._send_message(message)
        except OSError as reason:  # the client is gone, or (TimeoutError) has taken nothing for too long
            raise Interrupted from reason


async def _nothing() -> AsyncIterator[bytes]:
    return
    yield


def _peer(scope: Scope) -> str:
    """The other end's address; empty for a Unix socket, which alone has none."""
    if scope.get("client"):
        return str(scope["client"][0])
    return UNKNOWN if (scope.get("server") or ("", None))[1] is not None else ""
