"""What happens between a look at the rows and a look at the bytes is not taken for a fault."""

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

from sqlalchemy import delete, select

from moorage.db.schema import blobs, edges, links, trash_blobs
from moorage.features.integrity import rows, settle, verify
from moorage.features.integrity.fsck import Finding, check
from moorage.features.integrity.settle import Then
from moorage.storage.filesystem import FilesystemStore
from moorage.storage.store import Content, StoredKey
from tests import make
from tests.integrity.plant import Garden, age
from tests.integrity.test_rot import examine, scrub, served
from tests.model.nodes import TRASH


class Meddling(FilesystemStore):
    """A folder in which something happens just before bytes are looked for, and just after they were listed."""

    def __init__(self, root: Path, deed: Callable[[str], None]) -> None:
        super().__init__(root)
        self._deed = deed

    def open(self, key: str, start: int, stop: int, /) -> Content:
        self._deed(key)
        return super().open(key, start, stop)

    def keys(self) -> Iterator[StoredKey]:
        listed = list(super().keys())
        for one in listed:
            self._deed(one.key)
        yield from listed


def examine_while(garden: Garden, deed: Callable[[str], None]) -> list[Finding]:
    store = Meddling(garden.fleet.blobs, deed)
    try:
        return list(check(replace(garden.fleet.nodes[0].registry, store=store), repair=False, keep=TRASH))
    finally:
        store.close()


def test_a_blob_that_is_deleted_meanwhile_is_not_missing(garden: Callable[[int], Garden]) -> None:
    plot = garden(1)
    layer = b"alone" * 10_000
    plot.push_blob("acme/app", layer)
    path = plot.file(layer)
    done: list[str] = []

    def collect(key: str) -> None:
        if key.endswith(path.name) and not done:
            done.append(key)
            row = select(blobs.c.id).where(blobs.c.storage_key == key).scalar_subquery()
            plot.sql(delete(links).where(links.c.blob_id == row), delete(blobs).where(blobs.c.storage_key == key))
            path.unlink()

    assert examine_while(plot, collect) == []
    assert done


def test_a_blob_that_is_healed_meanwhile_is_not_rotten(garden: Callable[[int], Garden]) -> None:
    plot = garden(1)
    image = plot.images[0]
    path = plot.file(image.layers[0])
    plot.damage("flip", [image.layers[0]])
    done: list[str] = []

    def heal(key: str) -> None:
        if key.endswith(path.name) and not done:
            done.append(key)
            scrub(plot)
            assert plot.push_blob(image.repository, image.layers[0]).status == 201

    assert examine_while(plot, heal) == []
    assert done


def test_bytes_that_the_collector_destroys_meanwhile_are_no_orphans(garden: Callable[[int], Garden]) -> None:
    plot = garden(1)
    path = plot.file(plot.images[0].layers[0])
    for file in path.parent.parent.rglob("*-*"):
        age(file)
    done: list[str] = []

    def collect(key: str) -> None:
        if key.endswith(path.name) and not done and plot.rows(select(trash_blobs)):
            done.append(key)
            path.unlink()
            plot.sql(delete(trash_blobs))

    key = str(path.relative_to(plot.fleet.blobs))
    row = select(blobs.c.id).where(blobs.c.storage_key == key).scalar_subquery()
    plot.sql(
        trash_blobs.insert().values(storage_key=key, digest="", size=1, state="purging", purge_after=0),
        delete(links).where(links.c.blob_id == row),
        edges.update().where(edges.c.blob_id == row).values(blob_id=None),
        delete(blobs).where(blobs.c.storage_key == key),
    )
    found = examine_while(plot, collect)
    assert [one.words for one in found] == [
        f"the blob {make.digest(plot.images[0].layers[0])} is not in the repository; push it"
    ]
    assert done


def test_an_upload_under_way_is_no_orphan(garden: Callable[[int], Garden]) -> None:
    plot = garden(0)
    place = plot.fleet.ask(0, "POST", "/v2/acme/app/blobs/uploads/").headers["Location"]
    assert plot.fleet.ask(0, "PATCH", place, b"part" * 10_000).status == 202
    (file,) = [one for one in (plot.fleet.blobs / "blobs" / "u").rglob("*-*") if one.is_file()]
    age(file)
    assert examine(plot) == []


def test_a_late_verdict_on_bytes_in_a_row_does_not_condemn_those_that_came_since(
    garden: Callable[[int], Garden],
) -> None:
    plot = garden(1)
    image = plot.images[0]
    plot.damage_inline([image.config])
    db = plot.fleet.nodes[0].db
    ((identity,),) = plot.rows(select(blobs.c.id).where(blobs.c.digest == make.digest(image.config)))
    stale = db.read_now(rows.blob, identity)
    assert stale is not None
    damage = verify.content(stale.digest, stale.size, stale.content)
    scrub(plot)
    assert plot.push_blob(image.repository, image.config).status == 201
    assert db.write_now(settle.blob, stale, damage, 1) is Then.LEFT
    plot.broken.clear()
    served(plot, image)
