"""Rows and bytes that belong together: the database remembers which store its blobs lie in.

Rows beside the bytes of another registry would serve nothing, and the collector would take what it does not know
for rubbish.  So a registry does not start on a pair that was never one, and destroys nothing where it cannot know.
"""

from typing import Final

from moorage.db import blobs, collection, state
from moorage.db.engine import Database, Tx
from moorage.errors import Code, RegistryError
from moorage.storage.store import BlobStore
from moorage.telemetry import logger

_NAME: Final = "store"


def recognise(db: Database, store: BlobStore, place: str, now: int) -> None:
    """Remember the store, or make sure that it is the one remembered.  Raises UNAVAILABLE for another.

    `place` is where its bytes lie, in words for the operator.
    """
    if is_known(db, store, place):
        return
    if db.write_now(_adopt, store.identity, next(iter(store.keys()), None) is not None, now):
        logger(__name__).warning("collection is disarmed", reason=_STRANGE)


def is_known(db: Database, store: BlobStore, place: str) -> bool:
    """Whether the store is the one remembered, for whoever works on rows and bytes without starting a server.

    False where none is remembered yet.  Raises UNAVAILABLE where another is; of `place`, see `recognise`.
    """
    known = db.read_now(remembered)
    if known is None or known == store.identity:
        return known is not None
    raise RegistryError(
        Code.UNAVAILABLE,
        f"the database {db.url!r} belongs to the blob store {known}, but {place} is {store.identity}: name the "
        "registry's own --data and --config, and check data, database.url and storage.filesystem.rootdirectory there; "
        "after a loss, `moorage restore` brings both back from a backup; only where the blob folder was exchanged on "
        "purpose, `moorage gc adopt` accepts it",
    )


def remembered(tx: Tx) -> str | None:
    """The identity of the store that the rows were written for; None before the first start."""
    found: str | None = state.get(tx, _NAME)
    return found


def remember(tx: Tx, identity: str, now: int) -> None:
    """The rows belong to this store from now on."""
    state.put(tx, _NAME, identity, now)


_STRANGE: Final = (
    "the blob folder holds files, and the database no blobs: it is new, or not the one that belongs here; look, then "
    "run `moorage fsck`"
)


def _adopt(tx: Tx, identity: str, has_keys: bool, now: int) -> bool:
    """Whether this disarmed collection."""
    remember(tx, identity, now)
    if not has_keys or blobs.any_stored(tx):
        return False
    collection.disarm(tx, "storage", _STRANGE, now)
    return True
