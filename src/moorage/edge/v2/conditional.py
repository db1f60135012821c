"""Conditional requests: ETags are digests (RFC 9110 §13)."""

from moorage.edge.http import Request
from moorage.oci.digest import Digest


def unchanged(request: Request, digest: Digest) -> bool:
    """Whether If-None-Match names what we would send."""
    return any(_tag(value) in {"*", str(digest)} for value in request.header_list("if-none-match"))


def _tag(value: str) -> str:
    return value.removeprefix("W/").strip('"')
