"""Who is asking."""

from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True, slots=True)
class Actor:
    """Somebody or something that acts on the registry; `name` is what history and logs show."""

    name: str


ANONYMOUS: Final = Actor("anonymous")
"""Nobody said who they are."""

SYSTEM: Final = Actor("system")
"""The registry's own jobs."""
