"""What every blob store promises."""

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from moorage.core.intake import pieces
from moorage.errors import Code, RegistryError
from moorage.storage.filesystem import FilesystemStore
from moorage.storage.memory import MemoryStore

KEY = "blobs/u/ab/abcd"
Store = FilesystemStore | MemoryStore


@pytest.fixture(params=["filesystem", "memory"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Store]:
    one = FilesystemStore(tmp_path) if request.param == "filesystem" else MemoryStore()
    yield one
    one.close()


def put(store: Store, content: bytes, parts: tuple[int, ...] = ()) -> tuple[int, ...]:
    turn = store.append(KEY, parts)
    turn.write(content)
    return turn.close()


def read(store: Store, start: int, stop: int) -> bytes:
    return b"".join(pieces(store.open(KEY, start, stop)))


def test_what_was_appended_in_turns_is_read_as_one(store: Store) -> None:
    parts = put(store, b"hello ")
    parts = put(store, b"world", parts)
    store.seal(KEY, parts)
    assert (sum(parts), read(store, 0, 11), read(store, 6, 8)) == (11, b"hello world", b"wo")


def test_bytes_behind_the_parts_are_forgotten(store: Store) -> None:
    put(store, b"hello torn")
    parts = put(store, b"!", (5,))
    assert (sum(parts), read(store, 0, 6)) == (6, b"hello!")


def test_a_second_writer_is_refused_while_the_first_lives(store: Store) -> None:
    turn = store.append(KEY, ())
    with pytest.raises(RegistryError) as refused:
        store.append(KEY, ())
    assert refused.value.code is Code.RANGE_INVALID
    with pytest.raises(RegistryError) as refused:
        store.seal(KEY, ())
    assert refused.value.code is Code.RANGE_INVALID
    turn.close()
    store.append(KEY, ()).close()


def test_a_turn_that_writes_nothing_changes_nothing(store: Store) -> None:
    parts = put(store, b"acknowledged")
    assert store.append(KEY, (3,)).close() == (3,)
    store.seal(KEY, parts)
    assert read(store, 0, 12) == b"acknowledged"


def test_lost_bytes_are_noticed_by_append_and_seal(store: Store) -> None:
    put(store, b"short")
    for deed in (lambda: store.append(KEY, (50,)), lambda: store.seal(KEY, (50,))):
        with pytest.raises(RegistryError) as refused:
            deed()
        assert refused.value.code is Code.BLOB_UPLOAD_INVALID


def test_writing_nothing_forgets_what_lies_behind(store: Store) -> None:
    put(store, b"hello torn")
    assert put(store, b"", (5,)) == (5,)
    store.seal(KEY, (5,))
    assert read(store, 0, 5) == b"hello"


def test_room_is_a_number_of_bytes_or_unknown(store: Store) -> None:
    free = store.room()
    assert free is None or free > 0


def test_deleting_twice_is_no_error_and_reading_then_is(store: Store) -> None:
    put(store, b"x")
    assert [one.key for one in store.keys()] == [KEY]  # noqa: SIM118 - no dictionary
    store.delete(KEY)
    store.delete(KEY)
    with pytest.raises(RegistryError) as refused:
        store.open(KEY, 0, 1)
    assert refused.value.code is Code.BLOB_UNKNOWN


def test_a_file_that_its_disk_has_lost_is_passed_over(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = FilesystemStore(tmp_path)
    put(store, b"x")

    def lost(**_: bool) -> None:
        raise OSError(errno.EUCLEAN, os.strerror(errno.EUCLEAN))

    @contextmanager
    def listed(folder: Path, scandir: Any = os.scandir) -> Iterator[Any]:
        with scandir(folder) as entries:
            yield iter([SimpleNamespace(name="abce", stat=lost), *entries])

    monkeypatch.setattr(os, "scandir", listed)
    assert [one.key for one in store.keys()] == [KEY]  # noqa: SIM118 - no dictionary
    store.close()


@pytest.fixture
def synced(monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """The files and folders that were synced, since the list was last emptied."""
    seen: list[Path] = []

    def fsync(fd: int, sync: Any = os.fsync) -> None:
        seen.append(Path(f"/proc/self/fd/{fd}").readlink())
        sync(fd)

    monkeypatch.setattr(os, "fsync", fsync)
    return seen


class Killed(BaseException):
    """What a process that is killed does no more."""


@pytest.mark.parametrize("after", ["mkdir", "link"])
def test_who_is_killed_while_he_makes_a_store_leaves_no_folder_unsynced(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, synced: list[Path], after: str
) -> None:
    root, act = tmp_path / "data", getattr(os, after)

    def killed(*args: Any, **kwargs: Any) -> None:
        act(*args, **kwargs)
        if after == "link" or str(args[0]).endswith("/u/ff"):
            raise Killed

    with monkeypatch.context() as first:
        first.setattr(os, after, killed)
        with pytest.raises(Killed):
            FilesystemStore(root)
    synced.clear()
    FilesystemStore(root).close()
    folders = {one for one in synced if one.is_dir()}
    assert folders >= {tmp_path, root, root / "blobs", root / "blobs" / "u"}


def test_a_folder_above_that_cannot_be_written_need_not_be_synced(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, synced: list[Path]
) -> None:
    root = tmp_path / "data"
    FilesystemStore(root).close()
    synced.clear()
    monkeypatch.setattr(os, "access", lambda path, mode: path != tmp_path)  # root may write everywhere
    FilesystemStore(root).close()
    assert synced
    assert tmp_path not in synced


def test_what_somebody_else_has_put_there_is_left_alone(tmp_path: Path) -> None:
    store = FilesystemStore(tmp_path)
    put(store, b"x")
    uploads = tmp_path / "blobs" / "u"
    for name in ("notes", "ab/.abcd.Xy12", "ab/.nfs0001", "ab/Thumbs.db", "ab/a b"):
        (uploads / name).write_bytes(b"theirs")
    for name in ("lost+found", ".snapshot", "ab/folder", "ab/folder/abce"):
        (uploads / name).mkdir()
        (uploads / name / "file").write_bytes(b"theirs")
    (uploads / "ab" / "abcf").symlink_to(uploads / "notes")
    assert [one.key for one in store.keys()] == [KEY]  # noqa: SIM118 - no dictionary
    store.delete("blobs/u/ab/folder")
    assert (uploads / "ab" / "folder" / "file").exists()
    store.close()


@pytest.mark.parametrize("key", ["../x", "blobs/../../x", "/etc/passwd", "blobs/\0", "BLOBS/x"])
def test_no_key_leads_out_of_the_folder(tmp_path: Path, key: str) -> None:
    store = FilesystemStore(tmp_path)
    with pytest.raises(ValueError, match="not a storage key"):
        store.open(key, 0, 1)
    store.close()


def test_a_store_is_the_same_for_ever_and_no_other_is(tmp_path: Path) -> None:
    stores = [FilesystemStore(tmp_path / name) for name in ("a", "a", "b")]
    assert stores[0].identity == stores[1].identity != stores[2].identity
    stores[2].become(stores[0].identity)
    for store in stores:
        store.close()
    again = FilesystemStore(tmp_path / "b")
    assert again.identity == stores[0].identity
    assert sorted(one.name for one in (tmp_path / "b" / "blobs").iterdir()) == ["incarnation", "store", "u"]
    again.close()


def test_a_store_takes_over_an_identity(store: Store) -> None:
    store.become("0" * 32)
    assert store.identity == "0" * 32


def test_a_store_whose_name_is_spoilt_is_not_opened(tmp_path: Path) -> None:
    FilesystemStore(tmp_path).close()
    (tmp_path / "blobs" / "store").write_text("?")
    with pytest.raises(RegistryError, match="gc adopt"):
        FilesystemStore(tmp_path)
