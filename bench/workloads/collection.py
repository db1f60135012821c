"""Reclaiming a few thousand blobs among very many: how long it takes, and what pulls feel of it."""

import sqlite3
import time
from dataclasses import dataclass, replace
from typing import Self

from bench.content import new_image
from bench.rounds import Sample, Stage, Unit, Workload
from bench.seeds import blobs
from bench.servers import PEERS, Server
from bench.wire import Connection, Wrong
from bench.workloads.scale import Scale
from bench.workloads.verbs import ACCEPT, check_manifest, push_image

_NAME = "acme/large"
_FILE = 20_000
"""Bytes of each file that is reclaimed: too many for a row."""
_LOOK = 0.05
"""Seconds between two looks at what is left."""
_PATIENCE = 60.0


@dataclass(frozen=True, slots=True)
class _Seen:
    """Seconds until all were found, and until their rows had gone, or None where that did not come; how many times as
    slow a pull was meanwhile.
    """

    found: float | None
    removed: float | None
    slower: float


def collection(scale: Scale) -> Stage:
    image = new_image(layers=1)
    seen: list[_Seen] = []

    def prepare(server: Server) -> None:
        with server.connect() as connection:
            push_image(connection, _NAME, "seed", image)
        server.stop()
        blobs.living(server.data, _NAME, scale.blobs, _now())
        # Bytes are destroyed as soon as they are found, not two days later; and nothing else looks at them.
        hasty = {"REGISTRY_GC_TRASH": "0s", "REGISTRY_SCRUB_ENABLED": "false"}
        server.restart(replace(server.peer, environment=server.peer.environment | hasty))

    def reclaim(server: Server) -> _Seen:
        """The dead come in while the server is down: it finds them all at its start."""
        if not seen:
            with server.connect() as connection, _Rows(server) as rows:
                rows.wait("SELECT count(*) FROM jobs WHERE name = 'gc' AND finished_at > 0", 1)
                quiet = _pulls(connection, time.monotonic() + scale.calm)
            server.stop()
            first = blobs.dead(server.data, _NAME, scale.dead, _FILE, _now())
            server.restart()
            with server.connect() as connection, _Rows(server) as rows:
                seen.append(_watch(connection, rows, first, quiet))
                check_manifest(connection, _NAME, "seed", image.manifest)
        return seen[0]

    def found(server: Server, _: int) -> Sample:
        return _lasting(reclaim(server).found)

    def removed(server: Server, _: int) -> Sample:
        return _lasting(reclaim(server).removed)

    def slower(server: Server, _: int) -> Sample:
        return Sample(1, 0, 0, 0, 0, amount=reclaim(server).slower)

    only = frozenset({PEERS[0].name})
    among = f"{scale.dead:,} dead among {scale.blobs:,} blobs"
    return Stage(
        "collection",
        [
            Workload(f"{among}: all found", Unit.SECONDS, found, only),
            Workload(f"{among}: their rows gone", Unit.SECONDS, removed, only),
            Workload(f"{among}: a pull's p99 meanwhile", Unit.TIMES, slower, only),
        ],
        prepare,
        rounds=1,
    )


class _Rows:
    """The server's rows, read beside it."""

    def __init__(self, server: Server) -> None:
        self._opened = sqlite3.connect(next(server.data.glob("*.db")), timeout=60)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._opened.close()

    def number(self, query: str, *values: int) -> int:
        (found,) = self._opened.execute(query, values).fetchone()
        return int(found)

    def wait(self, query: str, wanted: int) -> None:
        stop = time.monotonic() + _PATIENCE
        while self.number(query) != wanted:
            if time.monotonic() > stop:
                raise Wrong(f"{query} is still not {wanted}")
            time.sleep(_LOOK)


def _lasting(seconds: float | None) -> Sample:
    return Sample(1, 0, _PATIENCE if seconds is None else seconds, 0, 0, unfinished=seconds is None)


def _watch(connection: Connection, rows: _Rows, first: int, quiet: list[float]) -> _Seen:
    """Pull until the rows have gone of all blobs from the first dead one on."""
    began = time.monotonic()
    busy: list[float] = []
    found = removed = None
    while removed is None and time.monotonic() < began + _PATIENCE:
        busy += _pulls(connection, time.monotonic() + _LOOK)
        if found is None and not rows.number("SELECT count(*) FROM links WHERE blob_id >= ?", first):
            found = time.monotonic() - began
        if not rows.number("SELECT count(*) FROM blobs WHERE id >= ?", first):
            removed = time.monotonic() - began
    return _Seen(found, removed, _p99(busy) / _p99(quiet))


def _pulls(connection: Connection, stop: float) -> list[float]:
    """What pulls take, in seconds, one after the other until then."""
    took = []
    now = time.monotonic()
    while now < stop:
        connection.ask("GET", f"/v2/{_NAME}/manifests/seed", (ACCEPT,)).want(200)
        before, now = now, time.monotonic()
        took.append(now - before)
    return took


def _p99(took: list[float]) -> float:
    return sorted(took)[len(took) * 99 // 100]


def _now() -> int:
    return time.time_ns() // 1000
