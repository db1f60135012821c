"""Rows of tags, and of every move they made."""

from typing import Any, Final

from sqlalchemy import bindparam, delete, select

from moorage.db.engine import Prepared, Tx
from moorage.db.repositories import Repository
from moorage.db.schema import manifests, repositories, tag_history, tags
from moorage.db.statements import insert, names, one_text
from moorage.db.tx import Dialect
from moorage.oci.digest import Digest
from moorage.oci.names import RepositoryName, Tag

_RESOLVE: Final = Prepared(
    select(manifests.c.digest)
    .select_from(tags.join(manifests, tags.c.manifest_id == manifests.c.id))
    .where(tags.c.repository_id == bindparam("repository"), tags.c.name == bindparam("tag"))
)
_PAGE: Final = Prepared(
    lambda dialect: one_text(
        dialect,
        select(tags.c.name)
        .select_from(repositories.join(tags))
        .where(repositories.c.name == bindparam("name"), tags.c.name > bindparam("after"))
        .order_by(tags.c.name)
        .limit(bindparam("most")),
    ),
    "name",
    "after",
    "most",
)
_DELETE: Final = Prepared(
    delete(tags).where(tags.c.repository_id == bindparam("in_repository"), tags.c.name == bindparam("tag"))
)
_REMEMBER: Final = Prepared(
    lambda dialect: insert(dialect, tag_history, "repository_id", "tag", "digest", "previous", "actor", "at")
)
_OF: Final = Prepared(select(tags.c.name).where(tags.c.manifest_id == bindparam("manifest")).order_by(tags.c.name))


def _point(dialect: Dialect) -> Any:
    added = insert(dialect, tags, "repository_id", "name", "manifest_id", "updated_at")
    return added.on_conflict_do_update(
        index_elements=[tags.c.repository_id, tags.c.name],
        set_={"manifest_id": added.excluded.manifest_id, "updated_at": added.excluded.updated_at},
    )


_POINT: Final = Prepared(_point)


def resolve(tx: Tx, repository: Repository, tag: Tag) -> Digest | None:
    """Where the tag points."""
    row = _RESOLVE.one(tx, repository=repository.id, tag=tag.value)
    return Digest.parse(row[0]) if row else None


def point(
    tx: Tx, repository: Repository, tag: Tag, manifest: int, digest: Digest, actor: str, now: int
) -> Digest | None:
    """Let the tag name the manifest, and write that down.  Gives what it named before."""
    previous = resolve(tx, repository, tag)
    _POINT.run(tx, repository_id=repository.id, name=tag.value, manifest_id=manifest, updated_at=now)
    if previous != digest:
        _remember(tx, repository, tag, digest, previous, actor, now)
    return previous


def remove(tx: Tx, repository: Repository, tag: Tag, actor: str, now: int) -> Digest | None:
    """Take the tag away, and write that down.  Gives what it named; None where it was not there."""
    previous = resolve(tx, repository, tag)
    if previous is not None:
        _DELETE.run(tx, in_repository=repository.id, tag=tag.value)
        _remember(tx, repository, tag, None, previous, actor, now)
    return previous


def pointing_at(tx: Tx, manifest: int) -> list[Tag]:
    """All tags that name the manifest, in byte order."""
    return [Tag.parse(row[0]) for row in _OF.all(tx, manifest=manifest)]


def page(tx: Tx, name: RepositoryName, after: str, most: int) -> list[str]:
    """At most `most` tags of the repository behind `after`, in byte order."""
    return names(_PAGE.row(tx, name.value, after, most))


def _remember(
    tx: Tx, repository: Repository, tag: Tag, digest: Digest | None, previous: Digest | None, actor: str, now: int
) -> None:
    _REMEMBER.run(
        tx,
        repository_id=repository.id,
        tag=tag.value,
        digest=str(digest) if digest else None,
        previous=str(previous) if previous else None,
        actor=actor,
        at=now,
    )
