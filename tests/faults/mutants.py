"""Broken registries: what the harness must notice, or it proves nothing.

    python -m tests.faults.mutants NAME serve …

Each patches the program before its command line runs; the program itself knows nothing of them.
"""

import os
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any


@dataclass(frozen=True)
class Mutant:
    """One way to be broken."""

    says: str
    apply: Callable[[], None]


def _os_with(**changed: Callable[..., Any]) -> SimpleNamespace:
    """The module `os`, some of whose functions do something else."""
    return SimpleNamespace(**{**vars(os), **changed})


def _store_with(**changed: Callable[..., Any]) -> None:
    from moorage.storage import filesystem

    filesystem.os = _os_with(**changed)  # type: ignore[attr-defined]


def _no_file_sync() -> None:
    _store_with(fdatasync=lambda _fd: None)


def _no_folder_sync() -> None:
    _store_with(fsync=lambda _fd: None)


def _failed_sync_ignored() -> None:
    def ignoring(sync: Callable[[int], None]) -> Callable[[int], None]:
        def synced(fd: int) -> None:
            with suppress(OSError):
                sync(fd)

        return synced

    _store_with(fsync=ignoring(os.fsync), fdatasync=ignoring(os.fdatasync))


def _synchronous_normal() -> None:
    from moorage.db.link import Link

    begin = Link.begin
    Link.begin = lambda self, *, durable: begin(self, durable=False)  # type: ignore[method-assign]


def _answer_before_commit() -> None:
    from moorage.db import writer

    def commit(self: Any, members: list[Any]) -> bool:
        if self._link is None:
            self._link = self._connect()
        self._link.begin(durable=any(member.durable for member in members))
        for member in members:
            member.value, member.error = writer._run(self._link, member.fn, member.args, alone=False)
            member.settled = True
        if all(member.durable for member in members):
            writer._release(members)
            time.sleep(0.01)
        self._link.commit()
        return True

    writer.Writer._commit = commit  # type: ignore[method-assign]


def _answer_on_the_spot_before_commit() -> None:
    from moorage.db import writer
    from moorage.db.link import Link

    def write(self: Any, members: list[Any]) -> None:
        self._gathered = []
        link = self._ready_on_the_spot()
        link.begin(durable=True)
        for member in members:
            member.value, member.error = writer._run(link, member.fn, member.args, alone=False)
            member.settled = True
            member.deliver()
        loop = members[0].loop
        loop.call_soon(loop.call_soon, late, link)  # a turn behind those who now answer

    def late(link: Link) -> None:
        if link.open:
            link.commit()

    def next_one(link: Link, *, durable: bool) -> None:
        late(link)
        begin(link, durable=durable)

    begin, Link.begin = Link.begin, next_one  # type: ignore[method-assign]
    writer.Writer._write_gathered = write  # type: ignore[method-assign]
    _on_the_spot()


def _row_before_bytes() -> None:
    from moorage.core import upload
    from moorage.storage.filesystem import FilesystemStore

    held: dict[tuple[FilesystemStore, str], bytearray] = {}

    class Held:
        def __init__(self, content: bytearray, offset: int) -> None:
            self._content = content
            del content[offset:]

        def write(self, data: Any) -> None:
            self._content += data

        def close(self) -> tuple[int, ...]:
            return (len(self._content),)

    def append(self: FilesystemStore, key: str, parts: tuple[int, ...]) -> Held:
        return Held(held.setdefault((self, key), bytearray()), sum(parts))

    def write() -> None:
        while held:
            (store, key), content = held.popitem()
            path = Path(store._path(key))
            with path.open("wb") as file:
                file.write(content)
                file.flush()
                os.fdatasync(file.fileno())
            folder = os.open(path.parent, os.O_RDONLY)
            os.fsync(folder)
            os.close(folder)

    def late(deed: Callable[..., Any]) -> Callable[..., Any]:
        async def done(*arguments: Any) -> Any:
            value = await deed(*arguments)
            write()
            return value

        return done

    FilesystemStore.append = append  # type: ignore[assignment,method-assign]
    FilesystemStore.seal = lambda self, key, parts: None  # type: ignore[method-assign]
    upload.finish = late(upload.finish)
    upload.whole = late(upload.whole)


def _unlinked_before_the_row() -> None:
    from moorage.features.gc import rows
    from moorage.storage.filesystem import FilesystemStore

    stores: list[FilesystemStore] = []
    make, give_up = FilesystemStore.__init__, rows.give_up

    def remembered(self: FilesystemStore, root: Path) -> None:
        make(self, root)
        stores.append(self)

    def keys(tx: Any) -> set[str]:
        return {row[0] for row in tx.raw.execute("SELECT storage_key FROM trash_blobs").fetchall()}

    def hasty(tx: Any, *arguments: Any) -> int:
        before = keys(tx)
        found = give_up(tx, *arguments)
        for key in keys(tx) - before:
            stores[-1].delete(key)
        return found

    FilesystemStore.__init__ = remembered  # type: ignore[method-assign]
    rows.give_up = hasty


def _destroy_what_is_named() -> None:
    """Without the collector's own look at who names a key, which is there for such mistakes."""
    from sqlalchemy import bindparam, select

    from moorage.db.prepared import Prepared
    from moorage.db.schema import trash_blobs
    from moorage.features.gc import rows

    due = trash_blobs.c.purge_after <= bindparam("now")
    rows._DUE = Prepared(  # type: ignore[misc]
        select(trash_blobs.c.storage_key).where(due).limit(bindparam("most"))
    )


def _late_cancellation() -> None:
    from sqlalchemy import bindparam, delete

    from moorage.db import schema, uploads
    from moorage.db.prepared import Prepared

    _destroy_what_is_named()
    uploads._DELETE = Prepared(  # type: ignore[misc]
        delete(schema.uploads).where(schema.uploads.c.id == bindparam("upload"))
    )


def _key_reused() -> None:
    from moorage.core import upload

    _destroy_what_is_named()
    seal, own_key = upload._seal, upload.key_of

    def key_of(one: Any) -> str:
        return f"blobs/u/{one.digest.hex[:2]}/{one.digest.hex}"

    async def sealed(registry: Any, one: Any) -> None:
        await seal_as_it_was(registry, one)
        if one.content is None:
            Path(registry.store._path(own_key(one))).replace(registry.store._path(key_of(one)))

    async def seal_as_it_was(registry: Any, one: Any) -> None:
        upload.key_of = own_key
        try:
            await seal(registry, one)
        finally:
            upload.key_of = key_of

    upload.key_of = key_of
    upload._seal = sealed


def _state_trusted() -> None:
    from moorage.storage import filesystem

    def begin(self: Any, path: str, fd: int, offset: int) -> None:
        filesystem._lock(fd)
        self._path, self._fd, self._offset, self._cut = path, fd, offset, False

    incarnation = filesystem._incarnation
    filesystem._incarnation = lambda path: (incarnation(path)[0], "for ever the same")
    filesystem._FileAppending.__init__ = begin  # type: ignore[method-assign]


MUTANTS = {
    "no-file-sync": Mutant("a blob's bytes are not synced", _no_file_sync),
    "no-folder-sync": Mutant("a blob's name is not synced", _no_folder_sync),
    "synchronous-normal": Mutant("SQLite commits with synchronous=NORMAL", _synchronous_normal),
    "answer-before-commit": Mutant("the answer leaves before the commit", _answer_before_commit),
    "answer-on-the-spot": Mutant("the answer leaves before a commit on the spot", _answer_on_the_spot_before_commit),
    "row-before-bytes": Mutant("a blob's row is written before its bytes", _row_before_bytes),
    "unlinked-before-the-row": Mutant("the collector removes bytes before their row is gone", _unlinked_before_the_row),
    "key-reused": Mutant("a storage key is the digest, so that it comes back after a deletion", _key_reused),
    "late-cancellation": Mutant("who cancels an upload that is finished meanwhile takes its bytes", _late_cancellation),
    "failed-sync-ignored": Mutant("a sync that failed is taken for one that succeeded", _failed_sync_ignored),
    "state-trusted": Mutant("a saved hash goes on although its bytes were lost", _state_trusted),
}


ON_THE_SPOT = "on-the-spot"
"""The name of a registry that is not broken at all: it takes every disk for a quick one, from the first write on."""


def variant(name: str) -> Mutant:
    """A mutant, or what is none."""
    return Mutant("brief writes are done on the loop", _on_the_spot) if name == ON_THE_SPOT else MUTANTS[name]


def _on_the_spot() -> None:
    from moorage.db import writer

    writer.BRISK = 60  # type: ignore[misc]


def main() -> None:
    mutant = MUTANTS[sys.argv.pop(1)]
    mutant.apply()
    from moorage.cli.main import run

    run()


if __name__ == "__main__":
    main()
