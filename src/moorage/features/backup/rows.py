"""What backup and restore ask of the rows of a snapshot."""

from collections.abc import Iterator
from dataclasses import dataclass

from sqlalchemy import delete, exists, func, select, update

from moorage.db.blobs import bind_waiting
from moorage.db.blobs import stored as blob_of
from moorage.db.engine import Tx
from moorage.db.schema import blobs, jobs, links, manifests, repositories, signing_keys, state, uploads
from moorage.oci.digest import Digest

_PAGE = 1000


@dataclass(frozen=True, slots=True)
class Stored:
    """A blob whose bytes lie in the store; `linked` where a repository has it, not just the trash.

    A `damaged` one's were found not to be what was pushed, or to be gone.
    """

    digest: str
    size: int
    key: str
    linked: bool
    damaged: bool


_LINKED = exists().where(links.c.blob_id == blobs.c.id).label("linked")


def stored(tx: Tx) -> Iterator[Stored]:
    """Every blob whose bytes lie in the store."""
    damaged = blobs.c.damaged.is_not(None).label("damaged")
    page = select(blobs.c.id, blobs.c.digest, blobs.c.size, blobs.c.storage_key, _LINKED, damaged)
    page = page.where(blobs.c.storage_key.is_not(None)).order_by(blobs.c.id).limit(_PAGE)
    last = 0
    while found := tx.execute(page.where(blobs.c.id > last)).fetchall():
        for row in found:
            yield Stored(row.digest, row.size, row.storage_key, bool(row.linked), bool(row.damaged))
        last = found[-1].id


def rotten(tx: Tx) -> dict[str, bool]:
    """The digests of damaged blobs whose bytes live in their row, and whether a repository has them."""
    found = select(blobs.c.digest, _LINKED).where(blobs.c.storage_key.is_(None), blobs.c.damaged.is_not(None))
    return {row.digest: bool(row.linked) for row in tx.execute(found)}


def content(tx: Tx, digest: str) -> object:
    """What a blob's row has for its bytes, as it is stored; None where they lie in the store, or there is no row."""
    return tx.execute(select(blobs.c.content).where(blobs.c.digest == digest)).scalar()


def key(tx: Tx, digest: str) -> str | None:
    """Where a blob's bytes lie in the store; None where they do not, or there is no row."""
    found: str | None = tx.execute(select(blobs.c.storage_key).where(blobs.c.digest == digest)).scalar()
    return found


def mend(tx: Tx, sound: dict[str, bytes]) -> None:
    """Give damaged blobs whose bytes live in their row these bytes."""
    for digest, found in sound.items():
        values = {"content": found, "size": len(found), "damaged": None}
        tx.execute(update(blobs).where(blobs.c.digest == digest).values(values))
        _bind_waiting(tx, digest)


def counts(tx: Tx) -> dict[str, int]:
    """How many repositories, manifests and blobs there are, those in rows included."""
    tables = {"repositories": repositories, "manifests": manifests, "blobs": blobs}
    return {name: tx.execute(select(func.count()).select_from(table)).scalar() or 0 for name, table in tables.items()}


def forget_passing_things(tx: Tx) -> None:
    """Uploads under way, leases of jobs, bearer tokens and the collector's clock mean nothing after a restore."""
    for table in (uploads, jobs, signing_keys):
        tx.execute(delete(table))
    tx.execute(delete(state).where(state.c.name == "clock"))


def mark_lost(tx: Tx, digests: list[str], reason: str) -> None:
    """Write down that the bytes of these blobs are not there: pushed again, they heal."""
    for digest in digests:
        tx.execute(update(blobs).where(blobs.c.digest == digest, blobs.c.damaged.is_(None)).values(damaged=reason))


def absolve(tx: Tx, digests: list[str]) -> None:
    """Write down that the bytes of these blobs are sound."""
    for digest in digests:
        tx.execute(update(blobs).where(blobs.c.digest == digest).values(damaged=None))
        _bind_waiting(tx, digest)


def _bind_waiting(tx: Tx, digest: str) -> None:
    if (healed := blob_of(tx, Digest.parse(digest))) is not None:
        bind_waiting(tx, healed)
