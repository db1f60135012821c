"""Watching over SQLite's file: what it says of itself once a day decides whether the registry is ready."""

from typing import Final

from moorage.core.registry import DAY
from moorage.db.engine import Database
from moorage.errors import Code, RegistryError
from moorage.jobs.job import Job
from moorage.telemetry import logger

log: Final = logger("moorage.scrub")

_SHOWN: Final = 5


class Watch:
    """Whether the last look at the database's file found it damaged; it is not before the first."""

    def __init__(self, db: Database, damaged: "memoryview[int] | None" = None) -> None:
        """`damaged` is one number, 0 or 1, that processes share of which one looks."""
        self._db = db
        self._damaged: memoryview[int] | list[int] = damaged if damaged is not None else [0]

    def job(self) -> Job:
        """The job that looks once a day.  A PostgreSQL server watches over its files itself."""
        return Job("database-check", DAY, self._look)

    async def check(self) -> None:
        """Raise UNAVAILABLE where the last look found the file damaged: what readiness asks."""
        if self._damaged[0]:
            raise RegistryError(
                Code.UNAVAILABLE,
                "the registry's database file is damaged; its operator should stop the registry and restore a backup",
            )

    async def _look(self) -> bool:
        found = await self._db.verify()
        self._damaged[0] = bool(found)
        if found:
            shown = "; ".join(found[:_SHOWN])
            log.error("the database file is damaged: stop the registry and restore a backup", error=shown)
        return False
