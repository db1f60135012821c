"""Rows of uploads: how far each has come, and what is needed to go on in any process."""

from typing import Final, NamedTuple

from sqlalchemy import bindparam, delete, select, update

from moorage.db.engine import Prepared, Tx
from moorage.db.schema import uploads
from moorage.db.statements import insert
from moorage.oci.digest import Digest
from moorage.oci.names import RepositoryName


class Upload(NamedTuple):
    """A blob on its way in.

    Its bytes so far are `content` as long as they are few, or lie in the store as `parts` under a key made of
    `id`.  `digest` is that of those bytes, in the algorithm we expect to finish with; `hash_state` lets a hash
    go on from there, if the store is still in `incarnation`.
    """

    id: str
    repository: RepositoryName
    actor: str
    epoch: int
    parts: tuple[int, ...]
    digest: Digest
    hash_state: bytes | None
    incarnation: str
    finished: Digest | None
    content: bytes | None

    @property
    def offset(self) -> int:
        """How many bytes have arrived."""
        return sum(self.parts) if self.content is None else len(self.content)


_FIND: Final = Prepared(
    select(
        uploads.c.epoch,
        uploads.c.actor,
        uploads.c.parts,
        uploads.c.digest,
        uploads.c.hash_state,
        uploads.c.incarnation,
        uploads.c.finished,
        uploads.c.content,
    ).where(uploads.c.id == bindparam("id"), uploads.c.repository == bindparam("repository"))
)
_ADVANCE: Final = Prepared(
    update(uploads)
    .where(uploads.c.id == bindparam("upload"), uploads.c.epoch == bindparam("before"))
    .values(
        epoch=bindparam("epoch"),
        parts=bindparam("parts"),
        digest=bindparam("digest"),
        hash_state=bindparam("hash_state"),
        incarnation=bindparam("incarnation"),
        finished=bindparam("finished"),
        touched_at=bindparam("touched_at"),
        content=bindparam("content"),
    )
)
_DELETE: Final = Prepared(delete(uploads).where(uploads.c.id == bindparam("upload"), uploads.c.finished.is_(None)))
_ADD: Final = Prepared(
    lambda dialect: insert(
        dialect,
        uploads,
        "id",
        "repository",
        "actor",
        "started_at",
        "epoch",
        "parts",
        "digest",
        "hash_state",
        "incarnation",
        "finished",
        "touched_at",
        "content",
    )
)


def _columns(upload: Upload, now: int) -> dict[str, object]:
    return {
        "epoch": upload.epoch,
        "parts": ",".join(map(str, upload.parts)),
        "digest": str(upload.digest),
        "hash_state": upload.hash_state,
        "incarnation": upload.incarnation,
        "finished": str(upload.finished) if upload.finished else None,
        "touched_at": now,
        "content": upload.content,
    }


def add(tx: Tx, upload: Upload, now: int) -> None:
    _ADD.run(
        tx,
        id=upload.id,
        repository=upload.repository.value,
        actor=upload.actor,
        started_at=now,
        **_columns(upload, now),
    )


def find(tx: Tx, repository: RepositoryName, identity: str) -> Upload | None:
    row = _FIND.one(tx, id=identity, repository=repository.value)
    if row is None:
        return None
    epoch, actor, parts, digest, state, incarnation, finished, content = row
    return Upload(
        identity,
        repository,
        actor,
        epoch,
        tuple(int(part) for part in parts.split(",") if part),
        Digest.parse(digest),
        state,
        incarnation,
        Digest.parse(finished) if finished else None,
        content,
    )


def advance(tx: Tx, upload: Upload, now: int) -> Upload | None:
    """Write down how far it has come, unless somebody else did since it was read: then None."""
    following = upload._replace(epoch=upload.epoch + 1)
    changed = _ADVANCE.run(tx, upload=upload.id, before=upload.epoch, **_columns(following, now))
    return following if changed else None


def remove(tx: Tx, identity: str) -> bool:
    """False where it is gone, or was finished meanwhile: then its bytes are a blob's."""
    return bool(_DELETE.run(tx, upload=identity))
