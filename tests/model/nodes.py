"""Registries without sockets: the handler that a server would call, on real rows and real files.

machine ──> Fleet ──> Node, Node        replicas: one database, one blob folder, one clock
                        │
                        └─ Request ──> handler ──> Response
"""

import asyncio
import os
import time
from collections.abc import AsyncIterator, Callable, Coroutine
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from moorage.access.rules import OpenRules
from moorage.core.registry import Policy, Registry
from moorage.db.engine import open_database
from moorage.edge.http import FileRange, Request
from moorage.edge.v2.lists import catalog
from moorage.edge.v2.routes import V2, Router
from moorage.edge.v2.table import ROWS
from moorage.features.gc.job import Windows, collector, purger, sweeper
from moorage.storage.filesystem import FilesystemStore

SECOND = 1_000_000
LEASE = 3600 * SECOND
UNDO = 5 * 3600 * SECOND
TRASH = 600 * SECOND
ABANDONED = 24 * 3600 * SECOND


@dataclass
class Clock:
    """What time it is, in microseconds since the epoch; only the test moves it.  It begins now, as files know it."""

    at: int = field(default_factory=lambda: int(time.time()) * SECOND)

    def now(self) -> int:
        return self.at


@dataclass
class Pieces:
    """A request's body, as a connection would hand it over."""

    pieces: list[bytes]
    length: int | None = None

    async def __aiter__(self) -> AsyncIterator[bytes]:
        for piece in self.pieces:
            yield piece

    def at_hand(self) -> None:
        return None


@dataclass
class Answer:
    status: int
    headers: dict[str, str]
    content: bytes


class Node:
    """One replica.  Everything about it is real but the connection."""

    def __init__(self, url: str, blobs: Path, clock: Clock, *, sparse: bool) -> None:
        self.db = open_database(url)
        self.store = FilesystemStore(blobs)
        self.registry = Registry(self.db, self.store, Policy(sparse=sparse, lease=LEASE, undo=UNDO), now=clock.now)
        windows = Windows(TRASH, SECOND, ABANDONED, SECOND, SECOND, gap=UNDO * 100)
        self.jobs = [make(self.registry, windows) for make in (collector, purger, sweeper)]
        self.router = Router(self.registry, OpenRules(), ROWS, catalog, V2())

    async def ask(self, method: str, target: str, content: bytes, headers: dict[str, str]) -> Answer:
        path, _, query = target.partition("?")
        body = Pieces([content] if content else [], len(content))
        given = [(name.lower(), value) for name, value in headers.items()]
        response = await self.router.respond(Request(method, path, query, given, body, "", "http", "id"))
        return Answer(response.status, dict(response.headers), b"" if method == "HEAD" else await read(response.body))

    async def close(self) -> None:
        await self.db.close()
        self.store.close()


async def read(body: bytes | FileRange | AsyncIterator[bytes]) -> bytes:
    if isinstance(body, bytes):
        return body
    if isinstance(body, FileRange):
        try:
            return os.pread(body.fd, body.count, body.start)
        finally:
            os.close(body.fd)
    return b"".join([piece async for piece in body])


@dataclass
class Fleet:
    """Replicas on one database and one folder."""

    url: str
    blobs: Path
    clock: Clock = field(default_factory=Clock)
    sparse: bool = False
    nodes: list[Node] = field(default_factory=list)
    runner: asyncio.Runner = field(default_factory=asyncio.Runner)

    def start(self) -> None:
        self.nodes = [Node(self.url, self.blobs, self.clock, sparse=self.sparse) for _ in range(2)]

    def stop(self) -> None:
        while self.nodes:
            self.runner.run(self.nodes.pop().close())

    def end(self) -> None:
        self.stop()
        self.runner.close()

    def ask(self, node: int, method: str, target: str, content: bytes = b"", **headers: str) -> Answer:
        given = {name.replace("_", "-"): value for name, value in headers.items()}
        return self.runner.run(self.nodes[node].ask(method, target, content, given))

    def steps(self, step: Callable[[], Coroutine[Any, Any, bool]], most: int = 10_000) -> int:
        """Step a job until it rests; how many steps that took."""
        for number in range(1, most):
            if not self.runner.run(step()):
                return number
        raise AssertionError(f"the job did not rest within {most} steps")

    def work(self, node: int, job: int) -> bool:
        """One step of a job; whether there may be more to do."""
        return bool(self.runner.run(self._step(self.nodes[node].jobs[job])))

    @staticmethod
    async def _step(job: Any) -> bool:
        return bool(await job.step())
