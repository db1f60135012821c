"""Rows of repositories."""

from dataclasses import dataclass
from typing import Final

from sqlalchemy import bindparam, select, update

from moorage.db.engine import Prepared, Tx
from moorage.db.schema import repositories
from moorage.db.statements import insert
from moorage.oci.names import RepositoryName


@dataclass(frozen=True, slots=True)
class Repository:
    id: int
    name: RepositoryName


_BY_NAME: Final = Prepared(select(repositories.c.id).where(repositories.c.name == bindparam("name")))
_PAGE: Final = Prepared(
    select(repositories.c.name)
    .where(repositories.c.listed_at.is_not(None), repositories.c.name > bindparam("after"))
    .order_by(repositories.c.name)
    .limit(bindparam("most"))
)
_ADD: Final = Prepared(
    lambda dialect: insert(dialect, repositories, "name", "owner", "created_at").on_conflict_do_nothing()
)
_LIST: Final = Prepared(
    update(repositories)
    .where(repositories.c.id == bindparam("repository"), repositories.c.listed_at.is_(None))
    .values(listed_at=bindparam("now"))
)
_LOCK: Final = Prepared(
    # NO KEY: whoever only refers to the row (a foreign key's check) need not wait, and so cannot deadlock with us.
    select(repositories.c.id).where(repositories.c.id == bindparam("repository")).with_for_update(key_share=True)
)


def find(tx: Tx, name: RepositoryName) -> Repository | None:
    row = _BY_NAME.one(tx, name=name.value)
    return Repository(row[0], name) if row else None


def ensure(tx: Tx, name: RepositoryName, now: int) -> Repository:
    """The repository, made if this is its first link.  Holds its row to the end of the transaction.

    Writers of one repository thereby take turns, which is what lets gates count (PostgreSQL; on SQLite they
    take turns anyway).
    """
    found = find(tx, name)
    if found is None:
        _ADD.run(tx, name=name.value, owner=name.owner, created_at=now)
        found = find(tx, name)
        if found is None:
            raise LookupError(f"repository {name} was neither found nor made")
    lock(tx, found)
    return found


def lock(tx: Tx, repository: Repository) -> None:
    """Hold the repository's row until the transaction ends, so that its writers take turns."""
    if tx.dialect != "sqlite":
        _LOCK.one(tx, repository=repository.id)


def list_in_catalog(tx: Tx, repository: Repository, now: int) -> None:
    """Show it in the catalog from now on."""
    _LIST.run(tx, repository=repository.id, now=now)


def page(tx: Tx, after: str, most: int) -> list[str]:
    """At most `most` names of the catalog behind `after`, in byte order."""
    return [row[0] for row in _PAGE.all(tx, after=after, most=most)]
