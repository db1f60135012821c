"""`make bench ARGS=--profile`: where the CPU time of an operation goes, as shares of a request's stops."""

import json
import os
import secrets
import signal
import sys
import time
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Final

from bench.content import Blobs, new_image
from bench.load import Load, clients
from bench.rounds import Sample, Unit, measure
from bench.servers import PEERS, Server, start
from bench.wire import Connection, Header
from bench.workloads.scale import GIB, MIB
from bench.workloads.verbs import ACCEPT, push_image, push_manifest, push_patch, small_gets

_CONNECTIONS: Final = 8
_NAME: Final = "acme/app"

WAIT: Final = "wait and receive: the event loop, and the kernel for it"
PARSE: Final = "parse: the head, the address, the body's framing"
ROUTE: Final = "route: the endpoint, the handler's frame"
AUTHENTICATE: Final = "authenticate: who asks, and may they"
LOOK_UP: Final = "look up: the verb, its rows, writes on the spot"
WRITE: Final = "write: the thread that commits, and syncs"
STORE: Final = "store: threads that hash and write bytes"
SEND: Final = "send: the answer's head, one write"
COUNT: Final = "count: metrics and logs"
BESIDE: Final = "beside: jobs, passwords"
STAGES: Final = (WAIT, PARSE, ROUTE, AUTHENTICATE, LOOK_UP, WRITE, STORE, SEND, COUNT, BESIDE)

_THREADS: Final = (("moorage-writer", WRITE), ("bytes_", STORE))
"""Which stage a whole thread belongs to, by its name."""
_PLACES: Final = (
    ("edge/server/server.py", WAIT),
    ("edge/server/answers.py", SEND),
    ("edge/server/exchange.py", SEND),
    ("edge/server/files.py", SEND),
    ("edge/server/", PARSE),
    ("edge/v2/routes.py", ROUTE),
    ("edge/v2/", LOOK_UP),
    ("edge/", ROUTE),
    ("access/", AUTHENTICATE),
    ("core/", LOOK_UP),
    ("db/", LOOK_UP),
    ("telemetry/", COUNT),
    ("app.py", COUNT),
)
"""Which stage a module belongs to; the first that fits."""
_WORDS: Final = ("edge/http.py", "edge/recall.py")
"""What everybody uses: its time is its caller's, as is that of modules without a stage."""


@dataclass(frozen=True, slots=True)
class Profiled:
    """An operation that is taken apart: its title, its figure's unit, what it needs, what repeats it for seconds."""

    title: str
    unit: Unit
    prepare: Callable[[Server], None]
    load: Callable[[Server, float], Load]


def stage_of(stack: Sequence[Sequence[str]]) -> str:
    """The stage of a stack, innermost function first: that of the first module of ours that has one."""
    for file, _ in stack:
        _, ours, module = file.rpartition("/moorage/")
        if ours and not module.startswith(_WORDS):
            for place, stage in _PLACES:
                if module.startswith(place):
                    return stage
    return WAIT


def stage_of_thread(name: str) -> str:
    """The stage that a thread's whole time belongs to; jobs and the like are nobody's request."""
    return next((stage for start, stage in _THREADS if name.startswith(start)), BESIDE)


def shares(folder: Path, seconds: float, wanted: Sequence[Profiled] | None = None) -> str:
    """Profile a server at each operation for so long, and give a table.  Raises Wrong."""
    columns: list[tuple[Profiled, dict[str, float], Sample]] = []
    for number, one in enumerate(profiled() if wanted is None else wanted):
        file = folder / f"stacks-{number}.json"
        command = (sys.executable, "-m", "bench.sampler", str(file), "serve", "--config", "{config}")
        server = start(replace(PEERS[0], command=command), folder / f"profile-{number}")
        try:
            one.prepare(server)
            one.load(server, min(1.0, seconds))
            os.kill(server.pid, signal.SIGUSR1)
            sample = measure(server, partial(one.load, server, seconds))
            os.kill(server.pid, signal.SIGUSR1)
        finally:
            server.stop()
        columns.append((one, _found(json.loads(file.read_text())), sample))
    return _table(columns)


def _found(looked: tuple[list[tuple[list[list[str]], float]], dict[str, float]]) -> dict[str, float]:
    found: dict[str, float] = defaultdict(float)
    stacks, threads = looked
    for stack, seconds in stacks:
        found[stage_of(stack)] += seconds
    for name, seconds in threads.items():
        found[stage_of_thread(name)] += seconds
    return found


def profiled() -> list[Profiled]:
    """What is taken apart."""
    image, blobs = new_image(), Blobs(64 * MIB)

    def reads(target: str, length: int, *headers: Header) -> Callable[[Server, float], Load]:
        return lambda server, seconds: small_gets(
            server, f"/v2/{_NAME}/{target}", length, _CONNECTIONS, max(1, round(seconds)), headers=headers
        )()

    def image_push(connection: Connection) -> float:
        push_image(connection, _NAME, secrets.token_hex(8), new_image())
        return 1

    def tag_push(connection: Connection) -> float:
        push_manifest(connection, _NAME, secrets.token_hex(8), image.sibling(secrets.randbits(64)))
        return 1

    def large_push(connection: Connection) -> float:
        push_patch(connection, _NAME, blobs.new())
        return blobs.size / GIB

    def prepare(server: Server) -> None:
        with server.connect() as connection:
            push_image(connection, _NAME, "1.0", image)

    blob = image.blobs[-1]
    return [
        Profiled("GET manifest", Unit.MICROSECONDS, prepare, reads("manifests/1.0", len(image.manifest), ACCEPT)),
        Profiled("GET blob of 1 KiB", Unit.MICROSECONDS, prepare, reads(f"blobs/{blob.digest}", blob.size)),
        Profiled("push an image", Unit.MILLISECONDS, prepare, partial(_again, image_push)),
        Profiled("push a tag", Unit.MICROSECONDS, prepare, partial(_again, tag_push)),
        Profiled("push 64 MiB", Unit.PER_GIB, prepare, partial(_again, large_push)),
    ]


def _again(work: Callable[[Connection], float], server: Server, seconds: float) -> Load:
    """One client that does the same over and over, on one connection."""
    server.authorization(f"/v2/{_NAME}/manifests/")

    def client() -> float:
        until, done = time.monotonic() + seconds, 0.0
        with server.connect() as connection:
            while not done or time.monotonic() < until:
                done += work(connection)
        return done

    return clients([client])


def _table(columns: Sequence[tuple[Profiled, dict[str, float], Sample]]) -> str:
    lines = ["| share of CPU time | " + " | ".join(one.title for one, _, _ in columns) + " |"]
    lines.append("|---" + "|--:" * len(columns) + "|")
    for stage in STAGES:
        cells = [f"{found.get(stage, 0) / (sum(found.values()) or 1):.0%}" for _, found, _ in columns]
        lines.append(f"| {stage} | {' | '.join(cells)} |")
    whole = [f"{one.unit.figure(sample):,.3g} {one.unit.value[0]}" for one, _, sample in columns]
    lines.append(f"| all | {' | '.join(whole)} |")
    return "\n".join(lines)
