"""The one oracle: what must be so after any fault, whatever it was.  It knows nothing of the server's code.

    O1  everything acknowledged is there with its very bytes, until an acknowledged deletion or overwriting
    O2  what has an unknown outcome is there as a whole, or not at all
    O3  whatever is answered whole has the digest it was asked or named by
    O4  rows fit each other and the bytes (`rows.wrong`)
    O5  once the collector has come to rest, nothing is left that nobody needs (`rows.leaked`)
    O7  tags and manifests behave as registers: one order of effects explains all that clients saw
    O8  while the registry is ready, no answer is a failure of its own

O6, counters of quotas, waits for quotas.
"""

import time
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from tests.faults import registers, rows
from tests.faults.history import FAIL, OK, UNKNOWN, History, Operation, Past, read
from tests.faults.registers import Step
from tests.faults.server import Place
from tests.faults.wire import Client

SECOND = 1_000_000_000
FOREVER = 24 * 3600.0

Key = tuple[str, str]


@dataclass
class Verdict:
    """What was looked at, and what was wrong."""

    operations: int = 0
    acknowledged: int = 0
    unknown: int = 0
    reads: int = 0
    violations: list[str] = field(default_factory=list)

    def add(self, other: "Verdict") -> None:
        self.operations += other.operations
        self.acknowledged += other.acknowledged
        self.unknown += other.unknown
        self.reads += other.reads
        self.violations += other.violations


def check(place: Place, path: Path, *, window: float = FOREVER, since: int = 0, serving: bool = True) -> Verdict:
    """Read back everything that operations begun after `since` name, and judge the whole history of it.

    `window` is how many seconds an unreferenced blob is safe (`gc.window`).  With `serving` false, failures of the
    server itself are expected (O8 is not judged).
    """
    _read_back(place, path, since)
    past = read(path)
    concerned = [one for one in past.operations if one.start >= since]
    verdict = Verdict(
        operations=len(concerned),
        acknowledged=sum(one.outcome == OK and not one.kind.startswith("get-") for one in concerned),
        unknown=sum(one.outcome == UNKNOWN for one in concerned),
        reads=sum(one.outcome == OK and one.kind.startswith("get-") for one in concerned),
    )
    verdict.violations += _corrupt(concerned)
    verdict.violations += _contradictions(past, since)
    verdict.violations += _blobs(past, since, window)
    verdict.violations += _unfair(concerned, past, window)
    if serving:
        verdict.violations += _failures(concerned, past)
    verdict.violations += rows.wrong(place)
    return verdict


def settle(place: Place, patience: float) -> list[str]:
    """O5: wait until the collector has taken all it should, at most `patience` seconds; what is left then."""
    until = time.monotonic() + patience
    while True:
        left = list(rows.leaked(place))
        if not left or time.monotonic() > until:
            return left
        time.sleep(0.2)


def _named(operations: list[Operation]) -> tuple[set[Key], set[Key]]:
    """The references of manifests, and the blobs, that operations name."""
    manifests: set[Key] = set()
    blobs: set[Key] = set()
    for one in operations:
        if one.kind == "put-manifest":
            manifests |= {(one["repository"], name) for name in (one["tag"], one["digest"]) if name}
            blobs |= {(one["repository"], digest) for digest in one["blobs"]}
        elif one.kind == "delete-manifest":
            manifests.add((one["repository"], one["digest"]))
        elif one.kind == "delete-tag":
            manifests.add((one["repository"], one["tag"]))
        elif one.kind in {"push-blob", "mount", "delete-blob"}:
            blobs.add((one["repository"], one["digest"]))
    return manifests, blobs


def _read_back(place: Place, path: Path, since: int) -> None:
    """Read everything through the front door; what comes back becomes part of the history."""
    manifests, blobs = _named([one for one in read(path).operations if one.start >= since])
    history = History(path, f"oracle{time.monotonic_ns()}")
    client = Client(place.port, history)
    for repository, reference in sorted(manifests):
        client.get("manifest", repository, reference)
    for repository, digest in sorted(blobs):
        client.get("blob", repository, digest)
    client.close()
    history.close()


def _corrupt(operations: list[Operation]) -> Iterator[str]:
    """O3."""
    for one in operations:
        if one.kind.startswith("get-") and one.outcome == OK and one.result["found"] is not None:
            hashed, reference = one.result["hashed"], one["reference"]
            if hashed != one.result["found"] or (":" in reference and hashed != reference):
                yield f"O3: {one['repository']}/{reference} was answered with the bytes of {hashed}"


def _end(one: Operation, past: Past) -> int:
    """When at the latest it took effect: for one of unknown outcome, when the registry was up again."""
    if one.end is not None and one.outcome != UNKNOWN:
        return one.end
    return min((at for at in past.ready if at > (one.end or one.start)), default=2**63)


def _contradictions(past: Past, since: int) -> Iterator[str]:
    """O1, O2 and O7 for tags and manifests."""
    wanted, _ = _named([one for one in past.operations if one.start >= since])
    steps: dict[Key, list[Step]] = defaultdict(list)
    removals: dict[str, list[Operation]] = defaultdict(list)
    for one in past.operations:
        if one.outcome == FAIL or "repository" not in one.arguments:
            continue
        certain, end, repository = one.outcome == OK, _end(one, past), one["repository"]

        def step(reference: str, effect: registers.Callable[[str | None], str | None]) -> None:
            name = f"{one.kind} {reference} ({one.outcome})"  # noqa: B023 - called at once
            steps[repository, reference].append(Step(one.start, end, effect, certain, name))  # noqa: B023

        if one.kind == "put-manifest":
            step(one["digest"], registers.write(one["digest"]))
            if one["tag"]:
                step(one["tag"], registers.write(one["digest"]))
        elif one.kind == "delete-tag":
            step(one["tag"], registers.removed)
        elif one.kind == "delete-manifest":
            step(one["digest"], registers.removed)
            removals[repository].append(one)
        elif one.kind == "get-manifest" and certain:
            step(one["reference"], registers.seen(one.result["found"]))
    for key in sorted(wanted):
        repository, reference = key
        if ":" not in reference:
            # Deleting a manifest takes its tags along.
            for one in removals[repository]:
                effect = registers.cleared(one["digest"])
                steps[key].append(
                    Step(one.start, _end(one, past), effect, one.outcome == OK, f"delete {one['digest']}")
                )
        failed = registers.explain(steps[key])
        if failed:
            yield f"O1/O7: {repository}/{reference}: {failed}"


def _blobs(past: Past, since: int, window: float) -> Iterator[str]:
    """O1 for blobs: there while something refers to them, or their lease runs; gone when deleted."""
    last: dict[tuple[str, str, str], Operation] = {}
    gains: dict[Key, list[Operation]] = defaultdict(list)
    losses: dict[Key, list[Operation]] = defaultdict(list)
    for one in past.operations:
        if one.kind in {"get-blob", "get-manifest"} and one.outcome == OK:
            last[one.kind, one["repository"], one["reference"]] = one
        elif one.kind in {"push-blob", "mount"} and one.outcome != FAIL:
            gains[one["repository"], one["digest"]].append(one)
        elif one.kind in {"delete-blob", "let-expire"} and one.outcome != FAIL:
            losses[one["repository"], one["digest"]].append(one)
    referring: dict[Key, str] = {}
    for one in past.operations:
        found = last.get(("get-manifest", one["repository"], one["digest"])) if one.kind == "put-manifest" else None
        if found is not None and found.result["found"] is not None:
            referring |= {(one["repository"], digest): one["digest"] for digest in one["blobs"]}
    _, wanted = _named([one for one in past.operations if one.start >= since])
    for key in sorted(wanted):
        seen = last.get(("get-blob", *key))
        if seen is None:
            yield f"O1: blob {key[0]}/{key[1]} could not be asked for"
            continue
        there = seen.result["found"] is not None
        if key in referring and not there:
            yield f"O1: manifest {referring[key]} is there and its blob {key[0]}/{key[1]} is not"
        safe = [
            one
            for one in gains[key]
            if one.outcome == OK
            and (seen.end or 0) < one.start + window * SECOND
            and all(_end(loss, past) < one.start for loss in losses[key])
        ]
        if safe and not there:
            yield f"O1: blob {key[0]}/{key[1]} was acknowledged ({safe[-1].kind}) and is not there"
        over = [
            loss
            for loss in losses[key]
            if loss.outcome == OK and all((_end(one, past)) < loss.start for one in gains[key])
        ]
        if over and there:
            yield f"O1: blob {key[0]}/{key[1]} was deleted and is there"


def _unfair(operations: list[Operation], past: Past, window: float) -> Iterator[str]:
    """A client that was quick enough must never hear that its blobs are unknown."""
    pushed: dict[Key, int] = {}
    deleted = {(one["repository"], one["digest"]) for one in past.operations if one.kind == "delete-blob"}
    for one in past.operations:
        if one.kind in {"push-blob", "mount"} and one.outcome == OK:
            pushed[one["repository"], one["digest"]] = one.start
    for one in operations:
        if one.kind != "put-manifest" or one.result.get("code") != "MANIFEST_BLOB_UNKNOWN":
            continue
        keys = [(one["repository"], digest) for digest in one["blobs"]]
        if all(
            key in pushed and pushed[key] < one.start and (one.end or 0) < pushed[key] + window * SECOND for key in keys
        ) and not deleted.intersection(keys):
            yield f"O1: manifest {one['digest']} was refused although its blobs had just been acknowledged"


def _failures(operations: list[Operation], past: Past) -> Iterator[str]:
    """O8."""
    for one in operations:
        status = one.result.get("status", 0)
        if status < 500 or one.end is None:
            continue
        began = max((at for at in past.ready if at <= one.start), default=None)
        ended = min((at for at in past.killed if began is not None and at > began), default=2**63)
        if began is not None and one.end < ended:
            yield f"O8: {one.kind} was answered {status} {one.result.get('code', '')}"
