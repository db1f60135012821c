"""Blobs in a folder.

    <root>/
    └── blobs/
        ├── store                  a random word, made once: which store this is
        ├── incarnation            another, new whenever the first process opens the store
        └── u/
            ├── 00/ … ff/          all made when the store is opened, so that one fsync names a file
            └── 3f/
                └── 3f0c…d1        one object, written in place from its first byte, never renamed

Keys are paths below the root, so that blobs which another registry wrote there can be served where they lie.
An object whose row was never written is found by its age and removed by the collector.
"""

import errno
import fcntl
import os
import re
import secrets
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final

from moorage.errors import Code, RegistryError
from moorage.oci.digest import Buffer
from moorage.storage.store import LOST, Appending, BlobStore, File, Parts, StoredKey, unreadable

_KEY: Final = re.compile(r"(?!/|.*(?:^|/)\.)[a-z0-9/._-]{1,512}")
_FOLDER: Final = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC
_IDENTITY: Final = re.compile(r"[0-9a-f]{32}")
_TOKEN: Final = 32
"""Characters of an identity or an incarnation."""
_NO_LINK: Final = os.O_CLOEXEC | os.O_NOFOLLOW
"""Our files are never symbolic links: one that lies in their place would lead a write, or a client, elsewhere."""
_FULL: Final = frozenset({errno.ENOSPC, errno.EDQUOT})
_NO_TMPFILE: Final = frozenset({errno.EOPNOTSUPP, errno.EISDIR, errno.EINVAL})
"""What file systems and kernels say that know no files without a name."""


class FilesystemStore:
    """The blob store for one machine, or for several that share a folder."""

    def __init__(self, root: Path) -> None:
        """Open the store below `root`, making what is missing.  Raises UNAVAILABLE where that cannot be done."""
        self._root = os.fspath(root.absolute())
        self._uploads = root.absolute() / "blobs" / "u"
        with _explained(f"open the blob folder {root}", self._root):
            self._make_shards()
            self.identity = _identity(root.absolute() / "blobs" / "store")
            self._sync_names()
            self._witness, self.incarnation = _incarnation(root.absolute() / "blobs" / "incarnation")

    def __repr__(self) -> str:
        return f"<FilesystemStore {self._root}>"

    def become(self, identity: str, /) -> None:
        target = self._uploads.parent / "store"
        with _explained("write the identity of the blob folder", os.fspath(target)):
            _written(target, identity).replace(target)
            _sync_folder(target.parent)
        self.identity = identity

    def append(self, key: str, parts: Parts, /) -> Appending:
        path = self._path(key)
        with _explained("write a blob", path):
            fd = os.open(path, os.O_WRONLY | os.O_CREAT | _NO_LINK, 0o640)
            try:
                return _FileAppending(path, fd, sum(parts))
            except BaseException:
                os.close(fd)
                raise

    def seal(self, key: str, parts: Parts, /) -> None:
        path = self._path(key)
        with _explained("make a blob durable", path):
            file = _whole(path, sum(parts))
            try:
                folder = os.open(os.path.dirname(path), _FOLDER)  # noqa: PTH120 - plain strings on the hot path
                try:
                    _sync_or_destroy(path, file, folder)
                finally:
                    os.close(folder)
            finally:
                os.close(file)

    def open(self, key: str, start: int, stop: int, /) -> File:
        path = self._path(key)
        try:
            fd = os.open(path, os.O_RDONLY | _NO_LINK)
        except OSError as reason:
            if reason.errno not in {errno.ENOENT, errno.ELOOP}:
                raise unreadable(reason) from reason
            raise RegistryError(Code.BLOB_UNKNOWN, "the blob's bytes are missing from the storage") from None
        return File(fd, start, stop - start, os.fstat(fd).st_size)

    def size(self, key: str, /) -> int:
        found = self.open(key, 0, 0)
        os.close(found.fd)
        return found.size

    def delete(self, key: str, /) -> None:
        path = self._path(key)
        with _explained("delete a blob", path), suppress(IsADirectoryError):  # a folder is no object
            Path(path).unlink(missing_ok=True)

    def keys(self) -> Iterator[StoredKey]:
        """As promised.  Somebody else has put there what is no file, or has a name that is no key: it is left alone."""
        for shard in self._uploads.iterdir():
            if not _KEY.fullmatch(f"blobs/u/{shard.name}") or not shard.is_dir():
                continue
            with os.scandir(shard) as entries:
                for entry in entries:
                    key = f"blobs/u/{shard.name}/{entry.name}"
                    try:
                        found = entry.stat(follow_symlinks=False)
                    except OSError as reason:
                        if reason.errno not in LOST | {errno.ENOENT}:
                            raise
                        continue
                    if stat.S_ISREG(found.st_mode) and _KEY.fullmatch(key):
                        yield StoredKey(key, found.st_size, found.st_mtime)

    def room(self) -> int | None:
        try:
            found = os.statvfs(self._root)
        except OSError:  # whoever writes will be told
            return None
        return found.f_bavail * found.f_frsize

    def check(self) -> None:
        with _explained("write to the blob storage", self._root):
            try:
                os.close(os.open(self._uploads / "00", os.O_RDWR | os.O_TMPFILE | os.O_CLOEXEC, 0o640))
            except OSError as reason:
                if reason.errno not in _FULL | _NO_TMPFILE:  # a full disk still serves and deletes
                    raise
            if not os.access(self._uploads, os.W_OK | os.X_OK):
                raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), self._root)
            if os.statvfs(self._uploads).f_flag & os.ST_RDONLY:
                raise OSError(errno.EROFS, os.strerror(errno.EROFS), self._root)

    def close(self) -> None:
        """Let go of the folder; for tests, as the end of a process does the same."""
        os.close(self._witness)

    def _path(self, key: str) -> str:
        """The file of a key.  Keys are made by us, so a strange one is a defect, and never leaves the root."""
        if not _KEY.fullmatch(key):
            raise ValueError(f"not a storage key: {key!a}")
        return f"{self._root}/{key}"

    def _make_shards(self) -> None:
        self._uploads.mkdir(parents=True, exist_ok=True)
        for number in range(256):
            shard = self._uploads / f"{number:02x}"
            if not shard.is_dir():
                shard.mkdir(exist_ok=True)

    def _sync_names(self) -> None:
        """Make durable what a store is made of, down to the root's own name.

        Whoever finds it all made cannot know that: a process that was killed may have made it.  A folder that cannot
        be written has no new name in it, and may be one that cannot be synced either.
        """
        for folder in (self._uploads, *self._uploads.parents[:3]):
            if os.access(folder, os.W_OK):
                _sync_folder(folder)


class _FileAppending:
    """One writer's turn at a file, held by a lock that the kernel drops with the process."""

    def __init__(self, path: str, fd: int, offset: int) -> None:
        _lock(fd)
        if os.fstat(fd).st_size < offset:
            raise _lost()
        self._path, self._fd, self._offset, self._cut = path, fd, offset, False

    def write(self, data: Buffer, /) -> None:
        view = memoryview(data)
        try:
            if not self._cut:
                os.ftruncate(self._fd, self._offset)
                self._cut = True
            while view:
                written = os.pwrite(self._fd, view, self._offset)
                self._offset += written
                view = view[written:]
        except OSError:
            with _explained("write a blob", self._path):
                raise

    def close(self) -> Parts:
        fd, self._fd = self._fd, -1
        if fd >= 0:
            os.close(fd)
        return (self._offset,)


def _whole(path: str, size: int) -> int:
    """Open a file that must have `size` bytes, and take the turn at it."""
    try:
        fd = os.open(path, os.O_RDONLY | _NO_LINK)
    except FileNotFoundError:
        raise _lost() from None
    try:
        _lock(fd)
        status = os.fstat(fd)
        found = status.st_size if status.st_nlink else -1  # another's sync failed, and took the name away
    except BaseException:
        os.close(fd)
        raise
    if found != size:
        os.close(fd)
        raise _lost()
    return fd


def _sync_or_destroy(path: str, file: int, folder: int) -> None:
    """Sync a file, then its name.

    A sync that failed must not be tried again: the kernel drops the pages it could not write and calls them clean,
    so a second one would succeed over bytes that are on no disk.  Hence the file goes, and the client starts over.
    """
    try:
        os.fdatasync(file)
        os.fsync(folder)
    except OSError:
        with suppress(OSError):
            os.unlink(path)  # noqa: PTH108 - plain strings on the hot path
        raise


def _lost() -> RegistryError:
    return RegistryError(Code.BLOB_UPLOAD_INVALID, "bytes of this upload were lost; start a new one")


def _lock(fd: int) -> None:
    """Take the turn at a file, for as long as it is open.  Raises RANGE_INVALID where another writer has it."""
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise RegistryError(
            Code.RANGE_INVALID, "another client is writing to this upload; ask for its state, then go on", retry=True
        ) from None


def _sync_folder(folder: Path) -> None:
    fd = os.open(folder, _FOLDER)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def _identity(path: Path) -> str:
    """What the store is called; the first process that opens it has its say.  The folder is the caller's to sync."""
    try:
        found = path.read_text("ascii", "replace")
    except FileNotFoundError:
        made = _written(path, secrets.token_hex(16))
        try:
            with suppress(FileExistsError):
                os.link(made, path)
        finally:
            made.unlink()
        found = path.read_text("ascii", "replace")
    if not _IDENTITY.fullmatch(found):
        raise RegistryError(
            Code.UNAVAILABLE,
            f"{path} should hold the 32 hexadecimal digits that name this store, and does not: bring it back from a "
            "backup; if that is lost, delete it and let `moorage gc adopt` accept the new one",
        )
    return found


def _written(path: Path, text: str) -> Path:
    """A durable file beside `path`, to be given its name in one step."""
    made = path.with_name(f"{path.name}.{secrets.token_hex(8)}")
    with made.open("x", encoding="ascii") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    return made


def _incarnation(path: Path) -> tuple[int, str]:
    """Share the store's incarnation with the processes that have it open, or begin a new one if there are none.

    The lock is held, shared, for the life of the process: on a descriptor that can only read, so that the disk can
    be made read-only under a registry that is idle.  On a disk too full to write it down (after a power cut the file
    may be empty) each process has an incarnation of its own, and hashes again what another has begun.
    """
    fd = os.open(path, os.O_RDWR | os.O_CREAT | _NO_LINK, 0o640)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        pass
    else:
        _begin_anew(fd)
    witness = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    # Both locks are ours and exclude each other, so there is a moment without any.  Who comes in between begins an
    # incarnation anew: then hashes are made again from the bytes, no more.
    os.close(fd)
    fcntl.flock(witness, fcntl.LOCK_SH)
    found = os.pread(witness, _TOKEN, 0).decode("ascii", "replace")
    return witness, found if len(found) == _TOKEN else secrets.token_hex(_TOKEN // 2)


def _begin_anew(fd: int) -> None:
    """Write another incarnation, or, on a full disk, at least take away the one before."""
    try:
        os.pwrite(fd, secrets.token_hex(_TOKEN // 2).encode(), 0)
    except OSError as reason:
        if reason.errno not in _FULL:
            raise
        os.ftruncate(fd, 0)


@contextmanager
def _explained(deed: str, path: str) -> Iterator[None]:
    """Turn what the operating system says into a refusal that says what could not be done, and why.

    The cause, which the log shows, names the `path`; clients are not told.
    """
    try:
        yield
    except OSError as reason:
        why = os.strerror(reason.errno) if reason.errno else str(reason)
        if reason.filename is None:
            reason.filename = path
        if reason.errno in _FULL:
            why += _left(path)
            raise RegistryError(
                Code.STORAGE_FULL, f"the registry cannot {deed}: {why}; its operator must free or add space"
            ) from reason
        raise RegistryError(Code.UNAVAILABLE, f"the registry cannot {deed}: {why}") from reason


def _left(path: str) -> str:
    """What is left where `path` lies, in words: bytes may be, and yet no place for another file."""
    try:
        found = os.statvfs(os.path.dirname(path))  # noqa: PTH120 - plain strings, as above
    except OSError:
        return ""
    files = ", and no more files" if found.f_files and not found.f_favail else ""
    return f" ({found.f_bavail * found.f_frsize // 1024} KiB are free in the blob storage{files})"


_: type[BlobStore] = FilesystemStore
