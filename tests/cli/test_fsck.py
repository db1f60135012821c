"""`moorage fsck`: what it says, and how it ends."""

import json
import os
import pty
import re
import shutil
import stat
import subprocess
import sys

import httpx
import pytest

from tests import make
from tests.cli.running import environment, moorage
from tests.conftest import ROOT, start

LAB = ROOT / "tests" / "lab.yml"
LAYER = b"layer" * 10_000


@pytest.fixture(scope="module")
def pushed(tmp_path_factory):
    """The data folder of a registry that was stopped, with one image in it."""
    data = tmp_path_factory.mktemp("fsck") / "data"
    server = start(data)
    with httpx.Client(base_url=server.url) as client:
        make.push_image(client, "acme/app", "1", b"{}", LAYER)
    server.stop()
    return data


@pytest.fixture
def data(pushed, tmp_path):
    return shutil.copytree(pushed, tmp_path / "data")


def fsck(data, *options, **environ):
    return moorage("fsck", "--config", LAB, "--data", data, *options, **environ)


def layer(data):
    (path,) = [one for one in (data / "blobs" / "u").rglob("*") if one.is_file()]
    return path


def spoil(data):
    layer(data).write_bytes(b"L" + LAYER[1:])


def test_a_sound_registry_ends_with_0(data):
    done = fsck(data)
    assert (done.returncode, done.stdout) == (0, "everything is sound\n")
    assert [re.sub(r"\d[\d.]* (\w)", r"N \1", line) for line in done.stderr.splitlines()] == [
        "database: looking", "blobs: N KiB of N KiB", "manifests: N bytes of N bytes",
        "storage: looking", "storage: N object",
    ]  # fmt: skip
    _, blobs, manifests, _, _ = done.stderr.splitlines()
    for part in (blobs, manifests):
        read, whole = part.partition(": ")[2].split(" of ")
        assert read == whole


def test_rot_is_told_and_ends_with_1_until_it_was_pushed_again(data):
    spoil(data)
    digest, rotten = make.digest(LAYER), make.digest(b"L" + LAYER[1:])
    done = fsck(data)
    assert done.returncode == 1
    found = f"hash: {digest} in acme/app: the stored bytes have the digest {rotten}"
    assert done.stdout.splitlines() == [
        found, "1 left", "with --repair, what is damaged is quarantined, and what can be mended is",
    ]  # fmt: skip
    done = fsck(data, "--repair")
    assert done.returncode == 1
    assert done.stdout.splitlines() == [
        f"{found} (quarantined)", "1 quarantined", "what is quarantined is not served; pushing it again heals it",
    ]  # fmt: skip
    assert fsck(data).stdout.splitlines()[0] == f"{found.replace('hash', 'damaged', 1)} (quarantined)"
    server = start(data)
    with httpx.Client(base_url=server.url) as client:
        assert make.push_blob(client, "acme/app", LAYER).status_code == 201
    server.stop()
    assert fsck(data).returncode == 0


def test_a_blob_that_may_not_be_read_is_told_and_ends_with_2(data):
    path = layer(data)
    path.unlink()
    os.mknod(path, stat.S_IFSOCK | 0o640)
    done = fsck(data, "--repair")
    why = "the blob's bytes cannot be read from the storage: No such device or address"
    assert (done.returncode, done.stdout.splitlines()) == (
        2, [f"unchecked: {make.digest(LAYER)} in acme/app: {why}", "1 left"],
    )  # fmt: skip


def test_json_is_one_document(data):
    spoil(data)
    done = fsck(data, "--json")
    assert done.returncode == 1
    document = json.loads(done.stdout)
    assert document["repair"] is False
    assert document["totals"] == {"left": 1, "repaired": 0, "quarantined": 0}
    (finding,) = document["findings"]
    assert finding == {
        "kind": "hash",
        "what": make.digest(LAYER),
        "where": "acme/app",
        "words": f"the stored bytes have the digest {make.digest(b'L' + LAYER[1:])}",
        "then": "left",
    }


def test_a_spoiled_database_is_told_and_nothing_else_is_believed(data):
    path = data / "moorage.db"
    content = bytearray(path.read_bytes())
    content[-4096:-4032] = b"\xff" * 64
    path.write_bytes(content)
    done = fsck(data, "--repair")
    assert done.returncode == 1
    assert done.stdout.startswith("database: the file: ")
    assert done.stderr.splitlines() == ["database: looking"]


@pytest.mark.parametrize(
    ("prepare", "told"),
    [
        (shutil.rmtree, "there is no registry: "),
        (lambda data: shutil.rmtree(data / "blobs"), "there are no blobs in "),
        (lambda data: (data / "moorage.db").write_bytes(b"noise" * 2000), "cannot be used: "),
        (lambda data: (data / "moorage.db").write_bytes(b""), "its schema is at None"),
    ],
)
def test_what_cannot_be_checked_ends_with_2_in_one_line(data, prepare, told):
    prepare(data)
    done = fsck(data, "--json")
    assert (done.returncode, done.stdout) == (2, "")
    (line,) = done.stderr.splitlines()
    assert line.startswith("moorage: ")
    assert told in line


def test_the_blob_folder_of_another_registry_is_refused_not_found_empty(data):
    (data / "blobs" / "store").write_text("5" * 32)
    done = fsck(data, "--repair")
    assert (done.returncode, done.stdout) == (2, "")
    assert "belongs to the blob store" in done.stderr
    assert "moorage gc adopt" in done.stderr


def test_a_registry_in_memory_cannot_be_checked(data):
    done = moorage("fsck", REGISTRY_STORAGE="inmemory", REGISTRY_DATA=str(data))
    assert done.returncode == 2
    assert "only its server can reach them" in done.stderr


def test_a_faulty_configuration_ends_with_2(tmp_path):
    config = tmp_path / "config.yml"
    config.write_text("gc: {window: 1}\n")
    done = moorage("fsck", "--config", config)
    assert done.returncode == 2
    assert "gc.window" in done.stderr


def test_a_terminal_is_shown_a_bar_and_a_pipe_only_the_findings(data):
    spoil(data)
    leader, follower = pty.openpty()
    done = subprocess.Popen(
        [sys.executable, "-m", "moorage", "fsck", "--config", LAB, "--data", data],
        stdout=subprocess.PIPE, stderr=follower, text=True, env=environment(TERM="xterm", COLUMNS="100"),
    )  # fmt: skip
    os.close(follower)
    shown = b""
    try:
        while piece := os.read(leader, 65536):
            shown += piece
    except OSError:
        pass  # how Linux tells that a terminal has no other side any more
    os.close(leader)
    findings = done.communicate(timeout=60)[0]
    assert findings.startswith(f"hash: {make.digest(LAYER)}")
    assert "━" in shown.decode()
    assert "hash:" not in shown.decode()
