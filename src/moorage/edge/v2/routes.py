"""The route table: the specification's endpoints (distribution-spec, "Endpoints"), and what each needs.

Paths are read from the right: a repository may itself be called `tags/list` or end in `blobs/uploads`.
"""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Final

from moorage.access.action import Action
from moorage.access.actor import Identity
from moorage.access.permit import Permit
from moorage.access.refusal import nobody
from moorage.access.rules import Rules
from moorage.access.scopes import CATALOG, needed
from moorage.core.registry import Registry
from moorage.edge.challenge import Challenge, identified
from moorage.edge.http import STATUS, Request, Response, render, retry
from moorage.edge.meter import Meter
from moorage.edge.recall import recalled
from moorage.errors import Code, RegistryError
from moorage.oci.names import RepositoryName, shown
from moorage.telemetry import logger

log: Final = logger("moorage.v2")


@dataclass(slots=True)
class Call:
    """What a handler is called with: the request, who may do what, and the part of the path behind the noun."""

    registry: Registry
    rules: Rules
    request: Request
    identity: Identity
    rest: str
    permit: Permit
    settings: "V2"

    async def permit_again(self, action: Action) -> None:
        """Ask anew what the request's sender may do, once its body has come: meanwhile every right may have ended.

        Raises as the asking before.
        """
        repository = self.permit.repository
        self.identity = await identified(self.rules, self.request, lambda: needed(repository, action))
        self.permit = await self.rules.permit(self.identity, repository, action)


LARGE_MANIFESTS: Final = 16
"""How many manifests of megabytes are held in memory at a time; further ones wait, unread."""


@dataclass(frozen=True, slots=True)
class V2:
    """Settings of the protocol."""

    catalog_most: int = 1000
    tags_most: int = 1000
    accel: str | None = None
    """Below which path of its own a trusted proxy finds the stored files and sends them; None where it does not."""
    large_manifests: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(LARGE_MANIFESTS))
    """Places for large manifests on their way in."""


Handler = Callable[[Call], Awaitable[Response]]
Catalog = Callable[[Registry, Rules, Request, Identity, int], Awaitable[Response]]


@dataclass(frozen=True, slots=True)
class Row:
    """One endpoint: the specification's names for it, its template, and per method a handler and what it needs."""

    spec: str
    template: str
    methods: dict[str, tuple[Handler, Action]]


class Router:
    """Finds the row, mints the permit, calls the handler, and renders what it raises."""

    def __init__(
        self,
        registry: Registry,
        rules: Rules,
        rows: dict[str, Row],
        catalog: Catalog,
        v2: V2,
        challenge: Challenge | None = None,
        meter: Meter | None = None,
    ) -> None:
        self._registry, self._rules, self._rows, self._catalog, self._v2 = registry, rules, rows, catalog, v2
        self._challenge, self._meter = challenge, meter

    async def respond(self, request: Request) -> Response:
        """Answer any request below `/v2`.  Raises only `Interrupted`."""
        try:
            response = await self._dispatch(request)
        except RegistryError as error:
            # Not kept in a variable here: its traceback has this frame, and what the request held would stay with both.
            response = self._refusal(request, _as_read(error) if request.method in {"GET", "HEAD"} else error)
        response.headers.append(_SANDBOX)
        return response

    def _refusal(self, request: Request, error: RegistryError) -> Response:
        if request.method == "OPTIONS" and "allow" in error.detail:
            # What browsers ask before a request from another site; what they are told is in http.headers.
            return Response(200, _headers(error))
        if error.code is Code.UNSUPPORTED and "allow" not in error.detail:
            _, noun, _ = split(request.path[4:])
            return render(error, ("Allow", ", ".join(sorted(self._rows[noun].methods.keys() - {request.method}))))
        if STATUS[error.code] >= 500:
            log.warning("a request failed", code=error.code.name, error=error.message, cause=str(error.__cause__))
        return render(error, *_headers(error), *self._challenged(request, error))

    def _challenged(self, request: Request, error: RegistryError) -> list[tuple[str, str]]:
        if error.code is not Code.UNAUTHORIZED or self._challenge is None:
            return []
        return [("WWW-Authenticate", self._challenge.header(request, error))]

    async def _identify(self, request: Request, scope: Callable[[], str] | None) -> Identity:
        identity = await identified(self._rules, request, scope)
        self._note(request, identity)
        return identity

    def _recognise(self, request: Request) -> Identity | None:
        """The same, where it is remembered."""
        identity = self._rules.recognised(request.header("authorization"), request.peer, request.certificate)
        if identity is not None:
            self._note(request, identity)
        return identity

    def _note(self, request: Request, identity: Identity) -> None:
        request.facts["actor"] = identity.actor.name
        if self._meter is not None:
            self._meter.known(request, identity)

    def _dispatch(self, request: Request) -> Awaitable[Response]:
        """The answer on its way.  Where everything is remembered, there is no step but the handler's own."""
        path = request.path[3:]
        if path in {"", "/"}:
            return self._ping(request)
        if path in {"/_catalog", "/_catalog/"}:
            return self._list(request)
        name, noun, rest = split(path[1:])
        row = self._rows[noun]
        request.route = row.template
        found = row.methods.get(request.method)
        if found is None:
            raise not_allowed(request, row.methods)
        repository = RepositoryName.parse(name)
        request.facts = {"repo": name, "ref": rest}
        handler, action = found
        identity = self._recognise(request)
        permit = None if identity is None else self._rules.remembered(identity, repository, action)
        if identity is None or permit is None:
            return self._decide(request, identity, repository, found, rest)
        return self._handle(handler, request, identity, rest, permit)

    async def _decide(
        self,
        request: Request,
        identity: Identity | None,
        repository: RepositoryName,
        wanted: tuple[Handler, Action],
        rest: str,
    ) -> Response:
        handler, action = wanted
        if identity is None:
            identity = await self._identify(request, lambda: needed(repository, action))
        permit = await self._rules.permit(identity, repository, action)
        return await self._handle(handler, request, identity, rest, permit)

    def _handle(
        self, handler: Handler, request: Request, identity: Identity, rest: str, permit: Permit
    ) -> Awaitable[Response]:
        if self._meter is not None:
            self._meter.let_in(request, identity)
        return handler(Call(self._registry, self._rules, request, identity, rest, permit, self._v2))

    async def _list(self, request: Request) -> Response:
        request.route = "/v2/_catalog"
        if request.method not in {"GET", "HEAD"}:
            raise not_allowed(request, {"GET": None, "HEAD": None})
        identity = await self._identify(request, lambda: CATALOG)
        if self._meter is not None:
            self._meter.let_in(request, identity)
        return await self._catalog(self._registry, self._rules, request, identity, self._v2.catalog_most)

    async def _ping(self, request: Request) -> Response:
        """end-1: clients learn here whether, and where, they have to sign in."""
        request.route = "/v2/"
        if request.method not in {"GET", "HEAD"}:
            raise not_allowed(request, {"GET": None, "HEAD": None})
        identity = await self._identify(request, None)
        if self._challenge is not None and not identity.known:
            raise RegistryError(Code.UNAUTHORIZED, f"{nobody(identity)}; sign in (docker login), or ask for a token")
        if self._meter is not None:
            self._meter.let_in(request, identity)
        return Response(200, [("Content-Type", "application/json")], b"{}")


_SANDBOX: Final = ("Content-Security-Policy", "default-src 'none'; sandbox")
"""What was pushed is never a page on our own origin, whatever a browser takes it for."""

_ABSENT: Final = {Code.NAME_INVALID: Code.NAME_UNKNOWN, Code.TAG_INVALID: Code.MANIFEST_UNKNOWN}
_NOUNS: Final = ("manifests", "blobs", "referrers")
_ENDS: Final = {
    "/tags/list": "tags",
    "/tags/list/": "tags",
    "/blobs/uploads/": "uploads",
    "/blobs/uploads": "uploads",
}


@recalled(4096)
def split(path: str) -> tuple[str, str, str]:
    """Repository name, noun and the rest of a path below `/v2/`.  Raises PATH_UNKNOWN."""
    for suffix, noun in _ENDS.items():
        if path.endswith(suffix):
            return path[: -len(suffix)], noun, ""
    head, slash, rest = path.rpartition("/")
    if slash and head.endswith("/blobs/uploads"):
        return head[: -len("/blobs/uploads")], "upload", rest
    for noun in _NOUNS:
        if slash and head.endswith(f"/{noun}"):
            return head[: -len(noun) - 1], noun, rest
    # A reference may itself hold slashes only where it is malformed; say so rather than "not found".
    for noun in _NOUNS:
        before, found, behind = path.partition(f"/{noun}/")
        if found and before:
            return before, noun, behind
    raise RegistryError(
        Code.PATH_UNKNOWN,
        f"there is no endpoint at {shown('/v2/' + path)}; below a repository's name there are /manifests/, /blobs/, "
        "/blobs/uploads/, /tags/list and /referrers/",
        path=path[:200],
    )


def not_allowed(request: Request, methods: object) -> RegistryError:
    """405, with what is allowed instead."""
    allowed = sorted(methods) if isinstance(methods, dict) else []
    return RegistryError(
        Code.UNSUPPORTED,
        f"{shown(request.method)} is not supported at this address; use {', '.join(allowed)}",
        allow=allowed,
    )


def _headers(error: RegistryError) -> list[tuple[str, str]]:
    allow = error.detail.get("allow")
    if isinstance(allow, list):
        return [("Allow", ", ".join(allow))]
    if error.code is Code.RANGE_INVALID and "size" in error.detail:
        return [("Content-Range", f"bytes */{error.detail['size']}")]
    return retry(error)


def _as_read(error: RegistryError) -> RegistryError:
    """What can't have been pushed isn't here: to readers an impossible name is an unknown one (404).

    crane, oras and helm ask with HEAD before they push.  At 400 they stop, and a HEAD has no body to tell them why;
    at 404 they go on to the POST or PUT, whose refusal they show.
    """
    code = _ABSENT.get(error.code)
    return error if code is None else RegistryError(code, error.message, **error.detail)
