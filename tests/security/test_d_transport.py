"""Attacks by connections: slow ones, many ones, endless ones (group D of the attack list)."""

import json
import os
import resource
import socket
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress

import httpx
import pytest

from tests import make
from tests.conftest import Served
from tests.security.attacker import (
    MIB,
    connect,
    cpu,
    growth,
    many,
    memory,
    pulls,
    read_all,
    request,
    statuses,
    stuff,
    talk,
)

SHORT = {
    "REGISTRY_LIMITS_HEADER_SECONDS": "1",
    "REGISTRY_LIMITS_IDLE_SECONDS": "1",
    "REGISTRY_LIMITS_BODY_SECONDS": "1",
    "REGISTRY_LIMITS_SEND_SECONDS": "1",
}


@pytest.fixture(autouse=True, scope="module")
def files() -> None:
    """As many open files as we may have: each connection is one."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))


@contextmanager
def dripping(connections: list[socket.socket], drop: bytes, every: float) -> Iterator[None]:
    """Send one drop on each connection, again and again."""
    with ThreadPoolExecutor(1) as pool:
        going = [True]

        def drip() -> None:
            while going:
                for one in connections:
                    with suppress(OSError):
                        one.send(drop)
                time.sleep(every)

        pool.submit(drip)
        try:
            yield
        finally:
            going.clear()


def begun(client: httpx.Client, name: str) -> str:
    return str(client.post(f"/v2/{name}/blobs/uploads/").headers["Location"])


# SEC-46: slow clients

HEAD = b"GET /v2/ HTTP/1.1\r\nHost: here\r\n"


@pytest.mark.parametrize("begin", [b"", HEAD], ids=["that say nothing", "with half a header"])
def test_sec_46_two_thousand_connections_hold_up_nobody(victim: Served, begin: bytes) -> None:
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    count = min(2000, most // 4)
    idle = pulls(victim)

    def attack() -> None:
        with many(victim, count, begin):
            assert pulls(victim) <= 10 * idle

    assert growth(victim, attack) <= 60 * MIB


def test_sec_46_a_header_has_its_time_however_it_drips(serve: Callable[..., Served]) -> None:
    server = serve(**SHORT | {"REGISTRY_LIMITS_IDLE_SECONDS": "60"})
    with many(server, 50, HEAD) as slow, dripping(slow, b"X", 0.2):
        for one in slow:
            assert statuses(read_all(one)) == [408]


def test_sec_46_a_body_of_a_byte_now_and_then_is_ended(serve: Callable[..., Served]) -> None:
    server = serve(**SHORT)
    with httpx.Client(base_url=server.url) as client:
        places = [begun(client, "sec46/app") for _ in range(30)]
        idle = pulls(server)
        slow = [connect(server) for _ in places]
        for number, (one, place) in enumerate(zip(slow, places, strict=True)):
            framing = ("Content-Length: 1000000", "Content-Length: 1000", "Transfer-Encoding: chunked")[number % 3]
            one.sendall(request("PATCH", place, framing) + (b"f4240\r\n" if framing[0] == "T" else b""))
        with dripping(slow, b"x", 0.2):
            assert pulls(server) <= 10 * idle
            for one in slow:
                assert statuses(read_all(one)) == [408]
                one.close()
        for place in places:
            assert int(client.get(place).headers["Range"].partition("-")[2]) < 1000


def test_sec_46_a_rest_that_nobody_wants_is_not_waited_for_for_ever(serve: Callable[..., Served]) -> None:
    server = serve(**SHORT)
    with connect(server) as one:
        one.sendall(request("POST", "/v2/sec46/BAD/blobs/uploads/", "Content-Length: 100000", close=False))
        with dripping([one], b"x", 0.2):
            assert statuses(read_all(one)) == [400]


def test_sec_46_a_slow_client_that_goes_on_is_served(serve: Callable[..., Served]) -> None:
    server = serve(**SHORT)
    content = os.urandom(1_500_000)
    with connect(server) as one:
        one.sendall(
            request(
                "POST", f"/v2/sec46/app/blobs/uploads/?digest={make.digest(content)}", f"Content-Length: {len(content)}"
            )
        )
        for at in range(0, len(content), 100_000):
            one.sendall(content[at : at + 100_000])
            time.sleep(0.2)
        assert statuses(read_all(one)) == [201]


def test_sec_46_readers_that_read_nothing_cost_little_and_are_cut(serve: Callable[..., Served]) -> None:
    server = serve(**SHORT | {"REGISTRY_LIMITS_SEND_SECONDS": "4"})
    content = os.urandom(16 * MIB)
    with httpx.Client(base_url=server.url, timeout=60) as client:
        place = make.push_blob(client, "sec46/large", content).headers["Location"]
    idle = pulls(server)

    def attack() -> None:
        with many(server, 150, request("GET", place), window=4096) as readers:
            assert pulls(server) <= 10 * idle
            for one in readers:
                with suppress(ConnectionError):
                    assert len(read_late(one)) < len(content)

    assert growth(server, attack) <= 60 * MIB


def read_late(one: socket.socket) -> bytes:
    """Wait until the server has given up, then read what is there."""
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        state = one.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 1)[0]
        if state != 1:  # not established any more
            break
        time.sleep(0.1)
    return one.recv(1 << 20)


def test_sec_46_manifests_that_nobody_reads_take_bounded_memory(victim: Served, honest: httpx.Client) -> None:
    document = {"schemaVersion": 2, "mediaType": make.INDEX, "manifests": [], "annotations": {"a": "x" * 4_000_000}}
    put = honest.put("/v2/sec46/app/manifests/large", json=document, headers={"Content-Type": make.INDEX})
    assert put.status_code == 201
    raw = request("GET", "/v2/sec46/app/manifests/large")

    def attack() -> None:
        with many(victim, 400, raw, window=4096):
            pulls(victim, 3)

    assert growth(victim, attack) <= 450 * MIB


# SEC-48: memory


def test_sec_48_two_hundred_large_bodies_at_once_take_bounded_memory(victim: Served, honest: httpx.Client) -> None:
    places = [begun(honest, "sec48/app") for _ in range(200)]

    def attack() -> None:
        for framing, before in (("Content-Length: 1073741824", b""), ("Transfer-Encoding: chunked", b"40000000\r\n")):
            with many(victim, 200) as writers:
                for one, place in zip(writers, places, strict=True):
                    one.sendall(request("PATCH", place, framing) + before)
                stuff(writers, os.urandom(MIB), rounds=5)

    attack()  # the pool of buffers is filled once
    assert growth(victim, attack) <= 80 * MIB
    assert memory(victim) <= 400 * MIB


def test_sec_48_header_fields_are_counted(victim: Served) -> None:
    fields = b"".join(b"%x:\r\n" % number for number in range(8000))

    def attack() -> None:
        with many(victim, 300, HEAD + fields) as crowded:
            for one in crowded:
                assert statuses(one.recv(1000)) == [431]

    assert growth(victim, attack) <= 60 * MIB
    assert statuses(talk(victim, request("GET", "/v2/", *(f"X-{number}: 1" for number in range(200))))) == [200]


def test_sec_48_names_and_hosts_are_not_remembered_for_ever(victim: Served) -> None:
    def attack(numbers: range) -> None:
        for number in numbers:
            long = f"{number:04}" + "a" * 60_000
            talk(victim, request("GET", "/v2/", f"{long}: x"))
            talk(victim, request("GET", "/v2/").replace(b"here", long.encode()))
            talk(victim, request("GET", f"/v2/{long}/tags/list"))

    attack(range(100))
    assert growth(victim, lambda: attack(range(100, 500))) <= 15 * MIB


def test_sec_48_refusals_leave_nothing_behind(victim: Served) -> None:
    """What a refused request held is free at once: pushes that fail again and again do not add up."""
    body = json.dumps({"schemaVersion": 2, "x": [f"{number:x}" for number in range(190_000)]}).encode()
    raw = request("PUT", "/v2/sec48/app/manifests/1", f"Content-Type: {make.IMAGE}", body=body)

    def attack(times: int) -> None:
        for _ in range(times):
            assert statuses(talk(victim, raw)) == [400]

    attack(2)
    assert growth(victim, lambda: attack(20)) <= 60 * MIB


@pytest.mark.parametrize("count", [1_000, pytest.param(10_000, marks=pytest.mark.slow)])
def test_sec_48_open_uploads_take_no_memory(victim: Served, count: int) -> None:
    raw = request("POST", "/v2/sec48/sessions/blobs/uploads/", "Content-Length: 0", close=False)
    last = request("POST", "/v2/sec48/sessions/blobs/uploads/", "Content-Length: 0")

    def attack() -> None:
        for _ in range(count // 100):
            assert statuses(talk(victim, raw * 99 + last)) == [202] * 100

    first = cpu(victim, attack)
    assert growth(victim, attack) <= 25 * MIB
    assert cpu(victim, attack) <= 2 * first + 0.5


def test_sec_48_a_digest_that_never_matches_leaves_no_bytes(serve: Callable[..., Served]) -> None:
    server = serve(REGISTRY_GC_INTERVAL="1s")
    content = os.urandom(MIB)
    with httpx.Client(base_url=server.url) as client:
        for number in range(20):
            wrong = make.digest(str(number).encode())
            assert client.post(f"/v2/sec48/app/blobs/uploads/?digest={wrong}", content=content).status_code == 400
            assert client.put(f"{begun(client, 'sec48/app')}?digest={wrong}", content=content).status_code == 400
    deadline = time.monotonic() + 40
    while any(one.is_file() for one in (server.data / "blobs" / "u").rglob("*")) and time.monotonic() < deadline:
        time.sleep(0.2)
    assert not [one for one in (server.data / "blobs" / "u").rglob("*") if one.is_file()]
