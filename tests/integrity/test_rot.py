"""R8: a thousand faults of every kind, all found in one pass, and nothing else."""

import errno
import json
from collections.abc import Callable

import pytest
from sqlalchemy import select, update

from moorage.access.action import Action
from moorage.access.actor import Actor
from moorage.access.permit import SEAL, Permit
from moorage.core import pull
from moorage.core.registry import DAY, SECOND
from moorage.db.schema import blobs, events, manifests, trash_blobs
from moorage.features.integrity.fsck import Finding, check, outcome
from moorage.features.integrity.scrub import Pace, Scrub
from moorage.features.integrity.settle import Then
from moorage.features.integrity.verify import Kind
from moorage.oci.digest import Digest
from moorage.oci.names import RepositoryName
from tests import make
from tests.integrity.plant import FILES, ROWS, Garden, Image, age, bar, lose
from tests.model.nodes import TRASH, UNDO

PACE = Pace(period=7 * DAY, interval=600 * SECOND, rate=1 << 50)


def examine(garden: Garden, *, repair: bool = False) -> list[Finding]:
    return list(check(garden.fleet.nodes[0].registry, repair=repair, keep=TRASH))


def break_everything(garden: Garden, share: int) -> None:
    """Of every 50 images 39 get worse, most of them twice."""
    images = garden.images
    layers = [layer for image in images[: 34 * share] for layer in image.layers]
    for place, how in enumerate(sorted(FILES)):
        garden.damage(how, layers[place :: len(FILES)])
    garden.damage_inline(image.config for image in images[: 12 * share])
    garden.damage_manifests(images[34 * share : 44 * share])
    rows = images[44 * share : 48 * share]
    for place, how in enumerate(sorted(ROWS)):
        garden.damage_rows(how, rows[place :: len(ROWS)])
    garden.forget_rows(6 * share)


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_a_thousand_faults_are_found_in_one_pass_by_fsck_and_by_the_scrub(garden: Callable[[int], Garden]) -> None:
    plot = garden(500)
    assert examine(plot) == []
    break_everything(plot, 10)
    assert len(plot.broken) == 1000
    found = examine(plot)
    assert {one.what: one.kind.value for one in found} == plot.broken
    assert len(found) == 1000
    assert {one.then for one in found} == {Then.LEFT}

    scrub(plot)
    rotten = {what for what, kind in plot.broken.items() if kind in {"hash", "size", "missing"}}
    assert {row[0] for row in plot.rows(select(blobs.c.digest).where(blobs.c.damaged.is_not(None)))} | {
        row[0] for row in plot.rows(select(manifests.c.digest).where(manifests.c.hold.is_not(None)))
    } == rotten


def scrub(garden: Garden, pace: Pace = PACE) -> int:
    return garden.fleet.steps(Scrub(garden.fleet.nodes[0].registry, pace).step)


def test_what_is_repaired_is_served_no_more_and_a_push_heals_it_in_place(garden: Callable[[int], Garden]) -> None:
    plot = garden(50)
    break_everything(plot, 1)
    flipped = plot.file(plot.images[1].layers[1])
    found = {one.what: (one.kind.value, one.then) for one in examine(plot, repair=True)}
    mended = {"edge": Then.REPAIRED, "orphan": Then.REPAIRED}
    assert found == {what: (kind, mended.get(kind, Then.QUARANTINED)) for what, kind in plot.broken.items()}
    for image in plot.images:
        served(plot, image)
    assert {(one.kind, one.then) for one in examine(plot)} == {(Kind.DAMAGED, Then.QUARANTINED)}
    for image in plot.images[:5]:
        refuse_manifest(plot, image)
    for image in plot.images:
        plot.push(image)
    plot.broken.clear()
    for image in plot.images:
        served(plot, image)
    assert examine(plot) == []
    assert plot.fleet.nodes[0].db.read_now(outcome).consistent
    assert flipped.exists()
    kept = select(trash_blobs.c.purge_after).where(
        trash_blobs.c.storage_key == str(flipped.relative_to(plot.fleet.blobs))
    )
    assert plot.rows(kept)[0][0] >= plot.fleet.clock.now() + UNDO


def refuse_manifest(garden: Garden, image: Image) -> None:
    """A manifest is not pushed, not even again, as long as one of its blobs is damaged."""
    answer = garden.push_manifest(image)
    assert answer.status == 400, answer
    (error,) = json.loads(answer.content)["errors"]
    assert error["code"] == "MANIFEST_BLOB_UNKNOWN"
    damaged = {make.digest(content) for content in (image.config, *image.layers)} & garden.broken.keys()
    assert set(error["detail"]["missing"]) == damaged


def served(garden: Garden, image: Image) -> None:
    """Every part of an image is served as it was pushed, or is not there at all if it is broken."""
    parts = {f"blobs/{make.digest(content)}": content for content in (image.config, *image.layers)}
    broken = any(garden.broken.get(place.partition("/")[2], "edge") != "edge" for place in parts)
    for place, content in (parts | {f"manifests/{image.digest}": image.body}).items():
        whole = garden.get(image.repository, place)
        head = garden.get(image.repository, place, "HEAD")
        part = garden.get(image.repository, place, range="bytes=0-3")
        if garden.broken.get(place.partition("/")[2], "edge") != "edge":
            assert {whole.status, head.status, part.status} == {404}
            (error,) = json.loads(whole.content)["errors"]
            assert "are damaged in the" in error["message"]
            assert "again heals it" in error["message"]
        else:
            pushed_again = broken and place.startswith("manifests")
            assert (whole.status, head.status, whole.content) == (200, 404 if pushed_again else 200, content), place
            assert part.content == (content[:4] if place.startswith("blobs") else content)


def test_manifests_serve_again_when_only_the_blob_is_pushed(garden: Callable[[int], Garden]) -> None:
    plot = garden(2)
    image = plot.images[0]
    plot.damage("flip", [image.layers[0]])
    scrub(plot)
    served(plot, image)
    assert plot.push_blob(image.repository, image.layers[0]).status == 201
    plot.broken.clear()
    served(plot, image)
    assert plot.push_manifest(image).status == 201
    assert examine(plot) == []
    kinds = [row[0] for row in plot.rows(select(events.c.kind).order_by(events.c.id))]
    assert [kind for kind in kinds if kind.startswith("blob.")] == ["blob.damaged", "blob.healed"]


@pytest.mark.parametrize("how", ["flip", "truncate", "delete"])
def test_a_mount_does_not_spread_what_is_damaged(garden: Callable[[int], Garden], how: str) -> None:
    """Not even before anybody has pulled what is gone; what has its size only a scrub can see."""
    plot = garden(1)
    image = plot.images[0]
    plot.damage(how, [image.layers[0]])
    if how == "flip":
        scrub(plot)
    source = f"mount={make.digest(image.layers[0])}&from={image.repository}"
    assert plot.fleet.ask(0, "POST", f"/v2/acme/other/blobs/uploads/?{source}").status == 202
    served(plot, image)


@pytest.mark.parametrize("how", ["truncate", "extend", "delete"])
def test_who_may_push_is_not_told_that_a_lost_blob_is_there(garden: Callable[[int], Garden], how: str) -> None:
    plot = garden(1)
    image = plot.images[0]
    place = f"blobs/{make.digest(image.layers[0])}"
    plot.damage(how, [image.layers[0]])
    assert plot.get(image.repository, place, "HEAD").status == 404
    served(plot, image)
    assert plot.push_blob(image.repository, image.layers[0]).status == 201
    plot.broken.clear()
    served(plot, image)


def test_a_manifest_whose_blob_is_damaged_is_absent_for_who_asks_before_a_push(
    garden: Callable[[int], Garden],
) -> None:
    """crane, oras and regctl ask for the manifest alone, and then push nothing of it."""
    plot = garden(1)
    image = plot.images[0]
    plot.damage("flip", [image.layers[0]])
    scrub(plot)
    place = f"manifests/{image.digest}"
    assert [plot.get(image.repository, place, method).status for method in ("HEAD", "GET")] == [404, 200]
    repository = RepositoryName.parse(image.repository)
    puller = Permit(Actor("puller"), repository, frozenset({Action.PULL}), SEAL)
    reference = Digest.parse(image.digest)
    node = plot.fleet.nodes[0]
    assert plot.fleet.runner.run(pull.manifest(node.registry, puller, reference, head=True)).digest == reference
    assert plot.push_blob(image.repository, image.layers[0]).status == 201
    plot.broken.clear()
    served(plot, image)


def test_a_put_that_is_repeated_after_its_blob_was_lost_begins_anew(garden: Callable[[int], Garden]) -> None:
    plot = garden(1)
    content = b"a layer of its own" * 4096
    start = plot.fleet.ask(0, "POST", "/v2/acme/twice/blobs/uploads/")
    put = f"{start.headers['Location']}?digest={make.digest(content)}"
    assert plot.fleet.ask(0, "PUT", put, content).status == 201
    assert plot.fleet.ask(0, "PUT", put, content).status == 201
    plot.file(content).unlink()
    assert plot.fleet.ask(0, "PUT", put, content).status == 404


@pytest.mark.parametrize("how", ["truncate", "extend", "delete"])
def test_a_pull_that_finds_the_bytes_cut_or_lost_has_them_pushed_again(
    garden: Callable[[int], Garden], how: str
) -> None:
    plot = garden(1)
    image = plot.images[0]
    place = f"blobs/{make.digest(image.layers[0])}"
    plot.damage(how, [image.layers[0]])
    assert plot.get(image.repository, place).status == 404
    served(plot, image)
    assert plot.rows(select(events.c.repository).where(events.c.kind == "blob.damaged")) == [(image.repository,)]


DISKS = [errno.EIO, errno.EUCLEAN, errno.EBADMSG, errno.ENODATA]
"""What they say of bytes that they have lost."""


@pytest.mark.parametrize("number", DISKS)
def test_a_file_that_its_disk_will_not_open_is_rot_to_fsck(
    garden: Callable[[int], Garden], monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    plot = garden(2)
    lost, image = plot.file(plot.images[0].layers[0]), plot.images[0]
    plot.damage("flip", [plot.images[1].layers[0]])
    plot.broken[make.digest(image.layers[0])] = "unreadable"
    with monkeypatch.context() as disk:
        lose(disk, str(lost).__eq__, number)
        assert {one.what: one.kind.value for one in examine(plot)} == plot.broken
        found = examine(plot, repair=True)
        assert {one.what: one.kind.value for one in found} == plot.broken
        assert {one.then for one in found} == {Then.QUARANTINED}
        assert plot.fleet.nodes[0].db.read_now(outcome).consistent
        served(plot, image)
        assert plot.push_blob(image.repository, image.layers[0]).status == 201
        del plot.broken[make.digest(image.layers[0])]
        served(plot, image)


@pytest.mark.parametrize("number", DISKS)
def test_a_pull_that_the_disk_fails_has_the_blob_pushed_again(
    garden: Callable[[int], Garden], monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    plot = garden(1)
    image = plot.images[0]
    digest = make.digest(image.layers[0])
    lose(monkeypatch, str(plot.file(image.layers[0])).__eq__, number)
    assert plot.get(image.repository, f"blobs/{digest}").status == 404
    plot.broken[digest] = "unreadable"
    served(plot, image)
    assert plot.push_blob(image.repository, image.layers[0]).status == 201
    plot.broken.clear()
    served(plot, image)


def test_a_blob_that_may_not_be_read_is_told_and_the_pass_goes_on(garden: Callable[[int], Garden]) -> None:
    plot = garden(2)
    image = plot.images[0]
    barred = make.digest(image.layers[0])
    bar(plot.file(image.layers[0]))
    plot.damage("flip", [plot.images[1].layers[0]])
    found = {one.what: (one.kind, one.then) for one in examine(plot, repair=True)}
    rotten = make.digest(plot.images[1].layers[0])
    assert found == {barred: (Kind.UNCHECKED, Then.LEFT), rotten: (Kind.HASH, Then.QUARANTINED)}
    assert not plot.fleet.nodes[0].db.read_now(outcome).consistent
    assert [plot.get(image.repository, f"blobs/{barred}", method).status for method in ("GET", "HEAD")] == [503, 503]


def test_files_of_somebody_else_are_no_finding(garden: Callable[[int], Garden]) -> None:
    plot = garden(1)
    shard = plot.file(plot.images[0].layers[0]).parent
    for path in (shard / ".3f0c.AbC123", shard / ".nfs0001", shard.parent / "notes"):
        path.write_bytes(b"theirs")
        age(path)
    (shard / "folder").mkdir()
    age(shard / "folder")
    assert examine(plot, repair=True) == []
    assert plot.fleet.nodes[0].db.read_now(outcome).consistent


def test_what_another_room_holds_back_stays_so_when_its_bytes_are_healed(garden: Callable[[int], Garden]) -> None:
    plot = garden(1)
    image = plot.images[0]
    plot.sql(update(manifests).values(hold="it has a virus"))
    plot.damage_manifests([image])
    assert [one.then for one in examine(plot, repair=True)] == [Then.QUARANTINED]
    assert plot.get(image.repository, f"manifests/{image.digest}").status == 404
    assert plot.push_manifest(image).status == 201
    answer = plot.get(image.repository, f"manifests/{image.digest}")
    assert answer.status == 403
    assert b"virus" in answer.content


def test_a_wrong_size_in_a_row_is_corrected_where_the_bytes_are_right(garden: Callable[[int], Garden]) -> None:
    plot = garden(2)
    for image in plot.images:
        parts = (image.config, image.layers[0])
        for content in parts:
            plot.sql(update(blobs).where(blobs.c.digest == make.digest(content)).values(size=7))
        plot.sql(update(manifests).where(manifests.c.digest == image.digest).values(size=7))
    assert {(one.kind, one.then) for one in examine(plot)} == {(Kind.SIZE, Then.LEFT)}
    assert {(one.kind, one.then) for one in examine(plot, repair=True)} == {(Kind.SIZE, Then.REPAIRED)}
    assert examine(plot) == []
    for image in plot.images:
        served(plot, image)


def test_content_that_a_sparse_registry_may_lack_is_no_fault(garden: Callable[[int], Garden]) -> None:
    plot = garden(1)
    layer = make.descriptor(b"elsewhere", "application/vnd.oci.image.layer.nondistributable.v1.tar")
    config = plot.images[0].config
    body = make.image(config, subject=make.descriptor(b"later", make.IMAGE)).replace(
        b'"layers": []', f'"layers": [{json.dumps(layer)}]'.encode()
    )
    repository = plot.images[0].repository
    assert plot.push_manifest(Image(repository, config, [], body)).status == 201
    assert examine(plot) == []
    index = json.dumps({"schemaVersion": 2, "mediaType": make.INDEX, "manifests": [make.descriptor(body, make.IMAGE)]})
    target = f"/v2/{repository}/manifests"
    assert plot.fleet.ask(0, "PUT", f"{target}/all", index.encode(), content_type=make.INDEX).status == 201
    assert plot.fleet.ask(0, "DELETE", f"{target}/{make.digest(body)}").status == 202
    assert examine(plot) == []
    assert plot.push_manifest(Image(repository, config, [], body)).status == 201
    assert examine(plot) == []
