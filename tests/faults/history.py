"""What clients asked of a registry and what came of it: one append-only file of JSON lines.

A line is written before an operation begins and another when it has ended, so that whatever was on its way when
the power went is known to have been.  Times are nanoseconds of the machine's monotonic clock, the same in every
process.  Besides operations there are events: `killed` and `ready`, written by whoever does that to the registry.

    {"id": "p3-17", "at": …, "kind": "put-manifest", "repository": …, …}
    {"id": "p3-17", "at": …, "outcome": "ok", "status": 201, …}
    {"event": "ready", "at": …}
"""

import json
import os
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

OK: Final = "ok"
FAIL: Final = "fail"
"""It is certain that nothing was changed."""
UNKNOWN: Final = "unknown"


@dataclass
class Operation:
    """Something that a client asked for; `end` is None where it never learnt what came of it."""

    kind: str
    start: int
    arguments: dict[str, Any]
    end: int | None = None
    outcome: str = UNKNOWN
    result: dict[str, Any] = field(default_factory=dict)

    def __getitem__(self, name: str) -> Any:
        return self.arguments[name]


@dataclass
class Past:
    """A history, read: operations in the order of their start, and the events."""

    operations: list[Operation]
    ready: list[int]
    killed: list[int]


class History:
    """Writes one; any number of processes and threads may, into the same file."""

    def __init__(self, path: Path, writer: str) -> None:
        self._fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        self._writer = writer
        self._count = 0

    def begin(self, kind: str, **arguments: Any) -> str:
        self._count += 1
        identity = f"{self._writer}-{self._count}"
        self._write({"id": identity, "kind": kind, **arguments})
        return identity

    def end(self, identity: str, outcome: str, **result: Any) -> None:
        self._write({"id": identity, "outcome": outcome, **result})

    def event(self, name: str) -> None:
        self._write({"event": name})

    def close(self) -> None:
        os.close(self._fd)

    def _write(self, line: dict[str, Any]) -> None:
        text = json.dumps({"at": time.monotonic_ns(), **line}) + "\n"
        os.write(self._fd, text.encode())  # one write: lines of several writers never mix


def read(path: Path) -> Past:
    operations: dict[str, Operation] = {}
    events: dict[str, list[int]] = {"ready": [], "killed": []}
    with path.open() as lines:
        for text in lines:
            line = json.loads(text)
            at = line.pop("at")
            if "event" in line:
                events[line["event"]].append(at)
                continue
            identity = line.pop("id")
            if "kind" in line:
                operations[identity] = Operation(line.pop("kind"), at, line)
            else:
                done = operations[identity]
                done.end, done.outcome, done.result = at, line.pop("outcome"), line
    ordered = sorted(operations.values(), key=lambda one: one.start)
    return Past(ordered, events["ready"], events["killed"])
