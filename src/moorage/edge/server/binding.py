"""Sockets with an address that do not listen yet: until they do, whoever connects is refused."""

import socket
import stat
from contextlib import suppress
from pathlib import Path


def bound(host: str, port: int) -> list[socket.socket]:
    """One socket for each address of `host`; port 0 lets the system choose.  Raises OSError."""
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    sockets: list[socket.socket] = []
    try:
        for family, kind, protocol, _, address in dict.fromkeys(found):
            one = socket.socket(family, kind, protocol)
            sockets.append(one)
            one.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            if family == socket.AF_INET6:
                one.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
            one.bind(address)
            one.setblocking(False)
    except OSError:
        for one in sockets:
            one.close()
        raise
    return sockets


def bound_unix(path: str) -> socket.socket:
    """A socket at `path`, in place of one that is there.  Raises OSError."""
    with suppress(FileNotFoundError):
        if stat.S_ISSOCK(Path(path).stat().st_mode):
            Path(path).unlink()
    one = socket.socket(socket.AF_UNIX)
    try:
        one.bind(path)
    except OSError:
        one.close()
        raise
    one.setblocking(False)
    return one
