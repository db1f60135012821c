"""A crowd of clients, in a process of its own: connections that idle, pushers, readers.

    stdin     a Crowd, as JSON           "go"                      "stop"
    stdout                      "ready": all idlers were answered          a Report, as JSON

One thread and one event loop, so that all of them together cost the machine little.
"""

import asyncio
import json
import random
import resource
import socket
import subprocess
import sys
import time
from collections.abc import Coroutine, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field

import uvloop

from bench.content import Blobs
from bench.wire import request
from tests.conftest import ROOT

MIB = 1024 * 1024
SIP = 4096
"""What a slow reader takes each second, in bytes."""
HEAD = 16 * 1024


@dataclass
class Crowd:
    """Who comes, and where to."""

    port: int
    token: str
    repository: str
    digest: str
    """The blob that is read."""
    idlers: int = 0
    pushers: int = 0
    pause: float = 0
    """Seconds between two chunks of a pusher."""
    sippers: int = 0
    gulpers: int = 0
    gulp: int = 0
    """How many bytes a fast reader takes before it leaves."""


@dataclass
class Report:
    """What they saw."""

    statuses: dict[int, int] = field(default_factory=dict)
    errors: list[str] = field(default_factory=list)
    pushed: int = 0
    """Chunks of 1 MiB that were acknowledged."""
    read: list[int] = field(default_factory=list)
    """Bytes that each reader got."""
    seconds: float = 0


class Client:
    """One connection, one exchange after the other."""

    def __init__(self, crowd: Crowd, report: Report) -> None:
        self.crowd, self.report = crowd, report
        self.loop = asyncio.get_running_loop()

    async def connect(self, window: int | None = None) -> None:
        self.socket = socket.socket()
        self.socket.setblocking(False)
        if window:
            self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, window)
        await self.loop.sock_connect(self.socket, ("127.0.0.1", self.crowd.port))

    async def ask(self, method: str, target: str, *body: bytes | memoryview) -> dict[str, str]:
        """An exchange that has to succeed; who is told to come back later does so.  Gives the headers."""
        while True:
            status, headers, got = await self.exchange(method, target, *body)
            left = int(headers.get("content-length", 0)) - got
            while left > 0:
                left -= len(await self.loop.sock_recv(self.socket, left))
            if status < 400:
                return headers
            if status not in {429, 503} or "retry-after" not in headers:
                raise ConnectionError(f"{method} {target} is answered {status}: {headers}")
            await asyncio.sleep(float(headers["retry-after"]))
            if headers.get("connection") == "close":
                self.socket.close()
                await self.connect()

    async def exchange(self, method: str, target: str, *body: bytes | memoryview) -> tuple[int, dict[str, str], int]:
        """Status, headers, and how many bytes of the body have come with them."""
        fields = [("Authorization", f"Bearer {self.crowd.token}")]
        if method != "GET":
            fields.append(("Content-Length", str(sum(map(len, body)))))
        for part in (request(method, target, self.crowd.port, fields), *body):
            await self.loop.sock_sendall(self.socket, part)
        got = bytearray()
        while (end := got.find(b"\r\n\r\n")) < 0:
            more = await self.loop.sock_recv(self.socket, HEAD)
            if not more:
                raise ConnectionError("the server closed the connection instead of answering")
            got += more
        first, *lines = got[:end].decode("latin-1").split("\r\n")
        status = int(first[9:12])
        self.report.statuses[status] = self.report.statuses.get(status, 0) + 1
        headers = {name.lower(): value for name, _, value in (line.partition(": ") for line in lines)}
        return status, headers, len(got) - end - 4

    async def idle(self, settled: asyncio.Semaphore, stop: asyncio.Event) -> None:
        """The connection is as good at the end as it was at the beginning."""
        await self.connect()
        await self.ask("GET", "/v2/")
        settled.release()
        await stop.wait()
        await self.ask("GET", "/v2/")

    async def push(self, blobs: Blobs, stop: asyncio.Event) -> None:
        await asyncio.sleep(random.random() * self.crowd.pause)
        await self.connect()
        while not stop.is_set():
            blob = blobs.new()
            content = memoryview(blob.shared + blob.own)
            begun = await self.ask("POST", f"/v2/{self.crowd.repository}/blobs/uploads/")
            place = begun["location"]
            for at in range(0, blob.size, MIB):
                place = (await self.ask("PATCH", place, content[at : at + MIB]))["location"]
                self.report.pushed += 1
                await asyncio.sleep(self.crowd.pause)
            await self.ask("PUT", f"{place}?digest={blob.digest}")

    async def read(self, number: int, piece: int, most: float, stop: asyncio.Event, pause: float = 0) -> None:
        await self.connect(16 * SIP if pause else None)
        target = f"/v2/{self.crowd.repository}/blobs/{self.crowd.digest}"
        status, _, got = await self.exchange("GET", target)
        buffer = memoryview(bytearray(piece))
        while status == 200 and got < most and not stop.is_set():
            more = await self.loop.sock_recv_into(self.socket, buffer)
            if not more:
                raise ConnectionError(f"a reader was cut off after {got} bytes")
            got += more
            self.report.read[number] = got
            await asyncio.sleep(pause)


async def come(crowd: Crowd) -> Report:
    report = Report(read=[0] * (crowd.sippers + crowd.gulpers))
    settled, stop = asyncio.Semaphore(0), asyncio.Event()
    blobs = Blobs(4 * MIB)

    async def watched(doing: Coroutine[None, None, None], client: Client) -> None:
        try:
            await doing
        except OSError as error:
            report.errors.append(f"{doing.__name__}: {error!r}")
        finally:
            client.socket.close()

    def begin(count: int, doing: str, *arguments: object) -> list[asyncio.Task[None]]:
        clients = [Client(crowd, report) for _ in range(count)]
        return [asyncio.create_task(watched(getattr(one, doing)(*arguments), one)) for one in clients]

    async def told() -> None:
        await asyncio.get_running_loop().run_in_executor(None, sys.stdin.readline)

    tasks = begin(crowd.idlers, "idle", settled, stop)
    for _ in tasks:
        await settled.acquire()
    print("ready", flush=True)
    await told()
    began = time.monotonic()
    tasks += begin(crowd.pushers, "push", blobs, stop)
    for number in range(crowd.sippers):
        tasks += begin(1, "read", number, SIP, float("inf"), stop, 1)
    gulps = [begin(1, "read", crowd.sippers + one, MIB, crowd.gulp, stop) for one in range(crowd.gulpers)]
    if crowd.gulpers:
        await asyncio.gather(*(task for one in gulps for task in one))
        print("gulped", flush=True)
    await told()
    stop.set()
    await asyncio.gather(*tasks)
    report.seconds = time.monotonic() - began
    return report


class Come:
    """The crowd's process, seen from outside."""

    def __init__(self, process: "subprocess.Popen[str]") -> None:
        self._process = process

    def say(self, word: str) -> None:
        assert self._process.stdin
        print(word, file=self._process.stdin, flush=True)

    def hear(self) -> str:
        assert self._process.stdout
        return self._process.stdout.readline().strip()

    def stop(self) -> Report:
        """Everybody leaves when they are done with what they do."""
        self.say("stop")
        return Report(**json.loads(self.hear()))


@contextmanager
def coming(crowd: Crowd) -> Iterator[Come]:
    """The crowd, its idlers connected; the others wait for "go"."""
    command = [sys.executable, "-m", "tests.load.crowd"]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=ROOT)
    assert process.stdin
    assert process.stdout
    with process.stdin, process.stdout:
        come = Come(process)
        come.say(json.dumps(asdict(crowd)))
        try:
            assert come.hear() == "ready"
            yield come
        finally:
            process.kill()
            process.wait()


if __name__ == "__main__":
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    print(json.dumps(asdict(uvloop.run(come(Crowd(**json.loads(sys.stdin.readline())))))), flush=True)
