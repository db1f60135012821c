"""How much and how long: the bounds of every connection."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Limits:
    """Sizes in bytes, times in seconds."""

    header_bytes: int = 64 * 1024
    header_seconds: float = 10
    idle_seconds: float = 75
    """How long a connection may wait for its next request."""
    body_seconds: float = 60
    """How long a body may stand still."""
    send_seconds: float = 60
    """How long a client may read nothing of an answer."""
