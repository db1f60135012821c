"""Blobs in memory, for tests and for registries that may forget (`storage.inmemory`)."""

import secrets
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from threading import Lock

from moorage.errors import Code, RegistryError
from moorage.oci.digest import Buffer
from moorage.storage.store import Appending, BlobStore, Content, Parts, StoredKey


@dataclass(slots=True)
class _Object:
    data: bytearray = field(default_factory=bytearray)
    writer: Lock = field(default_factory=Lock)
    modified: float = field(default_factory=time.time)


class MemoryStore:
    """A blob store that lives and dies with its process."""

    def __init__(self) -> None:
        self.incarnation = secrets.token_hex(16)
        self.identity = secrets.token_hex(16)
        self._objects: dict[str, _Object] = {}

    def become(self, identity: str, /) -> None:
        self.identity = identity

    def append(self, key: str, parts: Parts, /) -> Appending:
        found = self._objects.setdefault(key, _Object())
        _lock(found)
        if len(found.data) < sum(parts):
            found.writer.release()
            raise RegistryError(Code.BLOB_UPLOAD_INVALID, "bytes of this upload were lost; start a new one")
        return _MemoryAppending(found, sum(parts))

    def seal(self, key: str, parts: Parts, /) -> None:
        found = self._objects.get(key)
        if found is not None:
            _lock(found)
            found.writer.release()
        if found is None or len(found.data) != sum(parts):
            raise RegistryError(Code.BLOB_UPLOAD_INVALID, "bytes of this upload were lost; start a new one")

    def open(self, key: str, start: int, stop: int, /) -> Content:
        return bytes(memoryview(self._stored(key).data)[start:stop])

    def size(self, key: str, /) -> int:
        return len(self._stored(key).data)

    def delete(self, key: str, /) -> None:
        self._objects.pop(key, None)

    def keys(self) -> Iterator[StoredKey]:
        for key, found in list(self._objects.items()):
            yield StoredKey(key, len(found.data), found.modified)

    def room(self) -> None:
        """Nobody can tell."""

    def check(self) -> None:
        """Memory is always there."""

    def close(self) -> None:
        self._objects.clear()

    def _stored(self, key: str) -> _Object:
        found = self._objects.get(key)
        if found is None:
            raise RegistryError(Code.BLOB_UNKNOWN, "the blob's bytes are missing from the storage")
        return found


class _MemoryAppending:
    def __init__(self, target: _Object, offset: int) -> None:
        self._target, self._offset = target, offset
        self._open = True

    def write(self, data: Buffer, /) -> None:
        del self._target.data[self._offset :]
        self._target.data += data
        self._offset += len(data)
        self._target.modified = time.time()

    def close(self) -> Parts:
        if self._open:
            self._open = False
            self._target.writer.release()
        return (self._offset,)


def _lock(target: _Object) -> None:
    if not target.writer.acquire(blocking=False):
        raise RegistryError(
            Code.RANGE_INVALID, "another client is writing to this upload; ask for its state, then go on", retry=True
        )


_: type[BlobStore] = MemoryStore
