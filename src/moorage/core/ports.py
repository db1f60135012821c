"""The doors by which rooms reach the core.

A **Gate** may refuse.  An **Upstream** may supply what is missing here; the pull-through mirror brings it.
An **event** is written to the outbox (`moorage.db.events`) with the fact; jobs read it later, each with its own
cursor, so that door needs no code here.
"""

from dataclasses import dataclass
from typing import Protocol

from moorage.access.permit import Permit
from moorage.db.engine import Tx
from moorage.oci.digest import Digest
from moorage.oci.manifest import Manifest
from moorage.oci.names import Tag


@dataclass(frozen=True, slots=True)
class PushManifest:
    """Somebody is about to push a manifest, under these tags."""

    digest: Digest
    manifest: Manifest
    size: int
    tags: tuple[Tag, ...]


@dataclass(frozen=True, slots=True)
class FinishUpload:
    """Somebody is about to add a blob of `size` bytes to a repository, by upload or mount."""

    digest: Digest
    size: int


@dataclass(frozen=True, slots=True)
class DeleteTag:
    """Somebody is about to delete a tag."""

    tag: Tag


@dataclass(frozen=True, slots=True)
class DeleteManifest:
    """Somebody is about to delete a manifest, and with it the tags that name it."""

    digest: Digest
    tags: tuple[Tag, ...]


@dataclass(frozen=True, slots=True)
class DeleteBlob:
    """Somebody is about to take a blob out of a repository."""

    digest: Digest


Act = PushManifest | FinishUpload | DeleteTag | DeleteManifest | DeleteBlob


class Gate(Protocol):
    """May refuse an act; asked inside its transaction, before the fact.

    Reads rows, never the network.  Refuses by raising `RegistryError`: the first refusal wins, and its message
    reaches the client and the log.
    """

    def check(self, tx: Tx, permit: Permit, act: Act, /) -> None: ...
