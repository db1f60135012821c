"""Blobs as files of a backup: linked where the disk allows it, else copied."""

import os
from collections.abc import Iterable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Final, Literal

from moorage.core.intake import pieces
from moorage.errors import Code, RegistryError
from moorage.features.backup.record import draft
from moorage.oci import digest as digests
from moorage.storage.store import LOST, BlobStore, File

How = Literal["kept", "linked", "copied", "missing"]

_PIECE: Final = 1024 * 1024


def keep(store: BlobStore, key: str, size: int, target: Path) -> How:
    """Have a blob's bytes in `target`, durable but for its name: the folder is the caller's to sync.

    A file that is there already was finished, for it got its name last; keys are never used again, so it needs no
    second look.  Raises OSError and RegistryError.
    """
    with suppress(FileNotFoundError):
        if target.stat().st_size == size:
            return "kept"
        target.unlink()
    try:
        content = store.open(key, 0, size)
    except RegistryError as error:
        if error.code is Code.BLOB_UNKNOWN:
            return "missing"
        raise
    if isinstance(content, File) and (content.size != size or _link(content.fd, target)):
        os.close(content.fd)
        return "linked" if content.size == size else "missing"
    with draft(target) as made:
        with made.open("xb") as file:
            for piece in pieces(content):
                file.write(piece)
            file.flush()
            os.fsync(file.fileno())
            if file.tell() != size:
                return "missing"
        made.replace(target)
    return "copied"


def keep_sound(target: Path, digest: str, size: int) -> How:
    """Keep what an earlier backup has of a blob that is damaged in the store, where its bytes are sound.

    Otherwise it goes: the blob may be found sound again, and by its size this would pass for its bytes.
    """
    if holds(target, digest, size):
        return "kept"
    if target.is_file():
        target.unlink()
    return "missing"


def holds(path: Path, digest: str, size: int) -> bool:
    """Whether a file has a blob's bytes.  Raises OSError."""
    return path.is_file() and is_sound(_read(path), digest, size)


def is_sound(parts: Iterable[bytes], digest: str, size: int) -> bool:
    """Whether these are a blob's bytes, all of them; not where the disk has lost some.  Raises OSError."""
    try:
        hasher = digests.hasher(digest.partition(":")[0])
    except RegistryError:  # it is the digest in the row that rotted
        return False
    found = 0
    try:
        for part in parts:
            hasher.update(part)
            found += len(part)
    except OSError as error:
        if error.errno not in LOST:
            raise
        return False
    return found == size and hasher.digest().text == digest


def _read(path: Path) -> Iterator[bytes]:
    """The bytes of a file in pieces."""
    with path.open("rb") as file:
        while piece := file.read(_PIECE):
            yield piece


def _link(fd: int, target: Path) -> bool:
    """Give an open file a second name.  False where it lies on another disk, or that is not allowed.

    A sealed blob is never written to again, so that both names have the same bytes for good.
    """
    folder = os.open(target.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        # Only with a folder does Python ask for the link itself to be followed.
        os.link(f"/proc/self/fd/{fd}", target.name, src_dir_fd=folder, dst_dir_fd=folder, follow_symlinks=True)
    except OSError:
        return False
    finally:
        os.close(folder)
    return True
