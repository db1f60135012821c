"""What is seeded is what pushes would have left."""

import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from bench.content import digest_of, new_image
from bench.seeds import blobs, rows
from bench.seeds.rows import Manifest
from bench.servers import PEERS, Server, start
from bench.workloads.verbs import check_blob, check_manifest, push_image, push_manifest

NAME = "acme/app"
IMAGE = new_image(layers=1)


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    """One that has an image tagged `seed`."""
    started = start(PEERS[0], tmp_path / "server")
    with started.connect() as connection:
        push_image(connection, NAME, "seed", IMAGE)
    yield started
    started.discard()


def is_sound(server: Server) -> bool:
    """Whether rows and bytes agree, as `moorage fsck` sees it."""
    command = [server.peer.command[0], "-m", "moorage", "fsck", "--config", str(server.folder / "config.yml")]
    done = subprocess.run(command, check=False, capture_output=True, text=True)
    print(done.stdout, done.stderr)
    return done.returncode == 0


def test_repositories_are_whole(server: Server) -> None:
    server.stop()
    names = [f"org/app-{at}" for at in range(20)]
    rows.repositories(server.data, NAME, names)
    assert is_sound(server)
    server.restart()
    with server.connect() as connection:
        for name in (names[0], names[-1]):
            check_manifest(connection, name, "seed", IMAGE.manifest)
            check_blob(connection, name, IMAGE.blobs[-1])
            push_manifest(connection, name, "2", IMAGE.sibling(2))


def test_manifests_and_their_referrers_are_whole(server: Server) -> None:
    signature = IMAGE.referrer(IMAGE.manifest, 0)
    with server.connect() as connection:
        push_manifest(connection, NAME, digest_of(signature), signature)
    server.stop()
    other = IMAGE.sibling(1)
    its_own = IMAGE.referrer(other, 1)
    rows.manifests(
        server.data,
        NAME,
        [
            Manifest(digest_of(IMAGE.manifest), digest_of(other), other),
            Manifest(digest_of(signature), digest_of(its_own), its_own, digest_of(other)),
        ],
    )
    assert is_sound(server)
    server.restart()
    with server.connect() as connection:
        check_manifest(connection, NAME, digest_of(other), other)
        found = connection.ask("GET", f"/v2/{NAME}/referrers/{digest_of(other)}").want(200).body.decode()
        assert digest_of(its_own) in found
        assert digest_of(signature) not in found


def test_dead_blobs_have_files_and_living_ones_are_referred_to(server: Server) -> None:
    server.stop()
    now = time.time_ns() // 1000
    blobs.living(server.data, NAME, 250, now)
    first = blobs.dead(server.data, NAME, 3, 20_000, now)
    assert len([file for file in (server.data / "blobs/u").rglob("*") if file.is_file()]) == 3
    with rows.database(server.data) as found:
        unreferenced = "SELECT id FROM blobs WHERE id NOT IN (SELECT blob_id FROM edges WHERE blob_id > 0) ORDER BY id"
        assert [row[0] for row in found.execute(unreferenced)] == [first, first + 1, first + 2]
        assert not found.execute("PRAGMA foreign_key_check").fetchall()
