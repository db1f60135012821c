"""Blobs whose bytes are damaged: marked, so that nobody is served them, and told to those that hold them."""

from typing import Final

from moorage.access.actor import SYSTEM
from moorage.db import blobs, events
from moorage.db.blobs import Blob
from moorage.db.engine import Tx

_TOLD: Final = 64
"""At most how many repositories hear of it."""


def condemn(tx: Tx, blob: Blob, reason: str, now: int) -> bool:
    """Serve the blob no more until it is pushed again.  False where it was known, or has other bytes by now."""
    if not blobs.condemn(tx, blob, reason):
        return False
    tell(tx, blob, "blob.damaged", {"reason": reason}, now)
    return True


def tell(tx: Tx, blob: Blob, kind: str, facts: dict[str, object], now: int) -> None:
    """Write an event of this kind for repositories that hold the blob."""
    for name in blobs.holders(tx, blob.digest, _TOLD):
        events.append(tx, kind, name.value, SYSTEM.name, {"digest": str(blob.digest), **facts}, now)
