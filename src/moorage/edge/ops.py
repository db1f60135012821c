"""Health, and the one handler in front of everything."""

import asyncio
import json
from collections.abc import Awaitable, Callable, Coroutine, Mapping
from typing import Any, Final

from moorage.edge.dress import beneath
from moorage.edge.http import Handler, Request, Response, render
from moorage.edge.token import KEYS, PATHS, TokenEndpoint
from moorage.errors import Code, RegistryError
from moorage.telemetry import begin_request, logger
from moorage.telemetry.metrics import exposition

Check = Callable[[], Awaitable[None]]
Checks = Mapping[str, Check]
"""By the name of a part, what raises where that part cannot be used."""

log: Final = logger("moorage.health")

_ALIVE: Final = frozenset({"/livez", "/healthz", "/startupz"})


def front(
    v2: Handler,
    checks: Checks,
    prefix: str = "/",
    tokens: TokenEndpoint | None = None,
    api: Handler | None = None,
) -> Handler:
    """The whole of HTTP: `/v2`, below a prefix if there is one; the others are always at the root."""
    base = f"{prefix}v2"
    below = f"{base}/"
    if prefix != "/":
        v2 = beneath(prefix, v2)

    async def others(request: Request) -> Response:
        answer = await _health(request, checks)
        return answer or _nothing(f"there is nothing at this address; the registry is at {below}")

    def respond(request: Request) -> Coroutine[Any, Any, Response]:
        begin_request(request.id)
        path = request.path
        if path.startswith(below) or path == base:
            return v2(request)
        if tokens is not None and (path in PATHS or path == KEYS):
            return tokens.respond(request)
        if api is not None and path.startswith("/api/"):
            return api(request)
        return others(request)

    return respond


def private(checks: Checks, metrics: str | None, expose: Callable[[], tuple[bytes, str]] = exposition) -> Handler:
    """What the debug address serves: health, and at the path `metrics` what `expose` gives for Prometheus."""

    async def respond(request: Request) -> Response:
        begin_request(request.id)
        if request.path == metrics:
            request.route = metrics
            content, media_type = await asyncio.to_thread(expose)  # with many routes it takes a while
            return Response(200, [("Content-Type", media_type)], content)
        if request.path == "/debug/health":
            request.route = request.path
            failing = await _failing(checks)
            return _json(503 if failing else 200, failing)
        answer = await _health(request, checks)
        return answer or _nothing(f"here are {metrics or 'no metrics (http.debug.prometheus)'} and /debug/health")

    return respond


async def _health(request: Request, checks: Checks) -> Response | None:
    """Whether the process lives, and whether it can do its work; None for any other address."""
    if request.path in _ALIVE:
        request.route = request.path
        return _text(200, b"ok\n")
    if request.path != "/readyz":
        return None
    request.route = request.path
    failing = await _failing(checks)
    status = 503 if failing else 200
    if any(part.partition("=")[0] == "verbose" for part in request.query.split("&")):
        # Why is told in the log and at the debug address: here anybody may ask, and reasons name folders and hosts.
        return _json(status, {part: "failing" if part in failing else "ok" for part in checks})
    return _text(status, b"not ready: %b\n" % ", ".join(failing).encode() if failing else b"ok\n")


async def _failing(checks: Checks) -> dict[str, str]:
    """The parts that cannot be used, and why."""
    await asyncio.sleep(0)  # a handler's first step is no task's, and a check may need one for its timeout
    failing: dict[str, str] = {}
    for name, check in checks.items():
        try:
            await check()
        except RegistryError as error:
            failing[name] = error.message
            log.warning("the registry is not ready", part=name, error=error.message, cause=str(error.__cause__))
    return failing


def _text(status: int, content: bytes) -> Response:
    return Response(status, [("Content-Type", "text/plain"), ("Cache-Control", "no-store")], content)


def _json(status: int, content: dict[str, str]) -> Response:
    headers = [("Content-Type", "application/json"), ("Cache-Control", "no-store")]
    return Response(status, headers, json.dumps(content).encode())


def _nothing(words: str) -> Response:
    return render(RegistryError(Code.PATH_UNKNOWN, words))
