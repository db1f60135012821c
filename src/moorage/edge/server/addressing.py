"""Where a request goes and who sends it, by one reading of its target, its Host and what proxies added."""

from moorage.edge.http import Request
from moorage.edge.server.framing import Noted, check_host
from moorage.edge.server.proxies import FORWARDED, Trust
from moorage.edge.server.targets import read_target


def address(request: Request, target: bytes, version: str, noted: Noted, trust: Trust, *, trusted: bool) -> None:
    """Set path, query, peer, scheme, Host and `proxied` of a request whose peer is the other end of its connection.

    `trusted` says whether that is a proxy of ours.  Raises REQUEST_INVALID.
    """
    check_host(version, noted)
    request.proxied = trusted
    request.path, request.query, host = read_target(target)
    if not FORWARDED.isdisjoint(noted):
        if trusted:
            request.peer, request.scheme, named = trust.client(request.peer, request.scheme, noted)
            host = named or host
        # They have had their effect; what is left of them could only mislead somebody.
        request.headers = [field for field in request.headers if field[0] not in FORWARDED]
    if host is not None:
        request.headers = [("host", host), *(field for field in request.headers if field[0] != "host")]
