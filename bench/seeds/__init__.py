"""Very many of something at once, written where each registry keeps them: pushing them would take most of a run.

The server is stopped meanwhile, and asked afterwards.  It has one image already, whose copies all of it is.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Seeds:
    """How one registry's data folder is filled; both take that, a repository with an image tagged "seed", and names."""

    tags: Callable[[Path, str, Sequence[str]], None]
    """Further tags of the repository's image."""
    repositories: Callable[[Path, str, Sequence[str]], None]
    """Further repositories like it, as far as the catalog looks."""
