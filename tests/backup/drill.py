"""What a drill is made of: images that are pushed while backups are made, and the commands as people run them."""

import os
import re
import threading
from dataclasses import dataclass, field
from pathlib import Path
from typing import Self

import httpx
from sqlalchemy import update

from moorage.db import blobs, schema
from moorage.db.blobs import Blob
from moorage.db.engine import Tx, open_database
from moorage.oci.digest import Digest
from tests import make
from tests.cli.running import moorage
from tests.conftest import ROOT

LAB = ROOT / "tests" / "lab.yml"


def command(*arguments: object, data: Path, status: int = 0, **environment: str) -> str:
    """Run a command of ours; gives what it said, having checked how it ended."""
    done = moorage(*arguments, "--config", LAB, "--data", data, **environment)
    assert done.returncode == status, (done.returncode, done.stdout, done.stderr)
    return done.stdout + done.stderr


def refused(*arguments: object, data: Path, **environment: str) -> str:
    """The one line in which a command says why not."""
    told = command(*arguments, data=data, status=1, **environment)
    assert told.startswith("moorage: ")
    assert len(told.splitlines()) == 1, told
    return told


def new_files(told: str) -> tuple[int, int]:
    """How many files a backup says it added and removed."""
    found = re.search(r"new: (\d+) files.*removed: (\d+)", told)
    assert found, told
    return int(found[1]), int(found[2])


def condemn(url: str, blob: bytes, content: bytes | None = None) -> None:
    """Write down that a blob's bytes are damaged, as a check does; and other ones into its row, if given."""
    database = open_database(url)
    try:
        found = database.read_now(blobs.stored, Digest.parse(make.digest(blob)))
        assert found
        database.write_now(blobs.condemn, found, "hash: the stored bytes are others")
        if content is not None:
            database.write_now(_rot, found, content)
    finally:
        database.close_now()


def _rot(tx: Tx, found: Blob, content: bytes) -> None:
    tx.execute(update(schema.blobs).where(schema.blobs.c.id == found.id).values(content=content))


def lose_rows(data: Path) -> None:
    for one in data.glob("moorage.db*"):
        one.unlink()


def heal(url: str, name: str, blob: bytes) -> None:
    """Push as clients do: only what HEAD does not find."""
    with httpx.Client(base_url=url) as client:
        assert client.head(f"/v2/{name}/blobs/{make.digest(blob)}").status_code == 404
        assert make.push_blob(client, name, blob).status_code == 201
        assert client.get(f"/v2/{name}/blobs/{make.digest(blob)}").content == blob


@dataclass
class Images:
    """Images that were acknowledged, by tag."""

    url: str
    name: str = "acme/app"
    acknowledged: dict[str, tuple[bytes, list[bytes]]] = field(default_factory=dict)

    def push(self, tag: str, *, layers: int = 2, size: int = 40_000) -> None:
        config = b'{"tag": "%s"}' % tag.encode()
        content = [config, *(os.urandom(size) for _ in range(layers))]
        with httpx.Client(base_url=self.url) as client:
            manifest = make.push_image(client, self.name, tag, *content)
        self.acknowledged[tag] = (manifest, content)

    def check(self, url: str, tags: list[str] | None = None) -> None:
        """Everything is there, byte for byte."""
        with httpx.Client(base_url=url) as client:
            for tag in self.acknowledged if tags is None else tags:
                manifest, content = self.acknowledged[tag]
                assert client.get(f"/v2/{self.name}/manifests/{tag}").content == manifest
                for blob in content:
                    got = client.get(f"/v2/{self.name}/blobs/{make.digest(blob)}")
                    assert (got.status_code, got.content == blob) == (200, True), (tag, make.digest(blob))


class Pushing:
    """Pushes one image after the other, in a thread of its own, while the `with` lasts."""

    def __init__(self, images: Images) -> None:
        self._images = images
        self._stop = threading.Event()
        self._failed: Exception | None = None
        self._thread = threading.Thread(target=self._run)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join(60)
        assert self._failed is None, self._failed

    def _run(self) -> None:
        number = 0
        try:
            while not self._stop.wait(0.02) and number < 100:
                self._images.push(f"busy-{number}")
                number += 1
        except Exception as error:  # noqa: BLE001 - told in the end, in the test's own thread
            self._failed = error


def files(folder: Path) -> dict[str, Path]:
    """The stored blobs below a folder, by their key."""
    return {
        f"blobs/u/{one.parent.name}/{one.name}": one for one in (folder / "blobs" / "u").rglob("*") if one.is_file()
    }


def file_of(folder: Path, blob: bytes) -> Path:
    """The file with these bytes."""
    (found,) = [one for one in files(folder).values() if one.read_bytes() == blob]
    return found
