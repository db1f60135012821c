"""Requests and responses: what every handler takes and gives, and how an error looks.

A handler is `async def handler(request) -> Response`.  It knows neither the connection nor ASGI; both are thin
adapters around it (`edge/server`, `edge/asgi.py`).
"""

import json
from collections.abc import AsyncIterator, Callable, Coroutine
from dataclasses import dataclass, field
from typing import Any, Final, Protocol
from urllib.parse import parse_qsl

from moorage.access.certificates import Certificate
from moorage.edge.recall import recalled
from moorage.errors import Code, RegistryError

STATUS: Final[dict[Code, int]] = {
    Code.BLOB_UNKNOWN: 404,
    Code.BLOB_UPLOAD_INVALID: 400,
    Code.BLOB_UPLOAD_UNKNOWN: 404,
    Code.DIGEST_INVALID: 400,
    Code.MANIFEST_BLOB_UNKNOWN: 400,
    Code.MANIFEST_INVALID: 400,
    Code.MANIFEST_UNKNOWN: 404,
    Code.NAME_INVALID: 400,
    Code.NAME_UNKNOWN: 404,
    Code.SIZE_INVALID: 400,
    Code.UNAUTHORIZED: 401,
    Code.DENIED: 403,
    Code.UNSUPPORTED: 405,
    Code.TOOMANYREQUESTS: 429,
    Code.TAG_INVALID: 400,
    Code.PAGINATION_NUMBER_INVALID: 400,
    Code.RANGE_INVALID: 416,
    Code.UNAVAILABLE: 503,
    Code.UNKNOWN: 500,
    Code.ACCOUNT_UNKNOWN: 404,
    Code.CONFLICT: 409,
    Code.HEADERS_TOO_LARGE: 431,
    Code.MANIFEST_TOO_LARGE: 413,
    Code.PATH_UNKNOWN: 404,
    Code.PRECONDITION_FAILED: 412,
    Code.QUERY_INVALID: 400,
    Code.REQUEST_INVALID: 400,
    Code.REQUEST_TIMEOUT: 408,
    Code.STORAGE_FULL: 507,
    Code.TOO_MANY_TAGS: 414,
}
"""The HTTP status of every code: the only table of them."""

PARAMETERS: Final = 1000
"""Most parameters of a query string."""

Header = tuple[str, str]


class Body(Protocol):
    """A request's body on its way in.

    Iterating gives pieces of at most about 1 MiB; each is valid until the next is asked for.  Raises
    `Interrupted` when the client goes away before the end and REQUEST_TIMEOUT when it stalls.
    """

    length: int | None
    """Content-Length in bytes; None for a body in chunks, 0 where there is none."""

    def __aiter__(self) -> AsyncIterator[bytes | memoryview]: ...

    def at_hand(self) -> memoryview | None:
        """For a thread that has used a piece: one that has come meanwhile, in its place.

        None where the next has to be waited for.  Raises REQUEST_INVALID.
        """
        ...


@dataclass(slots=True)
class Request:
    """One HTTP request, its header complete, its body perhaps still on its way.

    `path` is percent-decoded once; `headers` names are lower case, values Latin-1 text.
    """

    method: str
    path: str
    query: str
    headers: list[Header]
    body: Body
    peer: str
    scheme: str
    id: str
    route: str = ""
    """The matched route's template, for metrics and logs."""
    facts: dict[str, object] = field(default_factory=dict)
    """What handlers want the access log to know: actor, repository, reference."""
    certificate: Certificate | None = None
    """What the client showed of itself in the TLS handshake, verified; None where that is to prove nothing."""
    proxied: bool = False
    """Whether a trusted proxy asks, for whomever."""

    def header(self, name: str) -> str | None:
        """The first value of a header, or None; `name` in lower case."""
        for key, value in self.headers:
            if key == name:
                return value
        return None

    def header_list(self, name: str) -> list[str]:
        """Every value of a header that may come in several lines or as one comma-separated line."""
        return [part.strip() for key, value in self.headers if key == name for part in value.split(",")]

    def parameters(self, name: str) -> list[str]:
        """Every value of a query parameter, decoded.  Raises QUERY_INVALID for a query that cannot be read."""
        if not self.query:
            return []
        try:
            pairs = _pairs(self.query)
        except UnicodeDecodeError:
            raise _unreadable(self.query, "its percent-encoded bytes are not UTF-8 text") from None
        except ValueError:
            raise _unreadable(self.query, f"it has more than {PARAMETERS} parameters") from None
        values = [value for key, value in pairs if key == name]
        if any("\0" in value for value in values):
            raise _unreadable(self.query, f"the parameter '{name}' holds a NUL")
        return values

    def parameter(self, name: str) -> str | None:
        """The only value of a query parameter, or None.  Raises QUERY_INVALID where it is sent twice."""
        values = self.parameters(name)
        if len(set(values)) > 1:
            raise RegistryError(
                Code.QUERY_INVALID,
                f"the query parameter '{name}' is given {len(values)} times with different values; give it once",
                parameter=name,
            )
        return values[0] if values else None


@recalled(64)
def _pairs(query: str) -> list[tuple[str, str]]:
    """The parameters of a query, of which a request asks for several one by one."""
    return parse_qsl(query, keep_blank_values=True, max_num_fields=PARAMETERS, errors="strict")


def _unreadable(query: str, reason: str) -> RegistryError:
    return RegistryError(Code.QUERY_INVALID, f"the query string cannot be read: {reason}", query=query[:200])


@dataclass(frozen=True, slots=True)
class FileRange:
    """Bytes `start` to `start + count` of an open file, to be sent by the kernel.  The sender closes `fd`."""

    fd: int
    start: int
    count: int


@dataclass(slots=True)
class Response:
    """An answer.  `length` is the body's size in bytes; None streams it in chunks.

    For a HEAD request the handler answers as for GET, except that it need not open a body: `length` says how
    long it would be.  Content-Length, Date, Server-wide headers and framing are added by the adapter.
    """

    status: int = 200
    headers: list[Header] = field(default_factory=list)
    body: bytes | FileRange | AsyncIterator[bytes] = b""
    length: int | None = -1
    """-1: take it from the body, where that is bytes or a file range."""
    error: Code | None = None
    """The code of the error this answer renders, for logs and metrics."""

    def __post_init__(self) -> None:
        if self.length == -1:
            if isinstance(self.body, bytes):
                self.length = len(self.body)
            elif isinstance(self.body, FileRange):
                self.length = self.body.count
            else:
                self.length = None


Handler = Callable[[Request], Coroutine[Any, Any, Response]]
"""Never raises anything but `Interrupted` and `asyncio.CancelledError`: errors are rendered inside."""

Observer = Callable[[Request, Response, int, float], None]
"""Told of every finished exchange: request, response, body bytes sent, seconds since its header was complete."""


_SOON: Final = 2
"""Seconds after which it is worth trying again where the error does not say."""


def retry(error: RegistryError) -> list[Header]:
    """Retry-After (RFC 9110 §10.2.3) for errors that pass by themselves: what the error says in `retry_after`."""
    if error.code not in {Code.UNAVAILABLE, Code.TOOMANYREQUESTS}:
        return []
    return [("Retry-After", str(error.detail.get("retry_after", _SOON)))]


def render(error: RegistryError, *headers: Header) -> Response:
    """The one place where a failure becomes an answer: the specification's error body ("Error Codes")."""
    entry: dict[str, object] = {"code": error.code.name, "message": error.message}
    if error.detail:
        entry["detail"] = error.detail
    body = json.dumps({"errors": [entry]}).encode()
    return Response(STATUS[error.code], [("Content-Type", "application/json"), *headers], body, error=error.code)
