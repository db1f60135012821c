"""What kind of message a head begins, where what could be read in two ways is refused.

A proxy in front that sees another request, another host or another end of a body than we do is how it is tricked.
"""

from collections.abc import Mapping, Sequence

from moorage.edge.server.targets import is_host
from moorage.errors import Code, RegistryError

Noted = Mapping[str, Sequence[str]]
"""The values of the headers that the server reads itself, by lower-case name."""


def check_host(version: str, noted: Noted) -> None:
    """HTTP/1.0 or 1.1, with one Host that is one (RFC 9112, section 3.2).  Raises REQUEST_INVALID."""
    if version not in {"1.1", "1.0"}:
        raise RegistryError(Code.REQUEST_INVALID, f"HTTP/{version} is not spoken here; HTTP/1.1 is")
    hosts = noted.get("host", ())
    if len(hosts) > 1 or (not hosts and version == "1.1"):
        raise RegistryError(Code.REQUEST_INVALID, f"the request has {len(hosts)} Host headers; one is wanted")
    if hosts and not is_host(hosts[0]):
        raise RegistryError(Code.REQUEST_INVALID, "the Host header is not a host")


def body_length(version: str, noted: Noted) -> int | None:
    """The body's size in bytes, None for one in chunks (RFC 9112, section 6.3).  Raises REQUEST_INVALID."""
    lengths, codings = noted.get("content-length"), noted.get("transfer-encoding")
    if codings is not None:
        if lengths is not None or [coding.lower() for coding in codings] != ["chunked"]:
            raise RegistryError(Code.REQUEST_INVALID, "the only transfer coding is 'chunked', and without a length")
        if version != "1.1":
            raise RegistryError(Code.REQUEST_INVALID, "HTTP/1.0 has no chunked bodies")
        return None
    if lengths is None:
        return 0
    text = lengths[0]
    if len(lengths) > 1 or not (text.isascii() and text.isdigit()) or len(text) > 18:
        raise RegistryError(Code.REQUEST_INVALID, "the request needs one Content-Length in decimal digits")
    return int(text)


def expects_continue(version: str, noted: Noted) -> bool:
    """Whether the client waits for `100 Continue` before it sends its body."""
    return version == "1.1" and any(value.lower() == "100-continue" for value in noted.get("expect", ()))
