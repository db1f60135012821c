"""F05, F25: disks that are full, out of inodes, or suddenly read-only."""

import json
import os
import subprocess
from collections.abc import Callable
from pathlib import Path

import httpx
import pytest

from tests import make
from tests.conftest import Served, tool
from tests.faults.matrix.conftest import QUICK_GC
from tests.faults.matrix.means import fill, free, healthy, injected, layer, told, until

Disk = Callable[..., Path]
Start = Callable[..., Served]
Connect = Callable[[Served], httpx.Client]

MIB = 1 << 20
RESERVE = {"REGISTRY_STORAGE_RESERVE": "8MiB"}
NONE = {"REGISTRY_STORAGE_RESERVE": "0"}


def files(folder: Path) -> list[Path]:
    return [one for one in folder.glob("blobs/u/*/*") if one.is_file()]


def kept(client: httpx.Client, bodies: dict[str, bytes]) -> None:
    """Everything that was acknowledged can be pulled."""
    for tag, body in bodies.items():
        assert client.get(f"/v2/acme/app/manifests/{tag}").content == body
        for one in json.loads(body)["layers"]:
            pulled = client.get(f"/v2/acme/app/blobs/{one['digest']}")
            assert (pulled.status_code, make.digest(pulled.content)) == (200, one["digest"])


def push_until_full(client: httpx.Client, size: int) -> tuple[dict[str, bytes], httpx.Response]:
    """Images that were acknowledged, by tag, and the refusal in the end."""
    bodies: dict[str, bytes] = {}
    assert make.push_blob(client, "acme/app", b"{}").status_code == 201
    for number in range(1000):
        content = layer(number, size)
        body = make.image(b"{}", content)
        answer = make.push_blob(client, "acme/app", content)
        if answer.status_code == 201:
            url = f"/v2/acme/app/manifests/t{number}"
            answer = client.put(url, content=body, headers={"Content-Type": make.IMAGE})
        if answer.status_code != 201:
            return bodies, answer
        bodies[f"t{number}"] = body
    raise AssertionError("the disk was never full")


@pytest.mark.parametrize("reserve", ["8MiB", "0"])
def test_f05_a_full_blob_disk_refuses_pushes_and_nothing_else(
    disk: Disk, registry: Start, connect: Connect, tmp_path: Path, reserve: str
) -> None:
    blobs = disk("blobs")
    place = {"REGISTRY_STORAGE_FILESYSTEM_ROOTDIRECTORY": str(blobs), "REGISTRY_STORAGE_RESERVE": reserve}
    server = registry(tmp_path / "data", **place, **QUICK_GC)
    client = connect(server)
    bodies, refusal = push_until_full(client, 5 * MIB)
    message = told(refusal, 507, "STORAGE_FULL")
    assert "the blob storage" in message
    assert "must free or add space" in message
    assert len(bodies) >= 7
    if reserve != "0":
        assert "storage.reserve" in message
        detail = refusal.json()["errors"][0]["detail"]
        assert detail["missing"] == detail["reserve"] + 5 * MIB - detail["free"]
        assert free(blobs) >= 8 * MIB
        assert str(blobs) in server.log.read_text()
    until(lambda: len(files(blobs)) == len(bodies))  # nothing is left of what was refused
    kept(client, bodies)
    # Bodies without a length, and chunk by chunk.
    upload = client.post("/v2/acme/app/blobs/uploads/")
    if upload.status_code == 202:
        refused = client.patch(upload.headers["Location"], content=(bytes(MIB) for _ in range(40)))
        told(refused, 507, "STORAGE_FULL")
        assert client.get(upload.headers["Location"]).headers["Range"] == "0-0"
        assert sum(one.stat().st_size for one in files(blobs)) == 5 * MIB * len(bodies)
        assert client.delete(upload.headers["Location"]).status_code == 204
    # What frees space is not refused, and then there is room again, without a restart.
    (first, body), *_ = bodies.items()
    assert client.delete(f"/v2/acme/app/manifests/{make.digest(body)}").status_code == 202
    del bodies[first]
    until(lambda: len(files(blobs)) == len(bodies), 40)
    healthy(client, "acme/app", 1000)
    kept(client, bodies)


def test_f05_a_full_database_disk_still_takes_deletes_and_the_collector(
    disk: Disk, registry: Start, connect: Connect, tmp_path: Path
) -> None:
    data = disk("data")
    ballast = data / "moorage.db-ballast"
    place = {"REGISTRY_STORAGE_FILESYSTEM_ROOTDIRECTORY": str(tmp_path / "blobs")}
    server = registry(data, **place, **RESERVE, **QUICK_GC)
    client = connect(server)
    bodies = {f"t{n}": make.push_image(client, "acme/app", f"t{n}", b"{}", layer(n)) for n in range(30)}
    until(lambda: ballast.exists() and ballast.stat().st_size > MIB)
    filler = fill(data)
    assert free(data) < 64 * 1024
    for refused in (
        client.post("/v2/acme/app/blobs/uploads/"),
        make.push_blob(client, "acme/app", b"small"),
        make.push_blob(client, "acme/app", layer(99)),
        client.put("/v2/acme/app/manifests/new", content=bodies["t0"], headers={"Content-Type": make.IMAGE}),
    ):
        message = told(refused, 507, "STORAGE_FULL")
        assert "the database's disk has" in message
        assert "storage.reserve" in message
    kept(client, bodies)
    for number in range(20):
        body = bodies.pop(f"t{number}")
        deleted = client.delete(f"/v2/acme/app/manifests/{make.digest(body)}")
        assert deleted.status_code == 202, deleted.text
    until(lambda: len(files(tmp_path / "blobs")) == len(bodies), 60)
    assert not ballast.exists()
    assert "its ballast is dropped" in server.log.read_text()
    kept(client, bodies)
    filler.unlink()
    healthy(client, "acme/app", 1000)
    until(ballast.exists)
    server.stop()
    assert "Traceback" not in server.log.read_text()


def test_f05_one_disk_for_everything_may_be_full(disk: Disk, registry: Start, connect: Connect) -> None:
    data = disk("data")
    server = registry(data, **RESERVE, **QUICK_GC)
    client = connect(server)
    bodies, refusal = push_until_full(client, 3 * MIB)
    told(refusal, 507, "STORAGE_FULL")
    filler = fill(data)
    kept(client, bodies)
    told(client.post("/v2/acme/app/blobs/uploads/"), 507, "STORAGE_FULL")
    # A restart on the full disk changes nothing.
    server.process.kill()
    server.process.wait()
    server = registry(data, **RESERVE, **QUICK_GC)
    client = connect(server)
    assert client.get("/readyz").status_code == 200
    kept(client, bodies)
    for number in range(6):
        body = bodies.pop(f"t{number}")
        assert client.delete(f"/v2/acme/app/manifests/{make.digest(body)}").status_code == 202
    # The collector of the server that was killed may have had the lease of its job, for a minute.
    until(lambda: free(data) > 12 * MIB, 90)
    assert filler.exists()
    healthy(client, "acme/app", 1000)
    kept(client, bodies)


def test_f05_a_registry_starts_on_a_disk_that_was_filled_meanwhile(
    disk: Disk, registry: Start, connect: Connect, tmp_path: Path
) -> None:
    """It was stopped properly, so that SQLite has no log there, and no room to make one."""
    data = disk("data")
    place = {"REGISTRY_STORAGE_FILESYSTEM_ROOTDIRECTORY": str(tmp_path / "blobs")}
    server = registry(data, **place, **RESERVE)
    body = make.push_image(connect(server), "acme/app", "1", b"{}", layer(1))
    until((data / "moorage.db-ballast").exists)
    server.stop()
    assert not (data / "moorage.db-wal").exists()
    fill(data)
    assert free(data) < 4096
    client = connect(registry(data, **place, **RESERVE))
    kept(client, {"1": body})
    told(client.post("/v2/acme/app/blobs/uploads/"), 507, "STORAGE_FULL")
    assert client.delete("/v2/acme/app/manifests/1").status_code == 202


def test_f05_a_registry_starts_on_a_full_disk_whose_incarnation_a_power_cut_took(
    disk: Disk, registry: Start, connect: Connect, tmp_path: Path
) -> None:
    blobs = disk("blobs")
    place = {"REGISTRY_STORAGE_FILESYSTEM_ROOTDIRECTORY": str(blobs)}
    server = registry(tmp_path / "data", **place, **RESERVE)
    body = make.push_image(connect(server), "acme/app", "1", b"{}", layer(1))
    server.process.kill()
    server.process.wait()
    os.truncate(blobs / "blobs" / "incarnation", 0)
    fill(blobs)
    client = connect(registry(tmp_path / "data", **place, **RESERVE))
    kept(client, {"1": body})
    told(client.post("/v2/acme/app/blobs/uploads/"), 507, "STORAGE_FULL")


@pytest.mark.parametrize("reserve", ["4MiB", "0"])
def test_f05_a_log_that_cannot_grow_loses_no_commit(
    disk: Disk, registry: Start, connect: Connect, tmp_path: Path, reserve: str
) -> None:
    """Without a reserve, pushes run into the full disk of SQLite's log, again and again."""
    data = disk("data", 32)
    place = {"REGISTRY_STORAGE_FILESYSTEM_ROOTDIRECTORY": str(tmp_path / "blobs"), "REGISTRY_STORAGE_RESERVE": reserve}
    server = registry(data, **place)
    client = connect(server)
    bodies: dict[str, bytes] = {}
    refused = 0
    for number in range(60):
        if number == 20:
            filler = fill(data)
        if number == 50:
            filler.unlink()
        answer = make.push_blob(client, "acme/app", layer(number))
        if answer.status_code == 201:
            body = make.image(b"{}", layer(number), annotations={"large": "x" * 100_000})
            make.push_blob(client, "acme/app", b"{}")
            url = f"/v2/acme/app/manifests/t{number}"
            answer = client.put(url, content=body, headers={"Content-Type": make.IMAGE})
        if answer.status_code == 201:
            bodies[f"t{number}"] = body
        else:
            told(answer, 507, "STORAGE_FULL")
            refused += 1
    assert refused
    assert "t59" in bodies
    kept(client, bodies)
    server.process.kill()
    server.process.wait()
    kept(connect(registry(data, **place)), bodies)
    assert "Traceback" not in server.log.read_text()


def test_f05_no_inodes_left_is_told_as_such(disk: Disk, registry: Start, connect: Connect, tmp_path: Path) -> None:
    blobs = disk("blobs", 64, "-N", "512")
    place = {"REGISTRY_STORAGE_FILESYSTEM_ROOTDIRECTORY": str(blobs)}
    server = registry(tmp_path / "data", **place, **NONE, **QUICK_GC)
    client = connect(server)
    bodies, refusal = push_until_full(client, 40_000)
    assert "no more files" in told(refusal, 507, "STORAGE_FULL")
    kept(client, bodies)
    assert make.push_blob(client, "acme/app", b"small blobs live in rows").status_code == 201
    body = bodies.pop("t0")
    assert client.delete(f"/v2/acme/app/manifests/{make.digest(body)}").status_code == 202
    until(lambda: len(files(blobs)) == len(bodies), 40)
    healthy(client, "acme/app", 1000)


def test_f05_a_full_folder_for_temporary_files_hinders_nobody(
    disk: Disk, registry: Start, connect: Connect, tmp_path: Path
) -> None:
    temporary = disk("tmp", 1, kind="tmpfs")
    fill(temporary)
    server = registry(tmp_path / "data", TMPDIR=str(temporary), SQLITE_TMPDIR=str(temporary))
    client = connect(server)
    content = layer(1, 20 * MIB)
    body = make.push_image(client, "acme/app", "1", b"{}", content, annotations={"large": "x" * 1_000_000})
    kept(client, {"1": body})
    assert client.delete("/v2/acme/app/manifests/1").status_code == 202
    assert {one.name for one in temporary.iterdir()} == {"filler"}
    assert "Traceback" not in server.log.read_text()


@pytest.mark.parametrize(
    "call", ["pwrite64:error=EDQUOT:when=2+", "pwrite64:error=ENOSPC:when=2+", "pwrite64:error=EFBIG"]
)
def test_f05_a_quota_or_a_limit_refuses_one_push(registry: Start, connect: Connect, call: str) -> None:
    server = registry()
    client = connect(server)
    healthy(client, "acme/app", 1)
    place = client.post("/v2/acme/app/blobs/uploads/").headers["Location"]
    assert client.patch(place, content=layer(2)).status_code == 202
    (file,) = [one for one in files(server.data) if place.endswith(one.name)]
    with injected(server, call, paths=(file,)):
        # Every thread's second write fails: some bytes are there by then, and are given back where room is wanting.
        refused = client.patch(place, content=layer(2, 20 * MIB))
        told(refused, *((503, "UNAVAILABLE") if "EFBIG" in call else (507, "STORAGE_FULL")))
    # It stands where it stood, and goes on there.
    assert client.get(place).headers["Range"] == f"0-{len(layer(2)) - 1}"
    assert file.stat().st_size == len(layer(2))
    whole = layer(2) + layer(3)
    assert client.put(f"{place}?digest={make.digest(whole)}", content=layer(3)).status_code == 201
    assert client.get(f"/v2/acme/app/blobs/{make.digest(whole)}").content == whole


@pytest.mark.parametrize("which", ["blobs", "database"])
def test_f25_what_cannot_be_written_any_more_is_told_and_recovers(
    disk: Disk, registry: Start, connect: Connect, tmp_path: Path, which: str
) -> None:
    data, blobs = disk("data"), disk("blobs")
    server = registry(data, REGISTRY_STORAGE_FILESYSTEM_ROOTDIRECTORY=str(blobs), **RESERVE)
    client = connect(server)
    body = make.push_image(client, "acme/app", "1", b"{}", layer(1))
    database = [data / "moorage.db", data / "moorage.db-wal"]
    if which == "blobs":
        subprocess.run(["mount", "-o", "remount,ro", blobs], check=True)
    else:  # files that are open for writing keep the kernel from a remount, so they alone are made immutable
        subprocess.run([tool("chattr"), "+i", *database], check=True)
    try:
        assert client.get("/readyz").status_code == 503
        failing = client.get("/readyz?verbose").json()
        assert failing["database" if which == "blobs" else "storage"] == "ok"
        assert not any("/" in words for words in failing.values()), failing
        kept(client, {"1": body})
        refusals = [make.push_blob(client, "acme/app", layer(2))]
        if which == "database":
            headers = {"Content-Type": make.IMAGE}
            refusals.append(client.put("/v2/acme/app/manifests/2", content=body, headers=headers))
            refusals.append(client.delete("/v2/acme/app/manifests/1"))
        for refused in refusals:
            told(refused, 503, "UNAVAILABLE")
    finally:
        if which == "blobs":
            subprocess.run(["mount", "-o", "remount,rw", blobs], check=True)
        else:
            subprocess.run([tool("chattr"), "-i", *database], check=True)
    until(lambda: client.get("/readyz").status_code == 200, 10)
    healthy(client, "acme/app", 3)
    kept(client, {"1": body})
    assert "Traceback" not in server.log.read_text()


def test_f25_pulls_go_on_when_the_kernel_gives_a_disk_up(disk: Disk, registry: Start, connect: Connect) -> None:
    data = disk("data")
    server = registry(data, **RESERVE)
    client = connect(server)
    body = make.push_image(client, "acme/app", "1", b"{}", layer(1))
    subprocess.run(["mount", "-o", "remount,errors=remount-ro", data], check=True)
    device = subprocess.run(["findmnt", "-no", "SOURCE", data], check=True, capture_output=True, text=True)
    Path(f"/sys/fs/ext4/{Path(device.stdout.strip()).name}/trigger_fs_error").write_text("1")
    until(lambda: client.get("/readyz").status_code == 503)
    told(make.push_blob(client, "acme/app", layer(2)), 503, "UNAVAILABLE")
    told(client.delete("/v2/acme/app/manifests/1"), 503, "UNAVAILABLE")
    kept(client, {"1": body})
    assert client.get("/livez").status_code == 200
    # The kernel wants it mounted anew; then everything acknowledged is there.
    server.process.kill()
    server.process.wait()
    image = data.with_name("data.img")
    subprocess.run(["umount", data], check=True)
    subprocess.run(["mount", "-o", "loop", image, data], check=True)
    client = connect(registry(data, **RESERVE))
    kept(client, {"1": body})
    healthy(client, "acme/app", 3)
