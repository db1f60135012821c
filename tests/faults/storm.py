"""A kill storm: SIGKILL at random moments, under pushers, pullers, deleters and a collector in a hurry."""

import random
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from tests.faults import oracle, rows
from tests.faults.clients import clients
from tests.faults.history import History
from tests.faults.oracle import Verdict
from tests.faults.server import Place, Running, execute

WINDOW = 2.0
"""`gc.window` in seconds."""

HURRY = {
    "REGISTRY_GC_ENABLED": "true",
    "REGISTRY_STORAGE_MAINTENANCE_UPLOADPURGING_ENABLED": "true",
    "REGISTRY_GC_WINDOW": f"{WINDOW:.0f}s",
    "REGISTRY_GC_TRASH": "1s",
    "REGISTRY_GC_UNDO": "1s",
    "REGISTRY_GC_INTERVAL": "1s",
    "REGISTRY_GC_ORPHANS": "1s",
    "REGISTRY_STORAGE_MAINTENANCE_UPLOADPURGING_AGE": "3s",
    "REGISTRY_STORAGE_MAINTENANCE_UPLOADPURGING_INTERVAL": "1s",
}

ROUND = 50
"""Kills between two looks of the oracle, for which the clients rest."""

ORDERLY = 8
"""Before every so many kills there is an orderly end and a start, to compare the others with."""

CONVERGE = 60.0
"""Seconds that the collector may take to come to rest."""


@dataclass
class Storm:
    """What came of it; times in seconds."""

    kills: int = 0
    verdict: Verdict = field(default_factory=Verdict)
    clean: list[float] = field(default_factory=list)
    """How long starts took after an orderly end, under the same clients."""
    killed: list[float] = field(default_factory=list)
    """How long they took after a kill."""


Start = Callable[[Place], Running]


def storm(place: Place, path: Path, kills: int, names: str, start: Start = execute) -> Storm:
    """Kill the registry `kills` times; the oracle looks after every fifty, and waits for the collector."""
    place.environment |= HURRY
    history, seen = History(path, "storm"), Storm()
    running = _start(start, place, history, [])
    try:
        while seen.kills < kills:
            since = time.monotonic_ns()
            with clients(path, place.port, f"{names}{seen.kills}", pushers=8, pullers=4, deleters=2):
                for number in range(min(ROUND, kills - seen.kills)):
                    time.sleep(random.uniform(0.02, 0.7))
                    history.event("killed")
                    if number % ORDERLY == ORDERLY - 1:
                        running.stop()
                        running = _start(start, place, history, seen.clean)
                        history.event("killed")
                    running.kill()
                    seen.kills += 1
                    free_jobs(place)
                    running = _start(start, place, history, seen.killed)
            seen.verdict.add(oracle.check(place, path, window=WINDOW, since=since))
            seen.verdict.violations += oracle.settle(place, CONVERGE)
        history.event("killed")
        running.stop()
    finally:
        history.close()
        if not running.is_gone():
            running.kill()
    return seen


def _start(start: Start, place: Place, history: History, times: list[float]) -> Running:
    began = time.monotonic()
    running = start(place)
    running.until_ready()
    times.append(time.monotonic() - began)
    history.event("ready")
    return running


def free_jobs(place: Place) -> None:
    """Let a minute pass for the jobs that were killed at work: nobody else takes them over before that."""
    rows.change(place, "UPDATE jobs SET leased_until = 0")
