"""How much of everything."""

from dataclasses import dataclass

MIB = 1024 * 1024
GIB = 1024 * MIB


@dataclass(frozen=True, slots=True)
class Scale:
    """Sizes in bytes; the other numbers count."""

    seconds: int = 1
    """How long a sample of small reads takes."""
    blob: int = 64 * MIB
    pulls: int = 8
    """Large pulls in a sample."""
    pushes: int = 3
    images: int = 15
    tags: int = 40
    """Tags pushed in a sample."""
    repositories: tuple[int, ...] = (1, 1_000, 10_000, 100_000, 1_000_000)
    """Tags that repositories have before."""
    shared: int = 10_000
    """The most tags and repositories that peers get too; above, only Moorage."""
    catalog: int = 100_000
    """Repositories."""
    manifests: int = 10_000
    """Manifests in the repository whose referrers are asked for."""
    idle: float = 5.0
    """Seconds in which nobody asks for anything."""
    blobs: int = 1_000_000
    """Blobs among which some are dead."""
    dead: int = 6_000
    calm: float = 5.0
    """Seconds of pulls to which those beside the collector are compared."""
    crowd: int = 32
    crowd_blob: int = 256 * MIB
    users: int = 100_000
    organisations: int = 10_000
    rules: int = 1_000_000
    decisions: int = 2_000


QUICK = Scale(
    pulls=4,
    pushes=1,
    images=5,
    tags=15,
    repositories=(1, 2_000),
    shared=2_000,
    catalog=2_000,
    idle=1.0,
    blobs=100_000,
    dead=600,
    calm=2.0,
    crowd=8,
    crowd_blob=64 * MIB,
    users=10_000,
    organisations=1_000,
    rules=100_000,
    decisions=500,
)
"""Enough for a first look."""

TINY = Scale(
    blob=2 * MIB,
    pulls=2,
    pushes=1,
    images=1,
    tags=2,
    repositories=(1, 300),
    shared=300,
    catalog=300,
    manifests=100,
    idle=0.3,
    blobs=1_000,
    dead=60,
    calm=1.0,
    crowd=4,
    crowd_blob=4 * MIB,
    users=100,
    organisations=10,
    rules=500,
    decisions=20,
)
"""To see that everything works: its figures mean nothing."""
