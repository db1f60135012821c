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
    """What the last look at the database's file found; nothing before the first."""

    def __init__(self, db: Database) -> None:
        self._db = db
        self._broken: list[str] = []

    def job(self) -> Job:
        """The job that looks once a day.  A PostgreSQL server watches over its files itself."""
        return Job("database-check", DAY, self._look)

    async def check(self) -> None:
        """Raise UNAVAILABLE where the last look found the file damaged: what readiness asks."""
        if self._broken:
            raise RegistryError(
                Code.UNAVAILABLE,
                "the registry's database file is damaged; its operator should stop the registry and restore a backup",
            )

    async def _look(self) -> bool:
        self._broken = await self._db.verify()
        if self._broken:
            shown = "; ".join(self._broken[:_SHOWN])
            log.error("the database file is damaged: stop the registry and restore a backup", error=shown)
        return False
