"""What happened at the door: sign-ins, refusals, tokens used from new places.  Written to the outbox in a moment.

None of it changes a decision, and refusals can come by the thousand, so nobody waits for a row.  Within one round what
is the same is counted, and what is too much is only counted.
"""

from collections import Counter
from typing import Final

from moorage.db import events, tokens
from moorage.db.engine import Tx
from moorage.errors import RegistryError

_MOST: Final = 20
"""Different notes of one kind in one round: whoever knocks with a thousand names fills no disk, and hides nothing."""

_PLACES: Final = 4096
"""Pairs of token and address that are remembered; behind that all are forgotten, and told once more."""

Note = tuple[str, str, str, tuple[tuple[str, str], ...]]
"""Kind, actor, repository, facts."""


class Notes:
    """What is to be written in the next round."""

    def __init__(self) -> None:
        self._notes: dict[Note, int] = {}
        self._kinds: Counter[str] = Counter()
        self._left_out = 0
        self._used: dict[int, str] = {}
        self._places: set[tuple[int, str]] = set()

    def add(self, kind: str, actor: str, repository: str = "", **facts: str) -> None:
        note = (kind, actor, repository, tuple(sorted(facts.items())))
        if note in self._notes:
            self._notes[note] += 1
        elif self._kinds[kind] < _MOST:
            self._kinds[kind] += 1
            self._notes[note] = 1
        else:
            self._left_out += 1

    def fail(self, error: RegistryError, peer: str) -> None:
        """Somebody could not sign in.  Whom they claimed to be is no actor."""
        claimed = str(error.detail.get("user", ""))
        self.add("sign-in.failed", "anonymous", address=peer, claimed=claimed, why=error.message)

    def use(self, token: int, actor: str, peer: str) -> None:
        """A token was used; told where it is the first time from this address, as far as this process remembers."""
        self._used[token] = peer
        if (token, peer) not in self._places:
            if len(self._places) >= _PLACES:
                self._places.clear()
            self._places.add((token, peer))
            self.add("token.used", actor, token=str(token), address=peer)

    def take(self) -> "tuple[dict[Note, int], int, dict[int, str]] | None":
        """What has come together since the last call; None for nothing."""
        if not self._notes and not self._used:
            return None
        taken = self._notes, self._left_out, self._used
        self._notes, self._left_out, self._used = {}, 0, {}
        self._kinds.clear()
        return taken


def write(tx: Tx, notes: dict[Note, int], left_out: int, used: dict[int, str], now: int) -> None:
    for (kind, actor, repository, facts), times in notes.items():
        events.append(tx, kind, repository, actor, {**dict(facts), "times": times}, now)
    if left_out:
        events.append(tx, "access.more", "", "system", {"times": left_out}, now)
    for token, peer in used.items():
        tokens.used(tx, token, now, peer)
