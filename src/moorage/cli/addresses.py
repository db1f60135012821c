"""The addresses that a registry listens on, as they are written."""

from typing import Final

from moorage.errors import Code, RegistryError

_EVERYWHERE: Final = frozenset({"0.0.0.0", "::"})  # noqa: S104 - only compared
_THIS_MACHINE: Final = frozenset({"127.0.0.1", "::1", "localhost"})


def host_and_port(text: str) -> tuple[str, int]:
    """`HOST:PORT` in two.  Raises REQUEST_INVALID."""
    host, colon, port = text.rpartition(":")
    if not colon or not port.isdigit() or int(port) > 65535:
        raise RegistryError(Code.REQUEST_INVALID, f"cannot listen on {text!a}: write HOST:PORT, as in 127.0.0.1:5000")
    return host.strip("[]") or "0.0.0.0", int(port)  # noqa: S104 - what Docker Registry's ':5000' means


def check_apart(listen: str, debug: str | None) -> None:
    """Raise REQUEST_INVALID where the debug address is the one that clients are served at.

    The system would let both be listened on, and whoever comes would reach either.
    """
    if debug is None or listen.startswith("/"):
        return
    (host, port), (other, other_port) = host_and_port(listen), host_and_port(debug)
    same = host == other or bool({host, other} & _EVERYWHERE) or {host, other} <= _THIS_MACHINE
    if port and port == other_port and same:
        raise RegistryError(
            Code.REQUEST_INVALID,
            f"http.debug.addr ({debug}) is where clients are served ({listen}); give it a port of its own",
        )
