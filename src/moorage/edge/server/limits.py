"""How much, and how long, one connection may ask of the server."""

from dataclasses import dataclass
from typing import Final

KIB: Final = 1024
MIB: Final = 1024 * KIB


@dataclass(frozen=True, slots=True)
class Limits:
    """Times are in seconds and are noticed up to a quarter of the shortest of them late (at most one second)."""

    header_bytes: int = 64 * KIB
    """The largest request line and header together; a larger one is answered 431."""
    header_seconds: float = 10
    """From a request's first byte to the end of its header (and the longest TLS handshake); then 408."""
    idle_seconds: float = 75
    """How long a connection may wait for its next request before it is closed."""
    body_seconds: float = 60
    """How long a body that is being read may take for its next 16 KiB, or its end; then 408."""
    send_seconds: float = 60
    """How long a client may take nothing of its answer; then the connection is aborted."""
    drain_seconds: float = 5
    """How long running exchanges may go on once the server is told to stop."""
    unsent_bytes: int = 256 * MIB
    """How much of answers may wait in memory for clients that do not take them; then the oldest are aborted."""
    connections: int | None = None
    """The most connections at a time; further ones are answered 503 and closed."""

    @property
    def tick(self) -> float:
        """The rhythm in which every connection's times are looked at."""
        shortest = min(self.header_seconds, self.idle_seconds, self.body_seconds, self.send_seconds)
        return max(0.02, min(1.0, shortest / 4))
