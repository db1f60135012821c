"""What settings put around every answer: a path in front of `/v2`, further headers."""

from collections.abc import Sequence
from typing import Final

from moorage.edge.http import Handler, Header, Request, Response

_ADDRESSES: Final = frozenset({"Location", "Link"})
"""Headers of ours that hold an address, always one below `/v2/`."""


def beneath(prefix: str, v2: Handler) -> Handler:
    """Docker Registry's `http.prefix`: `v2` as it is at `<prefix>v2/`.  The prefix ends in a slash."""
    cut = len(prefix) - 1

    async def respond(request: Request) -> Response:
        asked, request.path = request.path, request.path[cut:]
        response = await v2(request)
        request.path = asked
        response.headers = [
            (name, value.replace("/v2/", f"{prefix}v2/", 1) if name in _ADDRESSES else value)
            for name, value in response.headers
        ]
        return response

    return respond


def with_headers(extra: Sequence[Header], handler: Handler) -> Handler:
    """Docker Registry's `http.headers`; what an answer says by itself stays as it is."""

    async def respond(request: Request) -> Response:
        response = await handler(request)
        own = {name.lower() for name, _ in response.headers}
        response.headers = [*response.headers, *(one for one in extra if one[0].lower() not in own)]
        return response

    return respond
