"""A registry full of small images, and every way to break one: on the disk, and in the database beside us."""

import ctypes
import errno
import json
import os
import random
import stat
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import ColumnElement, delete, select, update

from moorage.db.engine import Tx
from moorage.db.schema import blobs, edges, links, manifests
from tests import make
from tests.model.nodes import Answer, Fleet

AGED = 30 * 24 * 3600
"""Seconds; older than what any window spares."""


@dataclass
class Image:
    repository: str
    config: bytes
    layers: list[bytes]
    body: bytes

    @property
    def digest(self) -> str:
        return make.digest(self.body)


@dataclass
class Garden:
    """Images that were pushed, and what of them has been broken since: the digest or key, and the kind."""

    fleet: Fleet
    images: list[Image] = field(default_factory=list)
    broken: dict[str, str] = field(default_factory=dict)

    def grow(self, count: int) -> None:
        """Push images of unlike content: a small config, which lives in its row, and two layers in files."""
        for number in range(count):
            unlike = random.Random(number)
            config = json.dumps({"number": number}).encode()
            layers = [unlike.randbytes(17_000 + unlike.randrange(9_000)) for _ in range(2)]
            image = Image(f"acme/app{number % 7}", config, layers, make.image(config, *layers))
            self.push(image)
            self.images.append(image)

    def push(self, image: Image) -> None:
        """All of an image, without asking what is there."""
        for content in (image.config, *image.layers):
            answer = self.push_blob(image.repository, content)
            assert answer.status == 201, answer
        answer = self.push_manifest(image)
        assert answer.status == 201, answer

    def push_blob(self, repository: str, content: bytes) -> Answer:
        return self.fleet.ask(0, "POST", f"/v2/{repository}/blobs/uploads/?digest={make.digest(content)}", content)

    def push_manifest(self, image: Image) -> Answer:
        target = f"/v2/{image.repository}/manifests/{image.digest}"
        return self.fleet.ask(0, "PUT", target, image.body, content_type=make.IMAGE)

    def get(self, repository: str, place: str, method: str = "GET", **headers: str) -> Answer:
        return self.fleet.ask(1, method, f"/v2/{repository}/{place}", **headers)

    def file(self, content: bytes) -> Path:
        """Where a blob's bytes lie."""
        key = self.rows(select(blobs.c.storage_key).where(blobs.c.digest == make.digest(content)))[0][0]
        return self.fleet.blobs / key

    def rows(self, statement: Any) -> list[Any]:
        return self.fleet.nodes[0].db.scan_now(lambda tx: list(tx.execute(statement).fetchall()))

    def sql(self, *statements: Any) -> None:
        def run(tx: Tx) -> list[int]:
            return [tx.execute(statement).rowcount for statement in statements]

        changed = self.fleet.nodes[0].db.write_now(run)
        assert all(changed), "a statement changed nothing"

    def damage(self, how: str, contents: Iterable[bytes]) -> None:
        """Break the files of blobs."""
        kind, deed = FILES[how]
        for content in contents:
            deed(self.file(content))
            self.broken[make.digest(content)] = kind

    def damage_inline(self, contents: Iterable[bytes]) -> None:
        for content in contents:
            wrong = bytes([content[0] ^ 1]) + content[1:]
            self.sql(update(blobs).where(blobs.c.digest == make.digest(content)).values(content=wrong))
            self.broken[make.digest(content)] = "hash"

    def damage_manifests(self, images: Iterable[Image]) -> None:
        for image in images:
            wrong = image.body[:-1] + b" "
            self.sql(update(manifests).where(manifests.c.digest == image.digest).values(content=wrong))
            self.broken[image.digest] = "hash"

    def damage_rows(self, how: str, images: Iterable[Image]) -> None:
        """Break what the database says of sound manifests."""
        for image in images:
            (identity,) = self.rows(select(manifests.c.id).where(manifests.c.digest == image.digest))[0]
            self.sql(*ROWS[how](identity, image))
            self.broken[image.digest] = "edge"

    def forget_rows(self, count: int) -> None:
        """Leave bytes that no row names, and which have lain there for long."""
        for number in range(count):
            name = f"{number:08x}-0000-4000-8000-000000000000"
            path = self.fleet.blobs / "blobs" / "u" / name[:2] / name
            path.write_bytes(b"nobody's")
            age(path)
            self.broken[f"blobs/u/{name[:2]}/{name}"] = "orphan"


def age(path: Path) -> None:
    then = path.stat().st_mtime - AGED
    os.utime(path, (then, then))


def flip(path: Path) -> None:
    """One bit, somewhere."""
    content = bytearray(path.read_bytes())
    content[random.Random(path.name).randrange(len(content))] ^= 1 << random.Random(path.name).randrange(8)
    path.write_bytes(content)


def punch(path: Path) -> None:
    """A hole, as a file system makes of a block that it has lost."""
    keep_size_and_punch = 3
    with path.open("r+b") as file:
        libc = ctypes.CDLL(None, use_errno=True)
        place, length = ctypes.c_long(4096), ctypes.c_long(4096)
        assert libc.fallocate(file.fileno(), keep_size_and_punch, place, length) == 0


def lose(monkeypatch: pytest.MonkeyPatch, lost: Callable[[str], bool], number: int = errno.EUCLEAN) -> None:
    """Have the disk fail with this error to open the files whose paths are `lost`, as it does without their inodes."""

    def opened(path: str, *args: Any, sound: Callable[..., int] = os.open, **kwargs: Any) -> int:
        if lost(os.fspath(path)):
            raise OSError(number, os.strerror(number), path)
        return sound(path, *args, **kwargs)

    monkeypatch.setattr(os, "open", opened)


def bar(path: Path) -> None:
    """Put something in a file's place that nobody may open, not even root: it says nothing about the bytes."""
    path.unlink()
    os.mknod(path, stat.S_IFSOCK | 0o640)


def extend(path: Path) -> None:
    with path.open("ab") as file:
        file.write(b"\0")


FILES: dict[str, tuple[str, Callable[[Path], None]]] = {
    "flip": ("hash", flip),
    "punch": ("hash", punch),
    "truncate": ("size", lambda path: os.truncate(path, path.stat().st_size - 1)),
    "empty": ("size", lambda path: os.truncate(path, 0)),
    "extend": ("size", extend),
    "delete": ("missing", Path.unlink),
}


def _layer(identity: int) -> ColumnElement[bool]:
    return (edges.c.manifest_id == identity) & (edges.c.position == 1)


def _another(image: Image) -> Any:
    return select(blobs.c.id).where(blobs.c.digest == make.digest(image.config)).scalar_subquery()


def _blob(image: Image) -> Any:
    return select(blobs.c.id).where(blobs.c.digest == make.digest(image.layers[0])).scalar_subquery()


ROWS: dict[str, Callable[[int, Image], list[Any]]] = {
    "unbound": lambda identity, _: [update(edges).where(_layer(identity)).values(blob_id=None)],
    "astray": lambda identity, image: [update(edges).where(_layer(identity)).values(blob_id=_another(image))],
    "gone": lambda identity, _: [delete(edges).where(_layer(identity))],
    "renamed": lambda identity, _: [update(edges).where(_layer(identity)).values(digest=make.digest(b"other"))],
    "role": lambda identity, _: [update(edges).where(_layer(identity)).values(role="config")],
    "unlinked": lambda _, image: [delete(links).where(links.c.blob_id == _blob(image))],
    "subject": lambda identity, _: [
        update(manifests).where(manifests.c.id == identity).values(subject=make.digest(b"x"))
    ],
    "annotated": lambda identity, _: [update(manifests).where(manifests.c.id == identity).values(annotations="{")],
}
