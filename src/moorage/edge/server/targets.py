"""The request's target and Host, as strict as a registry needs: one meaning or none.

A path that two programs read differently is how a proxy in front is tricked.
"""

import re
from functools import lru_cache
from typing import Final
from urllib.parse import unquote_to_bytes

from moorage.edge.recall import recalled
from moorage.errors import Code, RegistryError

_BAD_ESCAPE: Final = re.compile(rb"%(?![0-9A-Fa-f]{2})")
_ABSOLUTE: Final = re.compile(rb"https?://([^/?#]*)(.*)", re.IGNORECASE | re.DOTALL)
_HOST: Final = re.compile(
    r"(?:[A-Za-z0-9](?:[A-Za-z0-9._~-]|%[0-9A-Fa-f]{2})*|\[[0-9A-Fa-f:.]{2,45}\])(?::[0-9]{0,5})?",
)
_HOST_LENGTH: Final = 261
"""A name of 255 characters, a colon, five digits."""


@recalled(4096)
def read_target(target: bytes) -> tuple[str, str, str | None]:
    """Path (percent-decoded once), raw query, and the authority of an absolute form.  Raises REQUEST_INVALID."""
    authority = None
    if not target.startswith(b"/"):
        absolute = _ABSOLUTE.fullmatch(target)
        if absolute is None:
            raise RegistryError(Code.REQUEST_INVALID, "the request target must be a path")
        authority = absolute[1].decode("latin-1")
        if not is_host(authority):
            raise RegistryError(Code.REQUEST_INVALID, "the request target names no host")
        target = absolute[2]
        if not target.startswith(b"/"):
            target = b"/" + target
    raw, _, query = target.partition(b"?")
    if b"#" in target:
        raise RegistryError(Code.REQUEST_INVALID, "the request target holds a fragment")
    try:
        return decode_path(raw), query.decode("utf-8"), authority
    except UnicodeDecodeError as reason:
        raise RegistryError(Code.REQUEST_INVALID, "the request target is not UTF-8") from reason


def decode_path(raw: bytes) -> str:
    """Percent-decode a path once, all but slashes.  Raises REQUEST_INVALID or UnicodeDecodeError."""
    if b"%" not in raw:
        return raw.decode("utf-8")
    if _BAD_ESCAPE.search(raw):
        raise RegistryError(Code.REQUEST_INVALID, "the path holds a '%' that no two hexadecimal digits follow")
    # An encoded slash stays encoded: decoded here and not in a proxy in front, it would be another path.
    decoded = unquote_to_bytes(raw.replace(b"%2F", b"%252F").replace(b"%2f", b"%252F"))
    if b"\0" in decoded:
        raise RegistryError(Code.REQUEST_INVALID, "the path holds a NUL")
    return decoded.decode("utf-8")


def is_host(text: str) -> bool:
    """Whether a Host header's value is a name or address, with or without a port."""
    return len(text) <= _HOST_LENGTH and _is_host(text)


@lru_cache(maxsize=1024)
def _is_host(text: str) -> bool:
    return _HOST.fullmatch(text) is not None
