"""One registry behind our server and behind plain uvicorn: whoever asks can tell no difference."""

import asyncio
import os
import random
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest
import uvicorn

from moorage.app import Application, build
from moorage.edge.asgi import app
from moorage.edge.http import FileRange, Handler, Observer, Request, Response
from moorage.edge.server import Admission, Limits, Server
from moorage.errors import Interrupted
from moorage.settings import load
from tests import make

LIMITS = Limits(body_seconds=1, send_seconds=1)
LARGE = random.Random(1).randbytes(3_000_000)


class Uvicorn:
    """Plain uvicorn in this loop."""

    def __init__(self, handler: Handler, observe: Observer | None) -> None:
        served: Any = app(
            handler,
            limits=LIMITS,
            observe=observe,
            trusted_proxies=("127.0.0.1",),
            admission=Admission([], ["6.6.6.7"]),
        )
        config = uvicorn.Config(
            served, port=0, lifespan="on", log_config=None, proxy_headers=False, timeout_graceful_shutdown=5
        )
        self._server = uvicorn.Server(config)
        self._serving: asyncio.Task[None] | None = None

    async def listen(self) -> int:
        self._serving = asyncio.create_task(self._server.serve())
        while not self._server.started:
            await asyncio.sleep(0.01)
        return int(self._server.servers[0].sockets[0].getsockname()[1])

    async def drain(self) -> None:
        self._server.should_exit = True
        assert self._serving is not None
        await self._serving


class Ours:
    def __init__(self, handler: Handler, observe: Observer | None) -> None:
        self._server = Server(
            handler,
            limits=LIMITS,
            observe=observe,
            trusted_proxies=("127.0.0.1",),
            admission=Admission([], ["6.6.6.7"]),
        )

    async def listen(self) -> int:
        return (await self._server.listen("127.0.0.1", 0))[1]

    async def drain(self) -> None:
        await self._server.drain(5)


Kind = type[Uvicorn] | type[Ours]


@contextmanager
def running(kind: Kind, handler: Handler, observe: Observer | None = None) -> Iterator[int]:
    """A server in a thread of its own; gives its port."""
    ports: list[int] = []
    ready, stop = threading.Event(), threading.Event()

    async def serve() -> None:
        server = kind(handler, observe)
        ports.append(await server.listen())
        ready.set()
        await asyncio.to_thread(stop.wait)
        await server.drain()

    thread = threading.Thread(target=asyncio.run, args=(serve(),))
    thread.start()
    try:
        assert ready.wait(60)
        yield ports[0]
    finally:
        stop.set()
        thread.join(60)


@pytest.fixture(params=[Ours, Uvicorn])
def kind(request: pytest.FixtureRequest) -> Kind:
    one: Kind = request.param
    return one


@dataclass
class Place:
    client: httpx.Client
    port: int
    seen: list[tuple[str, int, int]]
    """Method, status and body bytes of every exchange that is over."""


@pytest.fixture
def registry(tmp_path: Path) -> Iterator[Application]:
    built = build(load(environ={}, search=(), overrides={"data": str(tmp_path), "auth.open": True}).settings)
    yield built
    asyncio.run(built.close())


@pytest.fixture
def place(kind: Kind, registry: Application) -> Iterator[Place]:
    seen: list[tuple[str, int, int]] = []

    def observe(request: Request, response: Response, sent: int, _seconds: float) -> None:
        seen.append((request.method, response.status, sent))

    with (
        running(kind, registry.handler, observe) as port,
        httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=60, verify=False) as client,
    ):
        yield Place(client, port, seen)


def open_files(what: str) -> int:
    """How many files with `what` in their path this process holds open."""
    found = 0
    for one in Path("/proc/self/fd").iterdir():
        with suppress(FileNotFoundError):
            found += what in str(one.readlink())
    return found


def until(true: Callable[[], bool]) -> None:
    stop = time.monotonic() + 60
    while not true() and time.monotonic() < stop:
        time.sleep(0.02)
    assert true()


def test_an_image_is_pushed_and_pulled(place: Place) -> None:
    body = make.push_image(place.client, "acme/app", "1", b"{}", LARGE)
    got = place.client.get("/v2/acme/app/manifests/1")
    assert (got.content, got.headers["Content-Type"]) == (body, make.IMAGE)
    assert place.client.get(f"/v2/acme/app/blobs/{make.digest(LARGE)}").content == LARGE
    assert place.client.get("/v2/acme/app/tags/list").json() == {"name": "acme/app", "tags": ["1"]}
    assert [one for one in place.seen if one[0] == "GET"][:2] == [("GET", 200, len(body)), ("GET", 200, len(LARGE))]


def test_every_answer_has_the_headers_of_a_registry(place: Place) -> None:
    for path, status in (("/v2/", 200), ("/v2/acme/app/tags/list", 404), ("/nowhere", 404), ("/livez", 200)):
        answer = place.client.get(path, headers={"X-Request-Id": "mine"})
        assert answer.status_code == status
        assert answer.headers["Docker-Distribution-API-Version"] == "registry/2.0"
        assert answer.headers["X-Content-Type-Options"] == "nosniff"
        assert answer.headers["X-Request-Id"] == "mine"
        assert answer.headers["Content-Length"] == str(len(answer.content))
        assert answer.headers["Date"]
    assert place.client.get("/v2/", headers={"X-Request-Id": "a b"}).headers["X-Request-Id"] != "a b"


def test_a_head_says_what_a_get_would_send(place: Place) -> None:
    make.push_image(place.client, "acme/app", "1", b"{}", LARGE)
    for path in ("/v2/acme/app/manifests/1", f"/v2/acme/app/blobs/{make.digest(LARGE)}", "/v2/acme/app/manifests/2"):
        head, get = place.client.head(path), place.client.get(path)
        assert (head.status_code, head.content) == (get.status_code, b"")
        assert head.headers["Content-Length"] == get.headers["Content-Length"]
    tagged = place.client.get("/v2/acme/app/manifests/1")
    same = place.client.get("/v2/acme/app/manifests/1", headers={"If-None-Match": tagged.headers["ETag"]})
    assert (same.status_code, same.content) == (304, b"")


@pytest.mark.parametrize(
    ("wanted", "status", "expected"),
    [
        ("bytes=0-9", 206, LARGE[:10]),
        ("bytes=1000-", 206, LARGE[1000:]),
        ("bytes=-70000", 206, LARGE[-70_000:]),
        ("bytes=9999999-", 416, None),
        ("lines=1-2", 200, LARGE),
    ],
    ids=["first", "from", "last", "behind", "lines"],
)
def test_a_range_is_that_range(place: Place, wanted: str, status: int, expected: bytes | None) -> None:
    make.push_blob(place.client, "acme/app", LARGE)
    got = place.client.get(f"/v2/acme/app/blobs/{make.digest(LARGE)}", headers={"Range": wanted})
    assert got.status_code == status
    if expected is None:
        make.refused(got, 416, "RANGE_INVALID")
    else:
        assert got.content == expected
        assert got.headers["Content-Length"] == str(len(expected))


def test_several_ranges_come_as_one_stream(place: Place) -> None:
    make.push_blob(place.client, "acme/app", LARGE)
    path = f"/v2/acme/app/blobs/{make.digest(LARGE)}"
    got = place.client.get(path, headers={"Range": "bytes=0-9,2000000-2999999"})
    assert got.status_code == 206
    assert LARGE[:10] in got.content
    assert LARGE[2_000_000:] in got.content
    assert place.client.head(path, headers={"Range": "bytes=0-9,20-29"}).content == b""


@pytest.mark.parametrize(
    ("method", "path", "status", "name"),
    [
        ("GET", "/v2/acme/app/manifests/1", 404, "NAME_UNKNOWN"),
        ("GET", "/v2/acme/app/blobs/sha256:12", 400, "DIGEST_INVALID"),
        ("POST", "/v2/ACME/blobs/uploads/", 400, "NAME_INVALID"),
        ("PATCH", "/v2/acme/app/blobs/uploads/none", 404, "BLOB_UPLOAD_UNKNOWN"),
        ("POST", "/v2/acme/app/tags/list", 405, "UNSUPPORTED"),
        ("GET", "/v2/a%zz/tags/list", 400, "REQUEST_INVALID"),
        ("GET", "/v2/a%00/tags/list", 400, "REQUEST_INVALID"),
        ("GET", "/v2/a%ff/tags/list", 400, "REQUEST_INVALID"),
        ("POST", "/v2/a%2Fb/blobs/uploads/", 400, "NAME_INVALID"),
        ("POST", "/v2/a%252Fb/blobs/uploads/", 400, "NAME_INVALID"),
        ("GET", "/v2/_catalog?n=%ff", 400, "QUERY_INVALID"),
    ],
)
def test_a_refusal_is_the_specifications(place: Place, method: str, path: str, status: int, name: str) -> None:
    with socket.create_connection(("127.0.0.1", place.port), 60) as one:
        one.sendall(f"{method} {path} HTTP/1.1\r\nHost: here\r\nConnection: close\r\n\r\n".encode())
        answer = b"".join(iter(lambda: one.recv(65536), b""))
    assert answer.startswith(b"HTTP/1.1 %d " % status), answer
    assert b'"code": "%b"' % name.encode() in answer


def test_a_path_is_decoded_once(place: Place) -> None:
    make.push_image(place.client, "acme/app", "1", b"{}")
    assert place.client.get("/v2/%61cme/ap%70/manifests/%31").status_code == 200
    assert place.client.post("/v2/%2561cme/app/blobs/uploads/").status_code == 400


@pytest.mark.parametrize("lines", ["Host: here\r\nHost: there", "Host: a b", "X: y"])
def test_a_request_without_one_host_is_refused_and_cut(place: Place, lines: str) -> None:
    with socket.create_connection(("127.0.0.1", place.port), 60) as one:
        one.sendall(f"GET /v2/ HTTP/1.1\r\n{lines}\r\n\r\n".encode())
        answer = b"".join(iter(lambda: one.recv(65536), b""))
    assert answer.startswith(b"HTTP/1.1 400 ")
    assert b"REQUEST_INVALID" in answer


def test_a_blob_comes_in_chunks(place: Place) -> None:
    pieces = (LARGE[at : at + 100_000] for at in range(0, len(LARGE), 100_000))
    location = place.client.post("/v2/acme/app/blobs/uploads/").headers["Location"]
    sent = place.client.patch(location, content=pieces)
    assert (sent.status_code, sent.headers["Range"]) == (202, f"0-{len(LARGE) - 1}")
    done = place.client.put(f"{location}?digest={make.digest(LARGE)}")
    assert done.status_code == 201
    assert place.client.get(done.headers["Location"]).content == LARGE


def test_what_arrived_before_the_client_left_is_kept(place: Place) -> None:
    location = place.client.post("/v2/acme/app/blobs/uploads/").headers["Location"]
    head = f"PATCH {location} HTTP/1.1\r\nHost: here\r\nContent-Length: {len(LARGE)}\r\n\r\n"
    with socket.create_connection(("127.0.0.1", place.port), 60) as one:
        one.sendall(head.encode() + LARGE[:1_000_000])
        time.sleep(0.2)
    until(lambda: ("PATCH", 499, 0) in place.seen)
    arrived = int(place.client.get(location).headers["Range"].partition("-")[2]) + 1
    assert 0 < arrived <= 1_000_000
    rest = place.client.put(f"{location}?digest={make.digest(LARGE)}", content=LARGE[arrived:])
    assert rest.status_code == 201


def test_a_body_that_stalls_is_refused(place: Place) -> None:
    location = place.client.post("/v2/acme/app/blobs/uploads/").headers["Location"]
    with socket.create_connection(("127.0.0.1", place.port), 60) as one:
        one.sendall(f"PATCH {location} HTTP/1.1\r\nHost: here\r\nContent-Length: 100\r\n\r\nhello".encode())
        answer = one.recv(65536)
    assert answer.startswith(b"HTTP/1.1 408 ")
    assert place.client.get(location).headers["Range"] == "0-4"


def test_the_body_is_asked_for_where_it_waits_for_that(place: Place) -> None:
    with socket.create_connection(("127.0.0.1", place.port), 60) as one:
        path = f"/v2/acme/app/blobs/uploads/?digest={make.digest(b'hello')}"
        head = f"POST {path} HTTP/1.1\r\nHost: here\r\nContent-Length: 5\r\nExpect: 100-continue\r\n\r\n"
        one.sendall(head.encode())
        assert one.recv(1024).startswith(b"HTTP/1.1 100 ")
        one.sendall(b"hello")
        assert one.recv(65536).startswith(b"HTTP/1.1 201 ")


def test_a_download_that_is_left_leaves_no_file_open(place: Place) -> None:
    make.push_blob(place.client, "acme/app", LARGE * 10)
    path = f"/v2/acme/app/blobs/{make.digest(LARGE * 10)}"
    for _ in range(5):
        with socket.create_connection(("127.0.0.1", place.port), 60) as one:
            one.sendall(f"GET {path} HTTP/1.1\r\nHost: here\r\n\r\n".encode())
            one.recv(1000)
    until(lambda: len([one for one in place.seen if one[0] == "GET"]) == 5)
    assert max(sent for method, _, sent in place.seen if method == "GET") < 10 * len(LARGE), "it was given up"
    until(lambda: not open_files("/blobs/u/"))


def test_a_client_that_takes_nothing_holds_no_file_for_ever(place: Place) -> None:
    make.push_blob(place.client, "acme/app", LARGE * 10)
    with socket.create_connection(("127.0.0.1", place.port), 60) as one:
        one.sendall(f"GET /v2/acme/app/blobs/{make.digest(LARGE * 10)} HTTP/1.1\r\nHost: here\r\n\r\n".encode())
        until(lambda: any(one[0] == "GET" for one in place.seen))
        until(lambda: not open_files("/blobs/u/"))


def test_who_asks_is_told_by_a_trusted_proxy(kind: Kind) -> None:
    async def who(request: Request) -> Response:
        assert request.header("x-forwarded-for") is None
        return Response(body=f"{request.peer} {request.scheme} {request.header('host')}".encode())

    forwarded = {"X-Forwarded-For": "6.6.6.6, 10.0.0.9", "X-Forwarded-Proto": "https", "X-Forwarded-Host": "hub"}
    with running(kind, who) as port:
        assert httpx.get(f"http://127.0.0.1:{port}/", headers=forwarded).text == "10.0.0.9 https hub"
        refused = httpx.get(f"http://127.0.0.1:{port}/", headers={"X-Forwarded-For": "6.6.6.7"})
        assert (refused.status_code, make.code(refused)) == (403, "DENIED")
        assert refused.json()["errors"][0]["detail"] == {"address": "6.6.6.7"}


async def misbehave(request: Request) -> Response:
    """Answers that are defects, and one that is not."""

    async def pieces() -> Any:
        for _ in range(3):
            yield b"abc"
            await asyncio.sleep(0)

    if request.path == "/raise":
        raise ValueError("a defect")
    if request.path == "/header":
        return Response(headers=[("X", "a\r\nb")])
    if request.path == "/ours":
        return Response(headers=[("Content-Length", "7")])
    if request.path == "/status":
        return Response(99)
    if request.path == "/file":
        fd = os.open("/dev/zero", os.O_RDONLY)
        return Response(body=FileRange(fd, 0, 10), length=11)
    if request.path == "/interrupted":
        raise Interrupted
    lengths = {"/chunked": None, "/exact": 9, "/short": 10, "/long": 8}
    return Response(body=pieces(), length=lengths[request.path])


@pytest.mark.parametrize("path", ["/raise", "/header", "/ours", "/status", "/file"])
def test_a_defect_is_answered_500_without_its_words(kind: Kind, path: str) -> None:
    with running(kind, misbehave) as port:
        answer = httpx.get(f"http://127.0.0.1:{port}{path}")
        assert answer.status_code == 500
        assert make.code(answer) == "UNKNOWN"
        assert "defect" not in answer.text
        assert not open_files("/dev/zero")


def test_a_stream_is_whole_or_cut(kind: Kind) -> None:
    with running(kind, misbehave) as port:
        for path in ("/chunked", "/exact"):
            assert httpx.get(f"http://127.0.0.1:{port}{path}").content == b"abc" * 3
        assert "Content-Length" not in httpx.head(f"http://127.0.0.1:{port}/chunked").headers
        for path in ("/short", "/long"):
            with pytest.raises(httpx.TransportError):
                httpx.get(f"http://127.0.0.1:{port}{path}")


async def test_nothing_but_http_is_spoken() -> None:
    async def never() -> Any:
        raise AssertionError

    with pytest.raises(ValueError, match="websocket"):
        await app(misbehave)({"type": "websocket"}, never, never)  # type: ignore[arg-type]
