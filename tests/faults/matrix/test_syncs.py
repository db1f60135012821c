"""F06, F07: disks that fail to sync, and writes that fall short."""

import re
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import httpx
import pytest

from tests import make
from tests.conftest import Served
from tests.faults.matrix.means import healthy, injected, layer, told

Start = Callable[..., Served]
Connect = Callable[[Served], httpx.Client]


def push(client: httpx.Client, number: int) -> tuple[list[httpx.Response], bytes]:
    """The answers to one whole push in the way of docker (POST, PATCH, PUT, PUT manifest), up to the first failure."""
    content = layer(number)
    body = make.image(b"{}", content)
    answers = [client.post("/v2/acme/app/blobs/uploads/")]
    place = answers[0].headers.get("Location", "")
    steps: list[Callable[[], httpx.Response]] = [
        lambda: client.patch(place, content=content),
        lambda: client.put(f"{place}?digest={make.digest(content)}"),
        lambda: make.push_blob(client, "acme/app", b"{}"),
        lambda: client.put(f"/v2/acme/app/manifests/t{number}", content=body, headers={"Content-Type": make.IMAGE}),
    ]
    for step in steps:
        if answers[-1].status_code >= 400:
            break
        answers.append(step())
    return answers, body


def sound(data: Path) -> None:
    with closing(sqlite3.connect(data / "moorage.db")) as raw:
        assert raw.execute("PRAGMA integrity_check").fetchall() == [("ok",)]


@pytest.mark.parametrize(
    ("place", "error"), [("log", "EIO"), ("log", "ENOSPC"), ("database", "EIO"), ("blob", "EIO"), ("folder", "EIO")]
)
def test_f06_a_failed_sync_fails_its_request_and_loses_nothing(
    registry: Start, connect: Connect, place: str, error: str
) -> None:
    """Every sync of its kind fails for as long as the fault lasts."""
    server = registry()
    client = connect(server)
    acknowledged = {f"t{n}": push(client, n)[1] for n in (1, 2)}
    paths = {
        "log": [server.data / "moorage.db-wal"],
        "database": [server.data / "moorage.db"],
        "folder": sorted((server.data / "blobs" / "u").iterdir()),
    }
    call = f"fsync,fdatasync:error={error}"
    with injected(server, *split(call), paths=tuple(paths.get(place, ()))) as log:
        if place == "blob":
            log.touch()
        answers, body = push(client, 3)
        failed = answers[-1]
        if failed.status_code >= 400:
            refused(failed)
        else:
            assert place == "database"  # only a checkpoint syncs it, and nobody waits for that
            acknowledged["t3"] = body
        for tag, one in acknowledged.items():
            assert client.get(f"/v2/acme/app/manifests/{tag}").content == one
    assert place == "database" or "(INJECTED)" in log.read_text()
    # No restart: a fresh upload of the same content succeeds.
    answers, body = push(client, 3)
    assert answers[-1].status_code == 201, answers[-1].text
    acknowledged["t3"] = body
    healthy(client, "acme/app", 4)
    server.process.kill()
    server.process.wait()
    sound(server.data)
    client = connect(registry(server.data))
    for tag, one in acknowledged.items():
        assert client.get(f"/v2/acme/app/manifests/{tag}").content == one
        for number in re.findall(r"t(\d)", tag):
            content = layer(int(number))
            assert client.get(f"/v2/acme/app/blobs/{make.digest(content)}").content == content


def test_f06_bytes_whose_sync_failed_are_not_gone_on_with_where_even_their_file_cannot_go(
    registry: Start, connect: Connect
) -> None:
    """A second sync would succeed: the kernel has told of the error, and calls the pages clean."""
    server = registry()
    client = connect(server)
    content = layer(1)
    place = client.post("/v2/acme/app/blobs/uploads/").headers["Location"]
    assert client.patch(place, content=content).status_code == 202
    (file,) = (one for one in (server.data / "blobs" / "u").rglob("*-*") if one.is_file())
    finish = f"{place}?digest={make.digest(content)}"
    with injected(server, "fdatasync:error=EIO", "unlink:error=EROFS", paths=(file,)):
        refused(client.put(finish))
    assert file.read_bytes() == content
    assert client.put(finish).status_code == 404
    assert push(client, 1)[0][-1].status_code == 201


def split(call: str) -> list[str]:
    """One expression of strace for each call that is named."""
    names, _, what = call.partition(":")
    return [f"{name}:{what}" for name in names.split(",")]


def refused(answer: httpx.Response) -> None:
    code = {503: "UNAVAILABLE", 507: "STORAGE_FULL"}[answer.status_code]
    told(answer, answer.status_code, code)


@pytest.mark.parametrize("number", [1, 2, 3])
def test_f06_each_sync_of_a_push_may_be_the_one_that_fails(registry: Start, connect: Connect, number: int) -> None:
    """The n-th of every thread's syncs: the writer's and those of the bytes' threads."""
    server = registry()
    client = connect(server)
    before = push(client, 1)[1]
    failures = 0
    with injected(server, *split(f"fsync,fdatasync:error=EIO:when={number}")):
        for attempt in range(6):
            answers, body = push(client, 10 + attempt)
            if answers[-1].status_code == 201:
                assert client.get(f"/v2/acme/app/manifests/t{10 + attempt}").content == body
            else:
                refused(answers[-1])
                failures += 1
    assert failures
    for attempt in range(6):
        answers, body = push(client, 10 + attempt)
        assert answers[-1].status_code == 201, answers[-1].text
    assert client.get("/v2/acme/app/manifests/t1").content == before
    server.process.kill()
    server.process.wait()
    sound(server.data)
    client = connect(registry(server.data))
    for attempt in range(6):
        content = layer(10 + attempt)
        assert client.get(f"/v2/acme/app/blobs/{make.digest(content)}").content == content


def test_f06_a_failed_checkpoint_loses_nothing_and_is_made_up_for(registry: Start, connect: Connect) -> None:
    server = registry()
    client = connect(server)
    bodies = {}

    def large(number: int) -> dict[str, object]:
        return {"annotations": {"large": f"{number:07}" * 150_000}}

    with injected(server, *split("fsync,fdatasync:error=EIO"), paths=(server.data / "moorage.db",)) as log:
        for number in range(12):
            bodies[number] = make.push_image(client, "acme/app", f"c{number}", b"{}", b"layer", **large(number))
    assert "(INJECTED)" in log.read_text()
    for number in range(12, 18):
        bodies[number] = make.push_image(client, "acme/app", f"c{number}", b"{}", b"layer", **large(number))
    for number, body in bodies.items():
        assert client.get(f"/v2/acme/app/manifests/c{number}").content == body
    server.stop()
    assert not (server.data / "moorage.db-wal").exists()
    sound(server.data)


@pytest.mark.parametrize("call", ["pwrite64:retval=1000:when=1+2", "pwrite64:error=EINTR:when=1+2"])
def test_f07_short_and_interrupted_writes_of_a_blob_are_gone_on_with(
    registry: Start, connect: Connect, call: str
) -> None:
    """As strace pretends, 1,000 bytes were written, and none were: the rest is written, and nothing fails."""
    server = registry()
    client = connect(server)
    place = client.post("/v2/acme/app/blobs/uploads/").headers["Location"]
    assert client.patch(place, content=layer(1)).status_code == 202
    (file,) = [one for one in server.data.glob("blobs/u/*/*") if place.endswith(one.name)]
    with injected(server, call, paths=(file,)) as log:
        answer = client.patch(place, content=layer(2))
    assert "(INJECTED)" in log.read_text()
    assert answer.status_code == 202
    whole = layer(1) + layer(2)
    done = client.put(f"{place}?digest={make.digest(whole)}")
    assert done.status_code == 201
    if "EINTR" in call:  # no byte is missing
        assert client.get(f"/v2/acme/app/blobs/{make.digest(whole)}").content == whole
    else:  # the file is whole in length; its hole is what a scrub finds
        assert file.stat().st_size == len(whole)
        assert file.read_bytes() != whole


def test_f07_real_short_writes_are_gone_on_with(registry: Start, connect: Connect, tmp_path: Path) -> None:
    """A limit of file sizes cuts a write: a part is written and the rest refused, so nothing is kept of it."""
    import resource

    server = registry()
    client = connect(server)
    place = client.post("/v2/acme/app/blobs/uploads/").headers["Location"]
    assert client.patch(place, content=layer(1)).status_code == 202
    soft, hard = resource.prlimit(server.process.pid, resource.RLIMIT_FSIZE)
    resource.prlimit(server.process.pid, resource.RLIMIT_FSIZE, (5_000_000, hard))
    told(client.patch(place, content=layer(2, 8_000_000)), 503, "UNAVAILABLE")
    resource.prlimit(server.process.pid, resource.RLIMIT_FSIZE, (soft, hard))
    assert client.get(place).headers["Range"] == f"0-{len(layer(1)) - 1}"
    whole = layer(1) + layer(2, 8_000_000)
    assert client.patch(place, content=layer(2, 8_000_000)).status_code == 202
    assert client.put(f"{place}?digest={make.digest(whole)}").status_code == 201
    assert client.get(f"/v2/acme/app/blobs/{make.digest(whole)}").content == whole


@pytest.mark.parametrize("place", ["log", "database"])
@pytest.mark.parametrize("error", ["EIO", "EINTR"])
def test_f07_failed_writes_of_rows_fail_their_requests_alone(
    registry: Start, connect: Connect, place: str, error: str
) -> None:
    server = registry()
    client = connect(server)
    before = push(client, 1)[1]
    path = server.data / {"log": "moorage.db-wal", "database": "moorage.db"}[place]
    with injected(server, f"pwrite64:error={error}:when=1+3", paths=(path,)):
        for number in range(2, 8):
            answers, body = push(client, number)
            if answers[-1].status_code == 201:
                assert client.get(f"/v2/acme/app/manifests/t{number}").content == body
            else:
                refused(answers[-1])
    for number in range(2, 8):
        assert push(client, number)[0][-1].status_code == 201
    assert client.get("/v2/acme/app/manifests/t1").content == before
    server.stop()
    sound(server.data)
