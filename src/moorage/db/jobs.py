"""Rows of jobs: when each is due, and which process has it."""

from typing import Final

from sqlalchemy import or_, select, update

from moorage.db.engine import Prepared, Tx
from moorage.db.schema import jobs
from moorage.db.statements import insert

_ADD: Final = Prepared(
    lambda dialect: insert(dialect, jobs, "name", "due_at", "leased_until", "failures").on_conflict_do_nothing()
)

LEASE: Final = 60_000_000
"""Microseconds after which a job whose process has died is taken over."""


_SKEW: Final = 3600_000_000
"""Microseconds by which the clocks of two servers may differ.  What lies further ahead was written by a clock that has
been set back since."""


def take(tx: Tx, name: str, holder: str, now: int, rhythm: int) -> bool:
    """Lease the job if it is due and nobody has it; `rhythm` is the longest that it can be until it is due again."""
    _ADD.run(tx, name=name, due_at=0, leased_until=0, failures=0)
    due = or_(jobs.c.due_at <= now, jobs.c.due_at > now + rhythm + _SKEW)
    free = or_(jobs.c.leased_until < now, jobs.c.leased_until > now + LEASE + _SKEW, jobs.c.holder == holder)
    taken = tx.execute(
        update(jobs).where(jobs.c.name == name, due, free).values(holder=holder, leased_until=now + LEASE)
    )
    return bool(taken.rowcount)


def free_all(tx: Tx) -> None:
    """Take back every lease: whoever had one is dead, because nobody else can run jobs on these rows."""
    tx.execute(update(jobs).where(jobs.c.leased_until > 0).values(leased_until=0, holder=None))


def done(tx: Tx, name: str, holder: str, now: int, due: int, error: str | None) -> None:
    """Give the job back until it is `due` again; a failure is counted and kept."""
    failures = tx.execute(select(jobs.c.failures).where(jobs.c.name == name)).scalar() or 0
    tx.execute(
        update(jobs)
        .where(jobs.c.name == name, jobs.c.holder == holder)
        .values(
            due_at=due,
            leased_until=0,
            holder=None,
            finished_at=now,
            failures=failures + 1 if error else 0,
            error=error,
        )
    )
