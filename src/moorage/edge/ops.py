"""Health, and the one handler in front of everything."""

import json
from collections.abc import Awaitable, Callable, Mapping

from moorage.edge.dress import beneath
from moorage.edge.http import Handler, Request, Response, render
from moorage.errors import Code, RegistryError
from moorage.telemetry.metrics import exposition

Check = Callable[[], Awaitable[None]]


def front(v2: Handler, checks: Mapping[str, Check], prefix: str = "/") -> Handler:
    """The whole of HTTP: `/v2`, below a prefix if there is one, and health, which is always at the root."""
    base = f"{prefix}v2"
    below = f"{base}/"
    if prefix != "/":
        v2 = beneath(prefix, v2)

    async def respond(request: Request) -> Response:
        path = request.path
        if path.startswith(below) or path == base:
            return await v2(request)
        if path in {"/livez", "/healthz", "/startupz"}:
            request.route = path
            return Response(200, [("Content-Type", "text/plain")], b"ok\n")
        if path == "/readyz":
            request.route = path
            return await _ready(request, checks)
        return render(RegistryError(Code.PATH_UNKNOWN, f"there is nothing at this address; the registry is at {below}"))

    return respond


async def _ready(request: Request, checks: Mapping[str, Check]) -> Response:
    """200 while the database and the storage can be used; `?verbose` says which cannot, and why."""
    results: dict[str, str] = {}
    for name, check in checks.items():
        try:
            await check()
        except RegistryError as error:
            results[name] = error.message
        else:
            results[name] = "ok"
    healthy = all(result == "ok" for result in results.values())
    status = 200 if healthy else 503
    if request.query.startswith("verbose"):
        return Response(status, [("Content-Type", "application/json")], json.dumps(results).encode())
    return Response(status, [("Content-Type", "text/plain")], b"ok\n" if healthy else b"not ready\n")


def measurements(path: str) -> Handler:
    """What the debug address serves: the metrics, at `path`, for Prometheus."""

    async def respond(request: Request) -> Response:
        request.route = path
        if request.path != path:
            return render(RegistryError(Code.PATH_UNKNOWN, f"the metrics are at {path}"))
        content, media_type = exposition()
        return Response(200, [("Content-Type", media_type)], content)

    return respond
