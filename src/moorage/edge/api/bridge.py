"""From our requests to the ASGI application of the API, in this process, and back."""

import asyncio
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any, Final

from moorage.access.actor import Identity
from moorage.access.scopes import API
from moorage.edge.api.addresses import ROOT, template
from moorage.edge.api.problems import render_problem
from moorage.edge.challenge import Challenge, identified
from moorage.edge.http import Request, Response, retry
from moorage.edge.meter import Meter
from moorage.errors import Code, Interrupted, RegistryError
from moorage.features.accounts.desk import Desk
from moorage.telemetry import logger

log: Final = logger("moorage.api")

_LONGEST: Final = 64 * 1024
"""Bytes of a request's body."""

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Asgi = Callable[[Scope, Callable[[], Awaitable[Message]], Callable[[Message], Awaitable[None]]], Awaitable[None]]


class Api:
    """Answers what is below `/api`."""

    def __init__(self, desk: Desk, challenge: Challenge | None = None, meter: Meter | None = None) -> None:
        self._desk, self._challenge, self._meter = desk, challenge, meter
        self._application: Asgi | None = None

    async def respond(self, request: Request) -> Response:
        """Answer whoever the request's credentials prove.  Raises only `Interrupted`."""
        await asyncio.sleep(0)  # a handler's first step is no task's, and FastAPI needs one
        request.route = ROOT
        try:
            identity = await identified(self._desk.authority, request, lambda: API)
            if self._meter is not None:
                self._meter.known(request, identity)
                self._meter.let_in(request, identity)
            body = await _body(request)
            if request.body.length != 0:
                # It may have taken minutes, even to say that it is empty: by now every right may have ended.
                identity = await identified(self._desk.authority, request, lambda: API)
        except RegistryError as error:
            return render_problem(error, *self.further(request, error))
        return await self.answer(request, identity, body)

    async def answer(self, request: Request, identity: Identity, body: bytes) -> Response:
        """Answer somebody who has been proved already."""
        request.facts["actor"] = identity.actor.name
        if self._application is None:
            self._application = await asyncio.to_thread(self._made)
        try:
            return await self._call(self._application, request, identity, body)
        except RegistryError as error:
            return render_problem(error, *self.further(request, error))
        except (Interrupted, asyncio.CancelledError):
            raise
        except Exception as error:
            log.exception("a request failed", path=request.route, kind=type(error).__name__)
            return render_problem(RegistryError(Code.UNKNOWN))

    def further(self, request: Request, error: RegistryError) -> list[tuple[str, str]]:
        """The headers that belong to a refusal."""
        if error.code is Code.UNAUTHORIZED and self._challenge is not None:
            return [("WWW-Authenticate", self._challenge.header(request, error))]
        return retry(error)

    def _made(self) -> Asgi:
        from moorage.edge.api.application import application

        made: Asgi = application(self._desk, self.further)
        return made

    async def _call(self, application: Asgi, request: Request, identity: Identity, body: bytes) -> Response:
        if "%00" in request.query:
            raise RegistryError(Code.QUERY_INVALID, "the query string cannot be read: it holds a NUL")
        response = Response(500)
        sent = bytearray()

        async def receive() -> Message:
            return {"type": "http.request", "body": body, "more_body": False}

        async def send(message: Message) -> None:
            if message["type"] == "http.response.start":
                response.status = message["status"]
                response.headers = [
                    (name.decode("latin-1").title(), value.decode("latin-1"))
                    for name, value in message["headers"]
                    if name.lower() != b"content-length"
                ]
            else:
                sent.extend(message.get("body", b""))

        scope = _scope(request, identity)
        await application(scope, receive, send)
        request.route = template(scope)
        response.headers.append(("Cache-Control", "no-store"))
        response.body, response.length = bytes(sent), len(sent)
        response.error = scope.get("moorage.error")
        return response


def _scope(request: Request, identity: Identity) -> Scope:
    return {
        "type": "http",
        "asgi": {"version": "3.0", "spec_version": "2.4"},
        "http_version": "1.1",
        "method": "GET" if request.method == "HEAD" else request.method,
        "scheme": request.scheme,
        "path": request.path,
        "raw_path": request.path.encode(),
        "query_string": request.query.encode(),
        "root_path": "",
        "headers": [(name.encode("latin-1"), value.encode("latin-1")) for name, value in request.headers],
        "client": (request.peer, 0),
        "server": None,
        "moorage.request": request,
        "moorage.identity": identity,
    }


async def _body(request: Request) -> bytes:
    """Raises REQUEST_INVALID for one that is no JSON by its type, or too long.

    A page of another site can make a browser post a form with the credentials it remembers, but not JSON.
    """
    content = bytearray()
    async for piece in request.body:
        content += piece
        if len(content) > _LONGEST:
            raise RegistryError(Code.REQUEST_INVALID, f"the body is larger than {_LONGEST} bytes")
    media_type = (request.header("content-type") or "").partition(";")[0].strip().lower()
    if content and media_type != "application/json":
        raise RegistryError(Code.REQUEST_INVALID, "the body has to be JSON; say so with Content-Type: application/json")
    return bytes(content)
