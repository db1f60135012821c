"""Who has guessed too often: counted by account and network, by network, and by account.

    account and network   10 wrong passwords (3 where the account is under attack)  → that pair waits
    network              100, over whichever accounts                               → the network waits
    account              100, from wherever                                         → it is under attack

Nobody else's guesses make somebody wait who asks from another network: an attack on an account only makes the tries
of each network fewer.  Whoever is made to wait costs no work and is not counted.  Accounts that do not exist are
counted like those that do.

A pure value with a clock, of one process, and bounded: where there is no room, what began first is forgotten.
"""

from collections.abc import Callable
from dataclasses import dataclass
from math import ceil
from time import monotonic
from typing import Final, Literal

WINDOW: Final = 900.0
"""Seconds in which failures are counted together, and of quiet after which they are forgotten."""

PAIR: Final = 10
GUARDED: Final = 3
"""What a pair may fail where its account is under attack."""

NETWORK: Final = 100
ACCOUNT: Final = 100

FIRST: Final = 30.0
"""Seconds of the first wait; each following one is twice as long."""

LONGEST: Final = 900.0

_PAIRS: Final = 65_536
_OTHERS: Final = 16_384

Cause = Literal["account", "network"]


@dataclass(frozen=True, slots=True)
class Wait:
    """There is a wait of so many whole seconds, because of what was guessed at, or because of from where."""

    cause: Cause
    seconds: int


@dataclass(frozen=True, slots=True)
class Failed:
    """What a wrong password set off: waits, and whether the account is under attack from now on."""

    waits: list[Wait]
    attacked: bool


@dataclass(slots=True)
class _Count:
    """Failures since `began`, and until when that matters."""

    began: float
    failures: int = 0
    waits: int = 0
    until: float = 0.0

    def wait(self, allowed: int, now: float) -> float:
        """Begin to wait if too much has failed; gives the seconds, 0 for no wait that begins."""
        if self.failures < allowed or now < self.until:
            return 0.0
        seconds = min(FIRST * 2.0**self.waits, LONGEST)
        self.waits += seconds < LONGEST
        self.until = now + seconds
        return seconds


class _Counts:
    """The counts of one kind, at most so many; those that began first in front."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._counts: dict[str, _Count] = {}

    def until(self, key: str) -> float:
        """When the wait of a key ends, or has ended."""
        found = self._counts.get(key)
        return found.until if found is not None else 0.0

    def add(self, key: str, now: float) -> _Count:
        """Count one more failure."""
        found = self._counts.get(key)
        if found is None or now >= max(found.began, found.until) + WINDOW:
            self.forget(key)
            if len(self._counts) >= self._most:
                self.forget(next(iter(self._counts)))
            found = self._counts[key] = _Count(now)
        found.failures += 1
        return found

    def forget(self, key: str) -> None:
        self._counts.pop(key, None)

    def __len__(self) -> int:
        return len(self._counts)


class Lockout:
    """What one process knows of wrong passwords.  `clock` gives seconds that never go back."""

    def __init__(self, clock: Callable[[], float] = monotonic) -> None:
        self._clock = clock
        self._pairs, self._networks, self._accounts = _Counts(_PAIRS), _Counts(_OTHERS), _Counts(_OTHERS)

    def wait(self, account: str, network: str) -> Wait | None:
        """How long a password of the account is not looked at that comes from there; None where it is."""
        pair, all_ = self._pairs.until(_pair(account, network)), self._networks.until(network)
        left = ceil(max(pair, all_) - self._clock())
        return Wait("account" if pair >= all_ else "network", left) if left > 0 else None

    def failed(self, account: str, network: str) -> Failed:
        """Count a wrong password."""
        now = self._clock()
        total = self._accounts.add(account, now)
        attacked = total.failures >= ACCOUNT
        if attacked:
            total.until = now  # so that it stays so until nothing has failed for a while
        pair = self._pairs.add(_pair(account, network), now).wait(GUARDED if attacked else PAIR, now)
        all_ = self._networks.add(network, now).wait(NETWORK, now)
        waits: list[tuple[Cause, float]] = [("account", pair), ("network", all_)]
        return Failed(
            [Wait(cause, ceil(seconds)) for cause, seconds in waits if seconds],
            total.failures == ACCOUNT,
        )

    def passed(self, account: str, network: str) -> None:
        """A right password: that pair begins anew."""
        self._pairs.forget(_pair(account, network))


def _pair(account: str, network: str) -> str:
    return f"{network} {account}"
