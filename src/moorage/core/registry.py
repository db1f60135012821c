"""What every core verb stands on: rows, bytes, a clock, the gates and the settings that shape the protocol."""

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final

from moorage.access.permit import Permit
from moorage.core.ports import Act, Gate
from moorage.db.engine import Database, Tx
from moorage.errors import Code, RegistryError
from moorage.storage.store import BlobStore

SECOND: Final = 1_000_000
"""In the microseconds that rows keep."""

DAY: Final = 24 * 3600 * SECOND


def wall_clock() -> int:
    """Microseconds since the epoch."""
    return time.time_ns() // 1000


@dataclass(frozen=True, slots=True)
class Policy:
    """The settings that shape the protocol.  Times are in microseconds, sizes in bytes."""

    sparse: bool = False
    """Accept manifests whose blobs or children are missing."""
    platforms: frozenset[tuple[str, str]] | None = None
    """The children of an index that have to be there, by operating system and architecture; None means all."""
    delete: bool = True
    read_only: bool = False
    urls_allowed: tuple[str, ...] = ()
    urls_denied: tuple[str, ...] = ()
    manifest_bytes: int = 4 * 1024 * 1024
    tags_per_push: int = 100
    lease: int = DAY
    """How long content stays that nothing refers to."""
    undo: int = 7 * DAY
    """How long what was deleted can be brought back."""
    reserve: int = 64 * 1024 * 1024
    """What pushes leave free, on the disk of the blobs and of the database."""


def read_only() -> RegistryError:
    """What everything that would change something is answered in maintenance."""
    return RegistryError(
        Code.UNSUPPORTED,
        "the registry is read-only for now (storage.maintenance.readonly); pull works, try this again later",
        setting="storage.maintenance.readonly",
    )


@dataclass(frozen=True, slots=True)
class Registry:
    """The first argument of every core verb."""

    db: Database
    store: BlobStore
    policy: Policy = field(default_factory=Policy)
    gates: tuple[Gate, ...] = ()
    now: Callable[[], int] = wall_clock

    def ask_gates(self, tx: Tx, permit: Permit, act: Act) -> None:
        """Let every gate see the act before it becomes a fact.  Raises the first refusal."""
        for gate in self.gates:
            gate.check(tx, permit, act)
