"""Several processes are one registry: whichever is asked, what another acknowledged is there."""

import hashlib
import itertools
import os
import threading
from contextlib import ExitStack
from pathlib import Path

import httpx
import pytest

from moorage.oci import digest as digests
from tests import make
from tests.workers.conftest import Start
from tests.workers.crews import Crewed


def test_every_worker_takes_connections(crew: Crewed) -> None:
    with ExitStack() as stack:
        clients = [stack.enter_context(crew.client()) for _ in range(40)]
        for client in clients:
            client.get("/v2/").raise_for_status()
        served = [crew.who_serves(client) for client in clients]
        assert all(served.count(pid) >= 5 for pid in crew.workers())


def test_a_push_may_go_through_every_worker(crew: Crewed) -> None:
    content = os.urandom(300_000)
    with crew.lines() as lines:
        turn = itertools.cycle(lines.values())
        place = next(turn).post("/v2/acme/turns/blobs/uploads/").headers["Location"]
        for start in range(0, len(content), 50_000):
            piece = content[start : start + 50_000]
            sent = next(turn).patch(place, content=piece, headers={"Content-Range": f"{start}-{start + 49_999}"})
            assert sent.status_code == 202, sent.text
            place = sent.headers["Location"]
        assert next(turn).put(f"{place}?digest={make.digest(content)}").status_code == 201
        for client in lines.values():
            body = make.push_image(client, "acme/turns", "1", b"{}", content)
            for other in lines.values():
                assert other.get("/v2/acme/turns/manifests/1").content == body
                assert other.get(f"/v2/acme/turns/blobs/{make.digest(content)}").content == content


def read_bytes(pid: int) -> int:
    """How many bytes the process has read, from sockets and files."""
    return int(Path(f"/proc/{pid}/io").read_text().split()[1])


def test_a_large_blob_goes_on_in_another_worker_which_reads_none_of_it_again(crew: Crewed) -> None:
    if not digests.hasher("sha256").state():
        pytest.skip("this libcrypto keeps its states to itself")
    content = os.urandom(64 << 20)
    half = len(content) // 2
    with crew.lines() as lines:
        (_, first), (pid, second) = lines.items()
        place = first.post("/v2/acme/large/blobs/uploads/").headers["Location"]
        sent = first.patch(place, content=content[:half])
        assert sent.status_code == 202, sent.text
        before = read_bytes(pid)
        done = second.put(f"{sent.headers['Location']}?digest={make.digest(content)}", content=content[half:])
        assert done.status_code == 201, done.text
        assert read_bytes(pid) - before < half * 1.25
        assert hashlib.sha256(first.get(done.headers["Location"]).content).digest() == hashlib.sha256(content).digest()


MOVES = 3000


def test_whoever_is_asked_after_a_move_sees_the_tag_where_it_is(crew: Crewed) -> None:
    """Of 3,000 moves of a tag, in both workers by turns; readers on both meanwhile."""
    with crew.lines() as lines, crew.lines() as others:
        bodies = [make.push_image(next(iter(lines.values())), "acme/moves", "tag", b"%d" % n) for n in range(5)]
        place = "/v2/acme/moves/manifests/tag"
        acknowledged = [len(bodies) - 1]
        stale: list[str] = []
        ended = threading.Event()

        def read(client: httpx.Client) -> None:
            while not ended.is_set():
                known = acknowledged[0]
                found = bodies.index(client.get(place).content)
                # What was acknowledged before the question, or any of the moves since.
                if found not in {move % len(bodies) for move in range(known, acknowledged[0] + 2)}:
                    stale.append(f"move {known}: {found}")

        readers = [threading.Thread(target=read, args=(client,)) for client in others.values()]
        for reader in readers:
            reader.start()
        try:
            turn = itertools.cycle(lines.values())
            for move in range(len(bodies), MOVES + len(bodies)):
                put = next(turn).put(place, content=bodies[move % len(bodies)], headers={"Content-Type": make.IMAGE})
                assert put.status_code == 201, put.text
                acknowledged[0] = move
                for client in lines.values():
                    assert client.get(place).content == bodies[move % len(bodies)]
        finally:
            ended.set()
            for reader in readers:
                reader.join()
        assert stale == []


def test_workers_share_the_number_of_connections(crewed: Start) -> None:
    crew = crewed(REGISTRY_LIMITS_CONNECTIONS="6")
    with ExitStack() as stack:
        clients = [stack.enter_context(crew.client()) for _ in range(12)]
        answers = [client.get("/v2/").status_code for client in clients]
    assert set(answers) == {200, 503}
    assert answers.count(200) <= 6
