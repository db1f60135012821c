"""The server on real sockets: framing, patience, and what it leaves behind."""

import asyncio
import gc
import os
import socket
import tempfile
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from moorage.edge.http import FileRange, Request, Response, render
from moorage.edge.server import Limits, Server
from moorage.edge.server.heads import LEANS_ON, HeadReader
from moorage.errors import Interrupted, RegistryError

MIB = 1024 * 1024
SHORT = Limits(header_seconds=0.3, idle_seconds=0.4, body_seconds=0.3, send_seconds=0.3)


async def echo(request: Request) -> Response:
    """Says what it was asked, or gives the body back, or a file of as many MiB as the path says."""
    if request.path.startswith("/file/"):
        with tempfile.TemporaryFile() as file:
            count = int(request.path[6:]) * MIB
            file.truncate(count)
            return Response(body=FileRange(os.dup(file.fileno()), 0, count))
    if request.path == "/refuse":
        return Response(400, body=b"no")
    if request.path == "/fail":
        raise ValueError("a defect")
    try:
        got = b"".join([bytes(piece) async for piece in request.body])
    except RegistryError as error:
        return render(error)
    return Response(body=got or f"{request.method} {request.path}".encode())


@asynccontextmanager
async def serving(
    handler: Callable[[Request], Any] = echo, limits: Limits | None = None
) -> AsyncIterator[tuple[Server, int]]:
    server = Server(handler, limits=limits)
    _, port = await server.listen("127.0.0.1", 0)
    try:
        yield server, port
    finally:
        await server.drain(1)


async def talk(port: int, *sent: bytes, wait: float = 0) -> bytes:
    """Send pieces, then read until the server closes."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        for piece in sent:
            writer.write(piece)
            await writer.drain()
            await asyncio.sleep(wait)
        return await asyncio.wait_for(reader.read(), 20)
    except ConnectionResetError:
        return b""
    finally:
        writer.close()


def open_files() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


def get(path: str = "/", *headers: str, version: str = "1.1", close: bool = True) -> bytes:
    lines = [f"GET {path} HTTP/{version}", "Host: here", *headers, *(["Connection: close"] if close else [])]
    return "\r\n".join([*lines, "", ""]).encode()


def put(body: bytes, *headers: str) -> bytes:
    lines = ["PUT / HTTP/1.1", "Host: here", "Connection: close", *headers, "", ""]
    return "\r\n".join(lines).encode() + body


def test_what_is_used_of_uvicorn_is_there() -> None:
    state: Any = type("State", (), {"connections": set(), "tasks": set()})()
    loop = asyncio.new_event_loop()
    reader = HeadReader(state, loop, 1024)
    reader.flow = type(reader).__mro__[1].__init__.__globals__["FlowControl"](None)  # type: ignore[assignment, index]
    reader.read_head(b"GET / HTTP/1.1\r\nHost: h\r\n\r\n")
    for name in LEANS_ON:
        here: Any = reader
        for part in name.split("."):
            assert hasattr(here, part), name
            here = getattr(here, part)
    loop.close()


async def test_an_exchange_without_a_body() -> None:
    async with serving() as (_, port):
        answer = await talk(port, get("/a%20b?c"))
        head, _, body = answer.partition(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 200 ")
        assert body == b"GET /a b"
        for name in (b"date:", b"x-request-id:", b"content-length: 8", b"connection: close"):
            assert name in head.lower()


async def test_pipelined_requests_are_answered_in_order_and_an_idle_connection_is_closed() -> None:
    async with serving(limits=SHORT) as (_, port):
        answer = await talk(port, b"".join(get(f"/{number}", close=False) for number in range(50)))
        assert [int(part.split(b"HTTP")[0]) for part in answer.split(b"GET /")[1:]] == list(range(50))


async def test_http_10_is_answered_and_closed() -> None:
    async with serving() as (_, port):
        assert (await talk(port, b"GET /x HTTP/1.0\r\n\r\n")).endswith(b"GET /x")


async def test_an_absolute_target_names_the_host() -> None:
    async with serving() as (_, port):
        assert (await talk(port, get("http://here/x"))).endswith(b"GET /x")


@pytest.mark.parametrize("size", [0, 1, 65_536, 3 * MIB + 7])
async def test_a_body_arrives_whole_with_a_length_and_in_chunks(size: int) -> None:
    body = os.urandom(size)
    chunks = b"".join(b"%x\r\n%b\r\n" % (len(one), one) for one in (body[:5], body[5:]) if one) + b"0\r\n\r\n"
    async with serving() as (_, port):
        for request in (put(body, f"Content-Length: {size}"), put(chunks, "Transfer-Encoding: chunked")):
            answer = await talk(port, request)
            assert answer.partition(b"\r\n\r\n")[2] == (body or b"PUT /")


async def test_a_connection_goes_on_behind_a_large_body() -> None:
    body = bytes(2 * MIB)
    first = b"PUT / HTTP/1.1\r\nHost: here\r\nContent-Length: %d\r\n\r\n" % len(body)
    async with serving() as (_, port):
        answer = await talk(port, first + body + get("/next"))
        assert answer.endswith(b"GET /next")
        assert body in answer


@pytest.mark.parametrize("size", [1000, 100_000, 200_000])
async def test_a_connection_goes_on_behind_a_body_that_nobody_read(size: int) -> None:
    first = b"PUT /refuse HTTP/1.1\r\nHost: here\r\nContent-Length: %d\r\n\r\n" % size
    async with serving() as (_, port):
        for pieces in ([first + bytes(size) + get("/next")], [first, bytes(size - 1), b"\0" + get("/next")]):
            answer = await talk(port, *pieces, wait=0.05)
            assert answer.startswith(b"HTTP/1.1 400 ")
            assert answer.endswith(b"GET /next")


async def test_expect_is_answered_before_the_body_is_wanted() -> None:
    async with serving() as (_, port):
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(put(b"", "Content-Length: 5", "Expect: 100-continue"))
        assert (await reader.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 100")
        writer.write(b"hello")
        assert (await reader.read()).endswith(b"hello")
        writer.close()


SMUGGLED = [
    b"PUT / HTTP/1.1\r\nHost: h\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    b"PUT / HTTP/1.1\r\nHost: h\r\nContent-Length: 3\r\nContent-Length: 4\r\n\r\nabcd",
    b"PUT / HTTP/1.1\r\nHost: h\r\nContent-Length: +3\r\n\r\nabc",
    b"PUT / HTTP/1.1\r\nHost: h\r\nContent-Length: 3, 3\r\n\r\nabc",
    b"PUT / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked, identity\r\n\r\n0\r\n\r\n",
    b"PUT / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: gzip\r\n\r\n",
    b"PUT / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding : chunked\r\n\r\n0\r\n\r\n",
    b"PUT / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n0x3\r\nabc\r\n0\r\n\r\n",
    b"PUT / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabcX\r\n0\r\n\r\n",
    b"PUT / HTTP/1.0\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    b"GET / HTTP/1.1\r\nHost: h\r\nX: a\r\n b\r\n\r\n",
    b"GET / HTTP/1.1\r\nHost: h\r\nHost: g\r\n\r\n",
    b"GET / HTTP/1.1\r\n\r\n",
    b"GET / HTTP/1.1\r\nHost: a b\r\n\r\n",
    b"GET /%00 HTTP/1.1\r\nHost: h\r\n\r\n",
    b"GET /%zz HTTP/1.1\r\nHost: h\r\n\r\n",
    b"GET / HTTP/3.7\r\nHost: h\r\n\r\n",
    b"GET  / HTTP/1.1\r\nHost: h\r\n\r\n",
    b"SETUP / RTSP/1.1\r\nHost: h\r\n\r\n",
    b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
]


@pytest.mark.parametrize("raw", SMUGGLED)
async def test_what_could_be_read_in_two_ways_is_refused_and_cut(raw: bytes) -> None:
    async with serving() as (_, port):
        answer = await talk(port, raw + b"GET /smuggled HTTP/1.1\r\nHost: h\r\n\r\n")
        assert answer.startswith(b"HTTP/1.1 400 ")
        assert b"REQUEST_INVALID" in answer
        assert b"/smuggled" not in answer


async def test_a_head_without_end_is_refused_by_size_and_by_time() -> None:
    async with serving(limits=SHORT) as (_, port):
        assert (await talk(port, get("/", "X: " + "x" * 70_000))).startswith(b"HTTP/1.1 431 ")
        assert (await talk(port, b"GET / HTTP/1.1\r\nHost:")).startswith(b"HTTP/1.1 408 ")
        assert await talk(port) == b""


async def test_a_body_that_stalls_is_answered_408() -> None:
    async with serving(limits=SHORT) as (_, port):
        for sent in (b"ab", bytes(200_000)):
            answer = await talk(port, put(sent, "Content-Length: 1000000"))
            assert answer.startswith(b"HTTP/1.1 408 ")


async def test_a_client_that_takes_nothing_is_cut_and_leaves_nothing_open() -> None:
    before = open_files()
    async with serving(limits=SHORT) as (server, port):
        reader, writer = await asyncio.open_connection("127.0.0.1", port, limit=1024)
        writer.write(get("/file/64"))
        for _ in range(200):
            await asyncio.sleep(0.05)
            if not server.connections:
                break
        assert not server.connections
        writer.close()
        with pytest.raises((ConnectionError, asyncio.IncompleteReadError)):
            await reader.readexactly(65 * MIB)
    del reader, writer
    gc.collect()
    assert open_files() <= before + 1


async def test_a_file_is_sent_whole_and_half_a_download_leaves_no_file_open() -> None:
    async with serving() as (server, port):
        answer = await talk(port, get("/file/3"))
        assert answer.partition(b"\r\n\r\n")[2] == bytes(3 * MIB)
        before = open_files()
        for _ in range(20):
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.write(get("/file/64", close=False))
            await reader.readexactly(1000)
            writer.transport.abort()
        for _ in range(100):
            await asyncio.sleep(0.05)
            if not server.connections:
                break
        assert open_files() <= before


async def test_uploads_that_bring_little_hold_up_none_that_brings_much() -> None:
    """There are more of them than large buffers, and each has begun as if it deserved one."""

    async def dribble(port: int) -> None:
        _, writer = await asyncio.open_connection("127.0.0.1", port)
        try:
            writer.write(put(bytes(400_000), "Content-Length: 3000000"))
            while True:
                await asyncio.sleep(0.1)
                writer.write(b"x")
        finally:
            writer.transport.abort()

    async with serving() as (_, port):
        slow = [asyncio.create_task(dribble(port)) for _ in range(50)]
        await asyncio.sleep(0.3)
        for _ in range(3):
            answer = await talk(port, put(bytes(3 * MIB), f"Content-Length: {3 * MIB}"))
            assert answer.partition(b"\r\n\r\n")[2] == bytes(3 * MIB)
        for one in slow:
            one.cancel()
        await asyncio.wait(slow)


async def test_a_client_that_takes_little_by_little_gets_all_the_time_it_wants() -> None:
    """More lies in the kernel than it takes in `send_seconds`, so that nothing further can be sent meanwhile."""
    limits = Limits(send_seconds=1)
    loop = asyncio.get_running_loop()
    async with serving(limits=limits) as (_, port):
        with socket.socket() as one:
            one.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 32 * 1024)
            one.setblocking(False)
            await loop.sock_connect(one, ("127.0.0.1", port))
            await loop.sock_sendall(one, get("/file/64"))
            for _ in range(40):
                assert await loop.sock_recv(one, 16 * 1024)
                await asyncio.sleep(limits.send_seconds / 10)


async def test_a_handler_learns_that_its_client_left() -> None:
    ended = asyncio.Event()

    async def read(request: Request) -> Response:
        try:
            return await echo(request)
        except Interrupted:
            ended.set()
            raise

    async with serving(read) as (_, port):
        for sent in (b"ab", bytes(200_000)):
            ended.clear()
            _, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.write(put(sent, "Content-Length: 1000000"))
            await writer.drain()
            await asyncio.sleep(0.1)
            writer.transport.abort()
            await asyncio.wait_for(ended.wait(), 20)


async def test_a_refusal_reaches_a_client_that_is_still_sending() -> None:
    head = b"PUT /refuse HTTP/1.1\r\nHost: h\r\nContent-Length: 3000000\r\n\r\n"
    async with serving() as (_, port):
        assert (await talk(port, head, bytes(3_000_000))).startswith(b"HTTP/1.1 400 ")


async def test_a_defect_is_answered_500_without_its_words() -> None:
    async with serving() as (_, port):
        answer = await talk(port, get("/fail"))
        assert answer.startswith(b"HTTP/1.1 500 ")
        assert b"defect" not in answer


async def test_draining_lets_a_running_exchange_finish_and_closes_idle_connections() -> None:
    go = asyncio.Event()

    async def slow(_request: Request) -> Response:
        await go.wait()
        return Response(body=b"done")

    server = Server(slow)
    _, port = await server.listen("127.0.0.1", 0)
    idle, writer = await asyncio.open_connection("127.0.0.1", port)
    running = asyncio.create_task(talk(port, get(close=False)))
    await asyncio.sleep(0.1)
    draining = asyncio.create_task(server.drain(10))
    assert await asyncio.wait_for(idle.read(), 20) == b""
    writer.close()
    go.set()
    assert (await running).endswith(b"done")
    await draining


@pytest.mark.parametrize("path", ["/", "/lost"])
async def test_many_requests_on_one_connection_leave_no_garbage(path: str) -> None:
    async def lose(request: Request) -> Response:
        try:
            if request.path == "/lost":
                await asyncio.get_running_loop().run_in_executor(None, os.stat, "/nowhere")
        except OSError:
            return Response(body=b"GET /")
        return await echo(request)

    async with serving(lose) as (_, port):
        reader, writer = await asyncio.open_connection("127.0.0.1", port)

        async def ask(times: int) -> None:
            for _ in range(times):
                writer.write(get(path, close=False))
                await reader.readuntil(b"GET /")

        await ask(20)
        gc.collect()
        gc.disable()
        try:
            await ask(300)
            assert gc.collect() < 300
        finally:
            gc.enable()
            writer.close()
