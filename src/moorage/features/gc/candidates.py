"""What nothing refers to any more: found by one look over the links, beside the writers, then taken in small steps.

A link stays as long as something refers to it, its lease long past, so a look over all of them grows with the
registry.  One that was found in use comes up again only with a new lease, which the end of its last reference gives
it: so after a look over all, the next ones need see only what has expired since.
"""

from typing import Final

from moorage.core.registry import SECOND
from moorage.db.engine import Database
from moorage.features.gc import rows
from moorage.features.gc.rows import Link

MOST: Final = 10_000
"""How many are remembered of one look."""

BATCH: Final = 1000
"""How many are taken in one transaction."""

_WHOLE: Final = 3600 * SECOND
"""How often all links are looked over nevertheless: for those whose reference went in a way that gave no lease."""


class Candidates:
    """The links that one pass of the collector takes."""

    def __init__(self, db: Database) -> None:
        self._db = db
        self._found: list[Link] = []
        self._since = 0
        """Up to when every expired lease has been looked at."""
        self._looked: int | None = None
        """When this pass has looked at all there is."""
        self._all_at = 0
        """When all links were looked over last."""
        self._missed = False
        """Whether some were left in this pass, because somebody held them."""

    @property
    def waiting(self) -> bool:
        """Whether some were found that have not been taken: the next step takes them, and destroys nothing."""
        return bool(self._found)

    async def take(self, now: int, purge_after: int) -> bool:
        """Take some from their repositories into the trash; False where there are no more in this pass."""
        if not self._found and self._looked is None:
            await self._look(now)
        if not self._found:
            return False
        batch = self._found[:BATCH]
        taken = await self._db.write(rows.unlink, now, purge_after, batch)
        self._missed = self._missed or taken < len(batch)
        del self._found[:BATCH]
        return True

    def end(self) -> None:
        """The pass is over: the next looks again, at what has expired since."""
        if self._looked is not None and not self._missed:
            if self._since == 0:
                self._all_at = self._looked
            self._since = self._looked
        self._looked, self._missed = None, False

    async def _look(self, now: int) -> None:
        if now < self._since or now >= self._all_at + _WHOLE:
            self._since = 0
        self._found = await self._db.scan(rows.candidates, self._since, now, MOST)
        if len(self._found) < MOST:
            self._looked = now
