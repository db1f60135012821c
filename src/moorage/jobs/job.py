"""What a job is: a rhythm and one bounded step."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Job:
    """Background work.  `step` does one batch and says whether it found any; it may be killed anywhere.

    `rhythm` is how many microseconds lie between two runs that found nothing more to do.
    """

    name: str
    rhythm: int
    step: Callable[[], Awaitable[bool]]
