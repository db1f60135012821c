"""What a run of the harness has shown: counted in every test, added up in the summary's last lines and in a file."""

import json
import os
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from tests.faults.oracle import Verdict

LONG = os.environ.get("MOORAGE_FAULTS") == "long"
"""`make faults-long`: ten times the kills and cuts."""

PROPERTY = "faults"

NAMES = (
    "kills",
    "points",
    "cuts",
    "mutants",
    "caught",
    "violations",
    "operations",
    "acknowledged",
    "unknown",
    "reads",
)


def tally(request: pytest.FixtureRequest, verdict: Verdict | None = None, **counts: Any) -> None:
    """Add to the run's figures, whatever the test then says of them; lists are joined, numbers added."""
    if verdict is not None:
        counts |= {
            "operations": verdict.operations,
            "acknowledged": verdict.acknowledged,
            "unknown": verdict.unknown,
            "reads": verdict.reads,
            "violations": len(verdict.violations),
        }
    request.node.user_properties.append((PROPERTY, json.dumps(counts)))


def gather(reports: list[Any]) -> dict[str, Any]:
    """The figures of all tests together."""
    total: Counter[str] = Counter()
    times: dict[str, list[float]] = {"clean": [], "killed": []}
    for report in reports:
        for name, value in getattr(report, "user_properties", ()):
            if name != PROPERTY:
                continue
            for key, count in json.loads(value).items():
                if isinstance(count, list):
                    times[key] += count
                else:
                    total[key] += count
    found: dict[str, Any] = dict(total)
    if times["clean"] and times["killed"]:
        found["ready"] = ready(times["clean"], times["killed"])
    return found


def ready(clean: list[float], killed: list[float]) -> dict[str, float]:
    """Seconds until a registry is ready: the median after orderly ends, p99 after kills, and their ratio."""
    usual = sorted(clean)[len(clean) // 2]
    slow = sorted(killed)[max(0, -(-len(killed) * 99 // 100) - 1)]
    return {"clean": round(usual, 3), "killed": round(slow, 3), "ratio": round(slow / usual, 2)}


def lines(found: dict[str, Any]) -> list[str]:
    """The summary's last lines."""
    figures = {name: found.get(name, 0) for name in NAMES}
    told = [
        "kills {kills} · crash points {points} · cuts {cuts} · mutants {caught}/{mutants} · violations {violations}",
        "operations {operations}, acknowledged {acknowledged}, of unknown outcome {unknown}, read back {reads}",
    ]
    if "ready" in found:
        told.append("ready after a kill: p99 {killed} s, {ratio} times a start after an orderly end")
    return [one.format(**figures, **found.get("ready", {})) for one in told]


def keep(found: dict[str, Any]) -> None:
    """Write the figures where docs/durability.md's come from."""
    path = Path(os.environ.get("MOORAGE_FAULTS_REPORT", "faults.json"))
    path.write_text(json.dumps(found, indent=2, sort_keys=True) + "\n")
