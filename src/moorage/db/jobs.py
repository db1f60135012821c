"""Rows of jobs: when each is due, and which process has it."""

from typing import Final

from sqlalchemy import and_, bindparam, not_, or_, select, update

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


_THIS = jobs.c.name == bindparam("job")
_TO_TAKE = and_(
    or_(jobs.c.due_at <= bindparam("now"), jobs.c.due_at > bindparam("latest")),
    or_(
        jobs.c.leased_until < bindparam("now"),
        jobs.c.leased_until > bindparam("longest"),
        jobs.c.holder == bindparam("taker"),
    ),
)
_WAITS: Final = Prepared(select(jobs.c.name).where(_THIS, not_(_TO_TAKE)))
_TAKE: Final = Prepared(
    update(jobs).where(_THIS, _TO_TAKE).values(holder=bindparam("taker"), leased_until=bindparam("lease"))
)


def waits(tx: Tx, name: str, holder: str, now: int, rhythm: int) -> bool:
    """Whether `take` would be in vain: a look costs a fraction of it."""
    return _WAITS.one(tx, **_judged(name, holder, now, rhythm)) is not None


def take(tx: Tx, name: str, holder: str, now: int, rhythm: int) -> bool:
    """Lease the job if it is due and nobody has it; `rhythm` is the longest that it can be until it is due again."""
    _ADD.run(tx, name=name, due_at=0, leased_until=0, failures=0)
    return bool(_TAKE.run(tx, lease=now + LEASE, **_judged(name, holder, now, rhythm)))


def _judged(name: str, holder: str, now: int, rhythm: int) -> dict[str, str | int]:
    """By what `_TO_TAKE` judges."""
    latest, longest = now + rhythm + _SKEW, now + LEASE + _SKEW
    return {"job": name, "taker": holder, "now": now, "latest": latest, "longest": longest}


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
