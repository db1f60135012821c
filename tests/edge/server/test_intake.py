"""Large bodies, hashed and written by threads that receive themselves what comes meanwhile."""

import asyncio
import errno
import os
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from itertools import accumulate

import pytest

from moorage.edge.http import Request, Response, render
from moorage.edge.server.connection import DROPPED
from moorage.edge.server.intake import TURN
from moorage.edge.server.pool import SIZE
from moorage.errors import Interrupted, RegistryError
from tests.edge.server.test_server import MIB, get, open_files, put, serving, talk


class Taken:
    """Takes bodies as the core does, and notes the pieces: those that came by the loop, and behind each the others."""

    def __init__(self, seconds: float = 0.0) -> None:
        self.turns: list[list[bytes]] = []
        self.interrupted = False
        self._seconds = seconds

    async def __call__(self, request: Request) -> Response:
        self.turns.append([])
        try:
            async for piece in request.body:
                await asyncio.get_running_loop().run_in_executor(None, self._use, request, piece)
        except Interrupted:
            self.interrupted = True
            raise
        except RegistryError as error:
            return render(error)
        return Response(body=f"{request.method} {request.path}".encode())

    def _use(self, request: Request, piece: bytes | memoryview) -> None:
        turn: list[bytes] = []
        self.turns.append(turn)
        following: bytes | memoryview | None = piece
        while following is not None:
            turn.append(bytes(following))
            time.sleep(self._seconds)
            following = request.body.at_hand()

    @property
    def content(self) -> bytes:
        return b"".join(piece for turn in self.turns for piece in turn)

    @property
    def received_by_threads(self) -> int:
        return sum(len(piece) for turn in self.turns for piece in turn[1:])


def in_chunks(content: bytes, sizes: Iterator[int]) -> bytes:
    framed, at = [], 0
    while at < len(content):
        piece = content[at : at + next(sizes)]
        framed.append(b"%x\r\n%b\r\n" % (len(piece), piece))
        at += len(piece)
    return b"".join(framed) + b"0\r\n\r\n"


def same(size: int) -> Iterator[int]:
    while True:
        yield size


def mixed() -> Iterator[int]:
    while True:
        yield from (32_768, 32_768, 32_768, 7, 32_768, 300_000, 32_768, 32_767, 32_768, 1, 32_768)


async def files_at_rest(port: int) -> int:
    """How many files are open once a request has been answered and its connection closed."""
    await talk(port, get())
    await asyncio.sleep(0.1)
    return open_files()


async def only_files(count: int) -> None:
    """Return once no more files are open: what both sides have closed goes with the loop's next turns."""
    async with asyncio.timeout(5):
        while open_files() > count:
            await asyncio.sleep(0.01)


FRAMINGS: dict[str, Callable[[bytes], bytes]] = {
    "its length": lambda body: put(body, f"Content-Length: {len(body)}").replace(b"Connection: close\r\n", b""),
    "chunks of one size": lambda body: _chunked(body, same(32_768)),
    "small chunks": lambda body: _chunked(body, same(1000)),
    "chunks as they come": lambda body: _chunked(body, mixed()),
}


def _chunked(body: bytes, sizes: Iterator[int]) -> bytes:
    head = put(b"", "Transfer-Encoding: chunked").replace(b"Connection: close\r\n", b"")
    return head + in_chunks(body, sizes)


@pytest.mark.parametrize("framing", FRAMINGS)
async def test_a_thread_receives_what_has_come_to_the_last_byte_and_no_further(framing: str) -> None:
    body = os.urandom(20 * MIB + 12_345)
    taken = Taken(0.002)
    async with serving(taken) as (_, port):
        before = await files_at_rest(port)
        answer = await talk(port, FRAMINGS[framing](body) + get("/next"))
        await only_files(before)
    assert taken.content == body
    assert answer.endswith(b"GET /next")
    assert taken.received_by_threads > 10 * MIB


async def test_a_turn_has_an_end_however_much_is_there() -> None:
    body = os.urandom(40 * MIB)
    taken = Taken(0.01)
    async with serving(taken) as (_, port):
        await talk(port, put(body, f"Content-Length: {len(body)}"))
    assert taken.content == body
    longest = max(sum(map(len, turn[1:])) for turn in taken.turns)
    assert TURN - SIZE < longest <= TURN + SIZE


async def test_tiny_chunks_have_no_longer_turn_than_others(monkeypatch: pytest.MonkeyPatch) -> None:
    """A piece of 1 MiB would be more than twice as much here, taken apart while others wait."""
    content = os.urandom(3 * MIB)
    readv, come, most = os.readv, 0, 0

    def counted(fd: int, spaces: Sequence[memoryview]) -> int:
        nonlocal come
        count = readv(fd, spaces)
        come += count
        return count

    async def taking(request: Request) -> Response:
        nonlocal come, most
        async for _ in request.body:
            await asyncio.sleep(0.05)
            come = 0
            await asyncio.to_thread(request.body.at_hand)
            most = max(most, come)
        return Response(body=b"taken")

    monkeypatch.setattr(os, "readv", counted)
    async with serving(taking) as (_, port):
        assert (await talk(port, _chunked(content, same(4)) + get("/next"))).endswith(b"taken")
    assert 0 < most < SIZE + SIZE // 2


async def test_pieces_of_a_body_end_where_whole_buffers_of_it_would() -> None:
    body = os.urandom(9 * MIB + 5)
    taken = Taken(0.002)
    async with serving(taken) as (_, port):
        await talk(port, put(body, f"Content-Length: {len(body)}"))
    ends = list(accumulate(len(piece) for turn in taken.turns for piece in turn))
    assert sum(end % SIZE == 0 for end in ends) >= 7
    assert taken.content == body


async def test_of_a_body_that_is_cut_everything_is_handed_over_that_came() -> None:
    body = os.urandom(6 * MIB + 777)
    taken = Taken(0.01)
    async with serving(taken) as (_, port):
        before = await files_at_rest(port)
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(put(body, f"Content-Length: {20 * MIB}"))
        await writer.drain()
        writer.close()
        assert await reader.read() == b""
        async with asyncio.timeout(10):
            while not taken.interrupted:
                await asyncio.sleep(0.01)
        await only_files(before)
    assert taken.content == body


async def test_junk_between_chunks_is_refused_where_a_thread_meets_it() -> None:
    good = in_chunks(os.urandom(12 * MIB), same(32_768)).removesuffix(b"0\r\n\r\n")
    taken = Taken(0.01)
    async with serving(taken) as (_, port):
        answer = await talk(port, put(good + b"zz\r\n" + bytes(MIB), "Transfer-Encoding: chunked"), get("/next"))
    assert answer.startswith(b"HTTP/1.1 400 ")
    assert b"the chunked body is malformed" in answer
    assert answer.count(b"HTTP/1.1") == 1
    assert taken.received_by_threads > 4 * MIB


async def test_an_answer_while_a_thread_receives_leaves_the_next_request_where_it_begins(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """As when storage has not answered for too long, and its thread goes on."""
    received, answered = threading.Event(), threading.Event()
    readv = os.readv

    def slow(fd: int, spaces: Sequence[memoryview]) -> int:
        count = readv(fd, spaces)
        received.set()
        answered.wait(0.5)
        return count

    async def hasty(request: Request) -> Response:
        if request.method == "PUT":
            come = 0
            async for piece in request.body:
                come += len(piece)
                if come == SIZE:
                    break
            await asyncio.sleep(0.1)  # let the rest arrive
            monkeypatch.setattr(os, "readv", slow)
            threading.Thread(target=request.body.at_hand).start()
            await asyncio.to_thread(received.wait, 5)
        return Response(body=f"{request.method} {request.path}".encode())

    body = bytes(SIZE + DROPPED // 2)
    async with serving(hasty) as (_, port):
        answer = await talk(port, FRAMINGS["its length"](body), get("/next"), wait=0.2)
        answered.set()
    assert received.is_set()
    assert answer.endswith(b"GET /next")


async def test_an_upload_that_gets_no_descriptor_more_is_received_by_the_loop(monkeypatch: pytest.MonkeyPatch) -> None:
    def none_left(_fd: int) -> int:
        raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))

    monkeypatch.setattr(os, "dup", none_left)
    body = os.urandom(5 * MIB + 1)
    taken = Taken()
    async with serving(taken) as (_, port):
        answer = await talk(port, FRAMINGS["its length"](body) + get("/next"))
    assert taken.content == body
    assert taken.received_by_threads == 0
    assert answer.endswith(b"GET /next")
