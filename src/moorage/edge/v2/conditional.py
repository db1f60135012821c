"""Conditional requests: ETags are digests (RFC 9110 §13)."""

from moorage.core.precondition import ALWAYS, Precondition
from moorage.edge.http import Request
from moorage.oci.digest import Digest


def unchanged(request: Request, digest: Digest) -> bool:
    """Whether If-None-Match names what we would send."""
    if request.header("if-none-match") is None:
        return False
    wanted = {"*", str(digest)}
    return not wanted.isdisjoint(map(_tag, request.header_list("if-none-match")))


def precondition(request: Request) -> Precondition:
    """What must be true of the reference before anything is changed."""
    match, none_match = request.header_list("if-match"), request.header_list("if-none-match")
    if not match and not none_match:
        return ALWAYS
    return Precondition(
        # Nothing weak matches strongly (RFC 9110 §8.8.3.2).
        frozenset(_tag(value) for value in match if not value.startswith("W/")) if match else None,
        frozenset(_tag(value) for value in none_match) if none_match else None,
    )


def _tag(value: str) -> str:
    return value.removeprefix("W/").strip('"')
