"""`make bench ARGS=--profile`: where the CPU time of one manifest GET goes, as shares of a request's stops."""

import json
import os
import signal
import sys
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Final

from bench.content import new_image
from bench.rounds import Unit, measure
from bench.servers import PEERS, start
from bench.workloads.verbs import ACCEPT, push_image, small_gets

_CONNECTIONS: Final = 8
_NAME: Final = "acme/app"

WAIT: Final = "wait and receive: the event loop, and the kernel for it"
PARSE: Final = "parse: the head, the address"
ROUTE: Final = "route: the endpoint, the handler's frame"
AUTHENTICATE: Final = "authenticate: who asks, and may they"
LOOK_UP: Final = "look up: the row, in SQLite"
SEND: Final = "send: the answer's head, one write"
COUNT: Final = "count: metrics and logs"
STAGES: Final = (WAIT, PARSE, ROUTE, AUTHENTICATE, LOOK_UP, SEND, COUNT)

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


def stage_of(stack: Sequence[Sequence[str]]) -> str:
    """The stage of a stack, innermost function first: that of the first module of ours that has one."""
    for file, _ in stack:
        _, ours, module = file.rpartition("/moorage/")
        if ours and not module.startswith(_WORDS):
            for place, stage in _PLACES:
                if module.startswith(place):
                    return stage
    return WAIT


def shares(folder: Path, seconds: int) -> str:
    """Profile a server for so long, and give a table."""
    ours = PEERS[0]
    file = folder / "stacks.json"
    command = (sys.executable, "-m", "bench.sampler", str(file), "serve", "--config", "{config}")
    server = start(replace(ours, command=command), folder / "profile")
    image = new_image()
    target, size = f"/v2/{_NAME}/manifests/1.0", len(image.manifest)
    try:
        with server.connect() as connection:
            push_image(connection, _NAME, "1.0", image)
        small_gets(server, target, size, _CONNECTIONS, 1, headers=(ACCEPT,))()
        load = small_gets(server, target, size, _CONNECTIONS, seconds, headers=(ACCEPT,))
        os.kill(server.pid, signal.SIGUSR1)
        sample = measure(server, load)
        os.kill(server.pid, signal.SIGUSR1)
    finally:
        server.stop()
    found: Counter[str] = Counter()
    for stack, times in json.loads(file.read_text()):
        found[stage_of(stack)] += times
    return _table(found, Unit.MICROSECONDS.figure(sample))


def _table(found: Counter[str], whole: float) -> str:
    total = found.total()
    lines = [f"| {stage} | {found[stage] / total:.0%} | {found[stage] / total * whole:.1f} |" for stage in STAGES]
    first = f"| GET manifest by tag, {_CONNECTIONS} connections | share | µs CPU |"
    return "\n".join([first, "|---|--:|--:|", *lines, f"| all, in {total:,} samples | 100% | {whole:.1f} |"])
