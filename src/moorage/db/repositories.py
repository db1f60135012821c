"""Rows of repositories."""

from dataclasses import dataclass
from typing import Final

from sqlalchemy import BigInteger, Text, bindparam, cast, func, or_, select, update

from moorage.db.engine import Prepared, Tx
from moorage.db.schema import accounts, blobs, links, manifests, repositories, tags
from moorage.db.statements import insert, names, one_text
from moorage.oci.names import RepositoryName


@dataclass(frozen=True, slots=True)
class Repository:
    id: int
    name: RepositoryName


@dataclass(frozen=True, slots=True)
class Shown:
    """A repository as people see it; `created_at` in microseconds since the epoch.

    `listed_at` is None before its first manifest, and again when all of it was deleted.
    """

    id: int
    name: str
    owner: str
    visibility: str
    created_at: int
    listed_at: int | None


@dataclass(frozen=True, slots=True)
class Counts:
    """What is in a repository; `size` is the bytes of its blobs, each counted once."""

    tags: int
    manifests: int
    size: int


_BY_NAME: Final = Prepared(select(repositories.c.id).where(repositories.c.name == bindparam("name")))
_PAGE: Final = Prepared(
    lambda dialect: one_text(
        dialect,
        select(repositories.c.name)
        .where(repositories.c.listed_at.is_not(None), repositories.c.name > bindparam("after"))
        .order_by(repositories.c.name)
        .limit(bindparam("most")),
    ),
    "after",
    "most",
)
_DEFAULT = func.coalesce(
    select(accounts.c.visibility).where(accounts.c.name == bindparam("owned_by")).scalar_subquery(), "private"
)
"""The visibility that the owner wants new repositories to have; private where no account has that name."""

_ADD: Final = Prepared(
    lambda dialect: (
        insert(dialect, repositories, "name", "owner", "created_at")
        .values(visibility=_DEFAULT)
        .on_conflict_do_nothing()
    )
)
_SHOW = select(
    repositories.c.id,
    repositories.c.name,
    repositories.c.owner,
    repositories.c.visibility,
    repositories.c.created_at,
    repositories.c.listed_at,
)
_SHOWN: Final = Prepared(_SHOW.where(repositories.c.name == bindparam("name")))
_SHOWN_PAGE: Final = Prepared(
    _SHOW.where(
        repositories.c.listed_at.is_not(None),
        repositories.c.name > bindparam("after"),
        or_(bindparam("whose", type_=Text) == "", repositories.c.owner == bindparam("whose", type_=Text)),
    )
    .order_by(repositories.c.name)
    .limit(bindparam("most"))
)
_OF_OWNER: Final = Prepared(select(repositories.c.id).where(repositories.c.owner == bindparam("owner")).limit(1))
_COUNTS: Final = Prepared(
    select(
        select(func.count()).where(tags.c.repository_id == bindparam("repository")).scalar_subquery(),
        select(func.count()).where(manifests.c.repository_id == bindparam("repository")).scalar_subquery(),
        select(cast(func.coalesce(func.sum(blobs.c.size), 0), BigInteger))
        .where(links.c.repository_id == bindparam("repository"), links.c.blob_id == blobs.c.id)
        .scalar_subquery(),
    )
)
_SET_VISIBILITY: Final = Prepared(
    update(repositories).where(repositories.c.id == bindparam("repository")).values(visibility=bindparam("wanted"))
)
_BURY: Final = Prepared(
    update(repositories)
    .where(repositories.c.id == bindparam("repository"))
    .values(listed_at=None, name=repositories.c.name.concat("@").concat(cast(repositories.c.id, Text)))
)
_LIST: Final = Prepared(
    update(repositories)
    .where(repositories.c.id == bindparam("repository"), repositories.c.listed_at.is_(None))
    .values(listed_at=bindparam("now"))
)
_TRIES: Final = 5
"""How often a name may be deleted under a writer that is making it."""

_LOCK: Final = Prepared(
    # NO KEY: whoever only refers to the row (a foreign key's check) need not wait, and so cannot deadlock with us.
    select(repositories.c.id)
    .where(repositories.c.id == bindparam("repository"), repositories.c.name == bindparam("name"))
    .with_for_update(key_share=True)
)


def find(tx: Tx, name: RepositoryName) -> Repository | None:
    row = _BY_NAME.one(tx, name=name.value)
    return Repository(row[0], name) if row else None


def hold(tx: Tx, name: RepositoryName) -> Repository | None:
    """The repository, its row held to the end of the transaction, so that its writers take turns."""
    found = find(tx, name)
    return found if found is not None and lock(tx, found) else None


def ensure(tx: Tx, name: RepositoryName, now: int) -> Repository:
    """The repository, made if this is its first link, and held as `hold` does.

    Writers of one repository thereby take turns, which is what lets gates count (PostgreSQL; on SQLite they
    take turns anyway).
    """
    for _ in range(_TRIES):
        found = hold(tx, name)
        if found is not None:
            return found
        _ADD.run(tx, name=name.value, owner=name.owner, created_at=now, owned_by=name.owner)
    raise LookupError(f"repository {name} was deleted as often as it was made")


def lock(tx: Tx, repository: Repository) -> bool:
    """Hold the repository's row until the transaction ends.  False: somebody has deleted the repository since."""
    return tx.dialect == "sqlite" or _LOCK.one(tx, repository=repository.id, name=repository.name.value) is not None


def list_in_catalog(tx: Tx, repository: Repository, now: int) -> None:
    """Show it in the catalog from now on."""
    _LIST.run(tx, repository=repository.id, now=now)


def page(tx: Tx, after: str, most: int) -> list[str]:
    """At most `most` names of the catalog behind `after`, in byte order."""
    return names(_PAGE.row(tx, after, most))


def show(tx: Tx, name: RepositoryName) -> Shown | None:
    row = _SHOWN.one(tx, name=name.value)
    return Shown(*row) if row else None


def shown_page(tx: Tx, owner: str, after: str, most: int) -> list[Shown]:
    """At most `most` repositories of the catalog behind the name `after`; of one owner, or of all (empty)."""
    return [Shown(*row) for row in _SHOWN_PAGE.all(tx, whose=owner, after=after, most=most)]


def any_of(tx: Tx, owner: str) -> bool:
    """Whether there is a repository below that name, or was one."""
    return _OF_OWNER.one(tx, owner=owner) is not None


def counts(tx: Tx, repository: int) -> Counts:
    row = _COUNTS.one(tx, repository=repository)
    return Counts(*row) if row else Counts(0, 0, 0)


def set_visibility(tx: Tx, repository: int, visibility: str) -> None:
    _SET_VISIBILITY.run(tx, repository=repository, wanted=visibility)


def bury(tx: Tx, repository: Repository) -> None:
    """Free the name for another repository, which gets an id of its own.

    What is in the trash and in the history goes on pointing to this row, under a name that no client can say:
    `acme/app@12`, with its id.
    """
    _BURY.run(tx, repository=repository.id)
