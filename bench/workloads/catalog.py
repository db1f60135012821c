"""A registry of very many repositories: pages of their list, a start, and what it costs that does nothing."""

import json
import time
from functools import partial

from bench import usage
from bench.content import new_image
from bench.rounds import Sample, Stage, Unit, Workload, measure
from bench.servers import PEERS, Server
from bench.wire import Wrong
from bench.workloads.scale import Scale
from bench.workloads.verbs import check_manifest, gets, push_image

_PAGE = 100
_EACH = 100
"""Repositories of one organisation."""
_SETTLED = 2.0
"""Seconds after a start in which background work may look around."""


def catalogs(scale: Scale) -> list[Stage]:
    """One that peers have too, whose folders take long to make and to remove, and a larger one of ours."""
    ours = frozenset({PEERS[0].name})
    seeded = frozenset(peer.name for peer in PEERS if peer.seeds is not None)
    sizes = sorted({min(scale.shared, scale.catalog), scale.catalog})
    return [_catalog(scale, size, seeded if size <= scale.shared else ours) for size in sizes]


def _catalog(scale: Scale, size: int, only: frozenset[str]) -> Stage:
    image = new_image(layers=1)
    names = [f"org-{at // _EACH:04}/app-{at % _EACH:02}" for at in range(size)]

    def prepare(server: Server) -> None:
        with server.connect() as connection:
            push_image(connection, names[0], "seed", image)
        server.stop()
        assert server.peer.seeds is not None
        server.peer.seeds.repositories(server.data, names[0], names[1:])
        server.restart()

    def start(server: Server, _: int) -> Sample:
        server.restart()
        with server.connect() as connection:
            check_manifest(connection, names[0], "seed", image.manifest)
        return Sample(1, 0, server.start_seconds, usage.peak_bytes(server.pid), usage.resident_bytes(server.pid))

    def idle(server: Server, _: int) -> Sample:
        time.sleep(_SETTLED)
        before, began = usage.cpu_seconds(server.pid), time.monotonic()
        time.sleep(scale.idle)
        spent, cpu = time.monotonic() - began, usage.cpu_seconds(server.pid) - before
        return Sample(spent, cpu, spent, usage.peak_bytes(server.pid), usage.resident_bytes(server.pid))

    def memory(server: Server, _: int) -> Sample:
        return Sample(1, 0, 0, usage.peak_bytes(server.pid), usage.resident_bytes(server.pid))

    def page(after: int, server: Server, _: int) -> Sample:
        target = f"/v2/_catalog?n={_PAGE}" + (f"&last={names[after - 1]}" if after else "")
        with server.connect() as connection:
            body = connection.ask("GET", target).want(200).body
        got = json.loads(body)["repositories"]
        if got != names[after : after + _PAGE]:
            raise Wrong(f"the page behind repository {after} of {len(names)} is {got[:3]} …, {len(got)} names")
        return measure(server, gets(server, target, body, scale.seconds))

    among = f"{size:,} repositories"
    pages = [
        Workload(f"list {_PAGE} of {among}, the {which} page", Unit.MICROSECONDS, partial(page, after), only)
        for which, after in (("first", 0), ("middle", size // 2), ("last", size - _PAGE))
    ]
    rest = [
        Workload(f"a start with {among}, to its first answer", Unit.START, start, only),
        Workload(f"idle CPU with {among}", Unit.IDLE_CPU, idle, only),
        Workload(f"idle memory (RSS) with {among}", Unit.IDLE, memory, only),
    ]
    return Stage("catalog", pages + (rest if size == scale.catalog else []), prepare, rounds=3)
