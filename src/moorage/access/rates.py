"""How many requests somebody may send in what time: each account, and each address of those who are not signed in.

Counted in windows that begin with the first request.  What is refused counts, but makes no window longer.  Importing
this costs some megabytes: only who has set a rate does.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass
from math import ceil
from typing import Final

from limits import RateLimitItem, parse
from limits.storage import Storage
from limits.strategies import FixedWindowRateLimiter

from moorage.access.actor import Identity
from moorage.access.network import network

_MOST: Final = 65_536
"""Windows of one rate; behind that those that began first are forgotten."""


@dataclass(frozen=True, slots=True)
class Standing:
    """Where somebody stands: `left` of `most` requests, until a new window in `seconds`."""

    whose: str
    rate: str
    most: int
    left: int
    seconds: int
    allowed: bool


class Rates:
    """The rates in force, such as "600/minute"; None for no limit.  `clock` gives seconds since the epoch."""

    def __init__(self, anonymous: str | None, signed_in: str | None, clock: Callable[[], float] = time.time) -> None:
        self._anonymous = _Rate(anonymous, clock) if anonymous is not None else None
        self._signed_in = _Rate(signed_in, clock) if signed_in is not None else None

    def count(self, identity: Identity, peer: str) -> Standing | None:
        """Count a request; None where there is no limit.  An IPv6 address stands for its network."""
        if identity.actor.signed_in:
            return self._signed_in.count(identity.actor.name) if self._signed_in is not None else None
        return self._anonymous.count(network(peer, 32)) if self._anonymous is not None else None


class _Rate:
    """One rate with its windows."""

    def __init__(self, text: str, clock: Callable[[], float]) -> None:
        self._text, self._clock = text, clock
        self._item: RateLimitItem = parse(text)
        self._limiter = FixedWindowRateLimiter(_Windows(clock))

    def count(self, whose: str) -> Standing:
        allowed = self._limiter.hit(self._item, whose)
        ends, left = self._limiter.get_window_stats(self._item, whose)
        seconds = max(1, ceil(ends - self._clock()))
        return Standing(whose, self._text, self._item.amount, left, seconds, allowed)


class _Windows(Storage):
    """What the library keeps its counts in.

    Its own storage in memory has no bound, and starts threads that look through all of it.
    """

    STORAGE_SCHEME = None

    def __init__(self, clock: Callable[[], float]) -> None:
        super().__init__()
        self._clock = clock
        self._windows: dict[str, tuple[float, int]] = {}

    @property
    def base_exceptions(self) -> type[Exception]:
        return ValueError

    def incr(self, key: str, expiry: int, amount: int = 1) -> int:
        now = self._clock()
        ends, count = self._windows.get(key, (0.0, 0))
        if ends <= now:
            self._windows.pop(key, None)  # the new one belongs behind the others
            if len(self._windows) >= _MOST:
                del self._windows[next(iter(self._windows))]
            ends, count = now + expiry, 0
        self._windows[key] = (ends, count + amount)
        return count + amount

    def get(self, key: str) -> int:
        return self._windows.get(key, (0.0, 0))[1]

    def get_expiry(self, key: str) -> float:
        return self._windows.get(key, (self._clock(), 0))[0]

    def check(self) -> bool:
        return True

    def reset(self) -> int:
        found = len(self._windows)
        self._windows.clear()
        return found

    def clear(self, key: str) -> None:
        self._windows.pop(key, None)
