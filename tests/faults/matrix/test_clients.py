"""F13, F16, F17, F24, F28: clients that vanish, processes that die or stand still, and what is left of uploads."""

import random
import resource
import signal
import socket
import sqlite3
import struct
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, suppress
from pathlib import Path

import httpx
import pytest

from tests import make
from tests.conftest import Served
from tests.faults.clients import INLINE
from tests.faults.matrix.means import LAYER, descriptors, healthy, layer, starved, told, until

Start = Callable[..., Served]
Connect = Callable[[Served], httpx.Client]


def talk(server: Served, data: bytes, read: int, *, reset: bool) -> bytes:
    """Send some bytes, read up to some of the answer, vanish."""
    with socket.create_connection(("127.0.0.1", server.port), timeout=20) as client:
        if reset:
            client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        client.sendall(data)
        got = b""
        with suppress(TimeoutError):
            while len(got) < read and (piece := client.recv(min(65536, read - len(got)))):
                got += piece
        return got


def threads(server: Served) -> int:
    return len(list(Path(f"/proc/{server.process.pid}/task").iterdir()))


def settled(server: Served, before: list[str]) -> None:
    """Everything that was opened for the vanished is closed."""
    until(lambda: len(descriptors(server)) <= len(before), 30)
    assert not [one for one in descriptors(server) if "/blobs/u/" in one]


@pytest.mark.parametrize("reset", [False, True])
def test_f13_a_client_may_vanish_at_any_byte(registry: Start, connect: Connect, reset: bool) -> None:
    server = registry(REGISTRY_LIMITS_HEADER_SECONDS="2", REGISTRY_LIMITS_BODY_SECONDS="3")
    client = connect(server)
    content = layer(1, 400_000)
    body = make.push_image(client, "acme/app", "1", b"{}", content)
    healthy(client, "acme/app", 2)
    before, tasks = descriptors(server), threads(server)
    blob = f"/v2/acme/app/blobs/{make.digest(content)}"
    head = "Host: registry\r\nContent-Type: application/octet-stream\r\n"
    get = f"GET {blob} HTTP/1.1\r\n{head}\r\n".encode()
    place = client.post("/v2/acme/app/blobs/uploads/").headers["Location"]
    patch = f"PATCH {place} HTTP/1.1\r\n{head}Content-Length: {len(content)}\r\n\r\n".encode() + content
    chunked = f"PATCH {place} HTTP/1.1\r\n{head}Transfer-Encoding: chunked\r\n\r\n".encode()
    chunked += (
        b"".join(b"%x\r\n%b\r\n" % (len(one), one) for one in (content[:100_000], content[100_000:])) + b"0\r\n\r\n"
    )
    put = f"PUT /v2/acme/app/manifests/1 HTTP/1.1\r\nHost: registry\r\nContent-Type: {make.IMAGE}\r\n".encode()
    put += f"Content-Length: {len(body)}\r\n\r\n".encode() + body
    chance = random.Random(13)
    for whole in (get, patch, chunked, put):
        start = whole.index(b"\r\n\r\n") + 4
        cuts = [1, 20, start - 1, start, start + 1, len(whole) - 1]
        cuts += [chance.randrange(1, len(whole)) for _ in range(12)]
        for cut in cuts:
            talk(server, whole[: max(1, min(cut, len(whole)))], 0, reset=reset)
    for read in (1, 17, 200, 400, 65_536, 300_000):
        for _ in range(3):
            talk(server, get, read, reset=reset)
    settled(server, before)
    assert threads(server) <= tasks + 8
    # The torn upload says truly where it stands, and goes on there.
    upload = client.get(place)
    stands_at = int(upload.headers["Range"].partition("-")[2])
    # A reset takes what the kernel had not handed over yet: of a busy server's uploads perhaps all but what fits a row.
    files = [one for one in server.data.glob("blobs/u/*/*") if place.endswith(one.name)]
    assert len(files) == 1 or (reset and stands_at < INLINE)
    assert all(one.stat().st_size >= stands_at for one in files)
    assert client.delete(place).status_code == 204
    healthy(client, "acme/app", 3)
    assert client.get("/v2/acme/app/manifests/1").content == body
    assert "Traceback" not in server.log.read_text()


def test_f13_hundreds_of_aborted_uploads_leave_nothing_open(registry: Start, connect: Connect) -> None:
    server = registry()
    client = connect(server)
    healthy(client, "acme/app", 1)
    before = descriptors(server)
    head = "Host: registry\r\nContent-Length: 1000000\r\n\r\n"

    def abort(number: int) -> None:
        place = httpx.post(f"{server.url}/v2/acme/app/blobs/uploads/", verify=False).headers["Location"]
        talk(server, f"PATCH {place} HTTP/1.1\r\n{head}".encode() + layer(number, 200_000), 0, reset=number % 2 == 0)

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(abort, range(300)))
    settled(server, before)
    healthy(client, "acme/app", 2)
    assert "Traceback" not in server.log.read_text()


def test_f13_a_client_that_reads_nothing_is_let_go(registry: Start, connect: Connect) -> None:
    server = registry(REGISTRY_LIMITS_SEND_SECONDS="1")
    client = connect(server)
    content = layer(1, 30_000_000)
    assert make.push_blob(client, "acme/app", content).status_code == 201
    healthy(client, "acme/app", 3)
    before = descriptors(server)
    request = f"GET /v2/acme/app/blobs/{make.digest(content)} HTTP/1.1\r\nHost: registry\r\n\r\n".encode()
    deaf = [socket.create_connection(("127.0.0.1", server.port)) for _ in range(10)]
    for one in deaf:
        one.sendall(request)
    until(lambda: len(descriptors(server)) > len(before))
    settled(server, before)
    for one in deaf:
        one.close()
    healthy(client, "acme/app", 2)


@pytest.mark.parametrize("kill", [signal.SIGKILL, signal.SIGTERM])
def test_f16_a_torn_upload_goes_on_at_its_true_offset_in_another_process(
    registry: Start, connect: Connect, kill: signal.Signals
) -> None:
    server = registry()
    whole = layer(7, 24_000_000)
    client = connect(server)
    place = client.post("/v2/acme/app/blobs/uploads/").headers["Location"]
    assert client.patch(place, content=whole[:8_000_000]).status_code == 202
    (file,) = [one for one in server.data.glob("blobs/u/*/*") if place.endswith(one.name)]

    def body() -> Iterator[bytes]:
        yield whole[8_000_000:12_000_000]
        until(lambda: file.stat().st_size > 9_000_000)
        server.process.send_signal(kill)
        if kill is signal.SIGTERM:
            time.sleep(0.5)
        else:
            server.process.wait()
        for at in range(12_000_000, len(whole), 1_000_000):
            yield whole[at : at + 1_000_000]

    answered = None
    with suppress(httpx.HTTPError):
        answered = client.patch(place, content=body(), headers={"Content-Range": f"8000000-{len(whole) - 1}"})
    server.process.wait(30)
    client = connect(registry(server.data))
    stands_at = int(client.get(place).headers["Range"].partition("-")[2]) + 1
    assert stands_at >= 8_000_000
    if answered is not None and answered.status_code == 202:
        assert stands_at == len(whole)  # what runs is finished before the end
    assert file.stat().st_size >= stands_at
    # Elsewhere than at its end nobody can go on, and is told where that is.
    wrong = client.patch(place, content=b"x", headers={"Content-Range": "5-5"})
    assert (wrong.status_code, wrong.headers["Range"]) == (416, f"0-{stands_at - 1}")
    for at in range(stands_at, len(whole), 5_000_000):
        piece = whole[at : at + 5_000_000]
        span = f"{at}-{at + len(piece) - 1}"
        assert client.patch(place, content=piece, headers={"Content-Range": span}).status_code == 202
    assert client.put(f"{place}?digest={make.digest(whole)}").status_code == 201
    assert client.get(f"/v2/acme/app/blobs/{make.digest(whole)}").content == whole


@pytest.mark.parametrize("harm", ["corrupt", "ahead", "gone", "truncated", "torn tail"])
def test_f17_a_saved_hash_is_never_trusted_over_the_bytes(registry: Start, connect: Connect, harm: str) -> None:
    server = registry()
    client = connect(server)
    first, second = layer(1, 3_000_000), layer(2, 3_000_000)
    place = client.post("/v2/acme/app/blobs/uploads/").headers["Location"]
    assert client.patch(place, content=first).status_code == 202
    time.sleep(0.1)
    server.process.kill()
    server.process.wait()
    (file,) = [one for one in server.data.glob("blobs/u/*/*") if place.endswith(one.name)]
    identity = place.rpartition("/")[2]
    with closing(sqlite3.connect(server.data / "moorage.db", isolation_level=None)) as raw:
        # What another process would believe if it were not for the incarnation: the worst case.
        if harm == "corrupt":
            raw.execute("UPDATE uploads SET hash_state = randomblob(length(hash_state)) WHERE id = ?", (identity,))
        elif harm == "ahead":
            raw.execute("UPDATE uploads SET parts = '3500000' WHERE id = ?", (identity,))
        elif harm == "gone":
            raw.execute("UPDATE uploads SET hash_state = NULL WHERE id = ?", (identity,))
    if harm == "truncated":
        with file.open("r+b") as cut:
            cut.truncate(1_000_000)
    elif harm == "torn tail":
        with file.open("ab") as more:
            more.write(b"never acknowledged")
    client = connect(registry(server.data))
    whole = first + second
    answer = client.patch(place, content=second)
    if harm in ("ahead", "truncated"):
        told(answer, 400, "BLOB_UPLOAD_INVALID")
    else:
        assert answer.status_code == 202, answer.text
        assert client.put(f"{place}?digest={make.digest(whole)}").status_code == 201
    assert make.push_blob(client, "acme/app", whole).status_code == 201
    assert client.get(f"/v2/acme/app/blobs/{make.digest(whole)}").content == whole


def test_f17_a_corrupt_hash_state_within_one_incarnation_is_noticed(registry: Start, connect: Connect) -> None:
    server = registry()
    client = connect(server)
    first, second = layer(1, 3_000_000), layer(2, 3_000_000)
    whole = first + second
    place = client.post("/v2/acme/app/blobs/uploads/").headers["Location"]
    assert client.patch(place, content=first).status_code == 202
    with closing(sqlite3.connect(server.data / "moorage.db", isolation_level=None, timeout=10)) as raw:
        changed = raw.execute(
            "UPDATE uploads SET hash_state = randomblob(length(hash_state)) WHERE hash_state IS NOT NULL"
        )
        assert changed.rowcount == 1
    assert client.patch(place, content=second).status_code == 202
    assert client.put(f"{place}?digest={make.digest(whole)}").status_code == 201
    assert client.get(f"/v2/acme/app/blobs/{make.digest(whole)}").content == whole


def test_f24_two_hundred_connections_on_64_descriptors_shed_and_recover(registry: Start, connect: Connect) -> None:
    server = registry()
    client = connect(server)
    content = layer(1, 2_000_000)
    body = make.push_image(client, "acme/app", "1", b"{}", content)
    limits = resource.prlimit(server.process.pid, resource.RLIMIT_NOFILE)
    resource.prlimit(server.process.pid, resource.RLIMIT_NOFILE, (64, limits[1]))
    address = ("127.0.0.1", server.port)
    request = f"GET /v2/acme/app/blobs/{make.digest(content)} HTTP/1.1\r\nHost: registry\r\n\r\n".encode()
    crowd = []
    for _ in range(200):
        one = socket.create_connection(address, timeout=20)
        one.sendall(request)
        crowd.append(one)
    time.sleep(2)
    assert server.process.poll() is None
    first = [answer(one) for one in crowd[:40]]
    assert {one for one in first if one} <= {200, 503}, first
    for one in crowd:
        one.close()
    until(lambda: works(client, body), 30)
    resource.prlimit(server.process.pid, resource.RLIMIT_NOFILE, limits)
    healthy(client, "acme/app", 2)
    assert client.get(f"/v2/acme/app/blobs/{make.digest(content)}").content == content


def answer(one: socket.socket) -> int:
    """The status of what came, or 0 where nothing did."""
    one.settimeout(0.5)
    with suppress(OSError):
        line = one.recv(40)
        if line:
            return int(line.split()[1])
    return 0


def works(client: httpx.Client, body: bytes) -> bool:
    with suppress(httpx.HTTPError):
        return client.get("/v2/acme/app/manifests/1").content == body
    return False


def test_f24_the_limit_at_the_start_bounds_the_connections(registry: Start, connect: Connect) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
        server = registry(REGISTRY_LIMITS_CONNECTIONS="20")
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    client = connect(server)
    crowd = [socket.create_connection(("127.0.0.1", server.port), timeout=20) for _ in range(60)]
    for one in crowd:
        with suppress(OSError):
            one.sendall(b"GET /v2/ HTTP/1.1\r\nHost: registry\r\n\r\n")
    seen = [answer(one) for one in crowd]
    assert seen.count(200) == 20
    assert seen.count(503) + seen.count(0) == 40
    assert 503 in seen
    for one in crowd:
        one.close()
    until(lambda: works_at_all(client))
    healthy(client, "acme/app", 1)


def works_at_all(client: httpx.Client) -> bool:
    with suppress(httpx.HTTPError):
        return client.get("/v2/").status_code == 200
    return False


@pytest.mark.parametrize("seconds", [4, pytest.param(30, marks=[pytest.mark.slow])])
def test_f24_a_process_that_stood_still_goes_on(registry: Start, connect: Connect, seconds: float) -> None:
    server = registry(REGISTRY_LIMITS_BODY_SECONDS="60")
    client = connect(server)
    body = make.push_image(client, "acme/app", "1", b"{}", layer(1))
    whole = layer(3, 4_000_000)
    place = client.post("/v2/acme/app/blobs/uploads/").headers["Location"]

    def pieces() -> Iterator[bytes]:
        yield whole[:2_000_000]
        server.process.send_signal(signal.SIGSTOP)
        time.sleep(seconds)
        server.process.send_signal(signal.SIGCONT)
        yield whole[2_000_000:]

    assert client.patch(place, content=pieces()).status_code == 202
    assert client.put(f"{place}?digest={make.digest(whole)}").status_code == 201
    assert client.get(f"/v2/acme/app/blobs/{make.digest(whole)}").content == whole
    assert client.get("/v2/acme/app/manifests/1").content == body
    healthy(client, "acme/app", 2)
    assert "Traceback" not in server.log.read_text()


def test_f24_a_process_that_the_kernel_killed_for_its_memory_has_lost_nothing(
    registry: Start, connect: Connect
) -> None:
    server = registry()
    client = connect(server)
    bodies = {
        f"t{number}": make.push_image(client, "acme/app", f"t{number}", b"{}", layer(number)) for number in (1, 2)
    }
    url, data = server.url, server.data
    acknowledged = list(bodies)

    def push(number: int) -> None:
        with httpx.Client(base_url=url, timeout=60) as one, suppress(httpx.HTTPError, AssertionError, KeyError):
            body = make.push_image(one, "acme/app", f"t{number}", b"{}", layer(number, 8_000_000))
            bodies[f"t{number}"] = body
            acknowledged.append(f"t{number}")

    with starved(server, 3 * 1024 * 1024):
        with ThreadPoolExecutor(16) as pool:
            list(pool.map(push, range(3, 40)))
        assert server.process.wait(60) == -signal.SIGKILL, "it had memory enough"
    client = connect(registry(data))
    for tag in acknowledged:
        assert client.get(f"/v2/acme/app/manifests/{tag}").content == bodies[tag]
        number = int(tag[1:])
        content = layer(number, 8_000_000 if number > 2 else LAYER)
        assert client.get(f"/v2/acme/app/blobs/{make.digest(content)}").content == content
    healthy(client, "acme/app", 1000)


@pytest.mark.parametrize("clients", [200, pytest.param(500, marks=[pytest.mark.slow])])
def test_f28_a_crowd_that_comes_back_at_once_is_served(registry: Start, connect: Connect, clients: int) -> None:
    server = registry(REGISTRY_HTTP_ADDR="127.0.0.1:0")
    client = connect(server)
    content = layer(1, 500_000)
    body = make.push_image(client, "acme/app", "1", b"{}", content)
    server.process.kill()
    server.process.wait()
    server = registry(server.data)
    url = server.url

    def come(number: int) -> list[int]:
        with httpx.Client(base_url=url, timeout=90, verify=False) as one:
            seen = [one.get("/v2/").status_code]
            pulled = one.get("/v2/acme/app/manifests/1")
            seen += [pulled.status_code, one.get(f"/v2/acme/app/blobs/{make.digest(content)}").status_code]
            assert pulled.status_code != 200 or pulled.content == body
            pushed = layer(number % 10, 40_000)
            seen.append(make.push_blob(one, "acme/app", pushed).status_code)
            return seen

    with ThreadPoolExecutor(clients) as pool:
        answers = [status for seen in pool.map(come, range(clients)) for status in seen]
    assert set(answers) <= {200, 201, 503}
    assert answers.count(503) < len(answers) // 10
    healthy(connect(server), "acme/app", 2)
    assert "Traceback" not in server.log.read_text()
