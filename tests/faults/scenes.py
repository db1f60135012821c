"""Short stories with a fault in the middle, for what random faults meet too seldom."""

import time
from pathlib import Path

from tests.faults import oracle
from tests.faults.clients import INLINE
from tests.faults.history import History
from tests.faults.oracle import Verdict
from tests.faults.points import traced
from tests.faults.power import Machine
from tests.faults.server import Launcher
from tests.faults.wire import Client, digest_of


def resume_after_a_cut(launcher: Launcher, machine: Machine, path: Path, times: int) -> Verdict:
    """An upload whose row survived the power cut, and whose bytes did not, is gone on with."""
    seen, history = Verdict(), History(path, "resume")
    client = Client(machine.place.port, history)
    try:
        _resume(launcher, machine, path, times, history, client, seen)
    finally:
        client.close()
        history.close()
    return seen


def _resume(
    launcher: Launcher, machine: Machine, path: Path, times: int, history: History, client: Client, seen: Verdict
) -> None:
    running = machine.boot(launcher)
    for number in range(times):
        since = time.monotonic_ns()
        first, second = (f"{word} {number} ".encode() * INLINE for word in ("first", "second"))
        with machine.watched(running):
            _, headers, _ = client.ask("POST", "/v2/resume/app/blobs/uploads/")
            status, headers, _ = client.ask("PATCH", headers["location"], first)
            assert status == 202
            # A durable commit takes the upload's row along.
            assert client.push_blob("resume/app", f"durable {number}".encode())
            client.close()
            history.event("killed")
            machine.cut(running)
        if machine.strict:
            machine.strict.cut()
        running = machine.boot(launcher)
        history.event("ready")
        deed = history.begin(
            "push-blob",
            repository="resume/app",
            digest=digest_of(first + second),
            size=len(first + second),
            form="resumed",
        )
        digest = digest_of(first + second)
        status, _, _ = client.ask("PUT", f"{headers['location']}?digest={digest}", second)
        assert status < 500
        history.end(deed, "ok" if status == 201 else "fail", status=status)
        if status != 201:
            assert client.push_blob("resume/app", first + second, "stream")
        client.close()
        seen.add(oracle.check(machine.place, path, since=since))
    running.kill()


def push_while_syncs_fail(launcher: Launcher, machine: Machine, path: Path) -> Verdict:
    """The disk refuses to sync, clients try and try again, and then the power fails.

    Nothing may be acknowledged, the second attempt at the same upload included: a sync that fails drops what it could
    not write, so that the next one succeeds over nothing.
    """
    history = History(path, "syncs")
    client = Client(machine.place.port, history)
    try:
        return _push(launcher, machine, path, history, client)
    finally:
        client.close()
        history.close()


def _push(launcher: Launcher, machine: Machine, path: Path, history: History, client: Client) -> Verdict:
    running = machine.boot(launcher)
    history.event("ready")
    since = time.monotonic_ns()
    assert client.push_blob("warm/up", b"small")
    for form in ("whole", "stream"):
        assert client.push_blob("warm/up", f"{form} ".encode() * INLINE, form)
    # All threads but the one that writes rows: it is their commit that must not come.
    first, *others = [thread for name, thread in running.threads().items() if name != "moorage-writer"]
    held = [word for thread in others for word in ("-p", str(thread))]
    inject = ("-e", "trace=fsync,fdatasync", "-e", "inject=fsync,fdatasync:error=EIO")
    acknowledged = []
    with traced(*inject, *held, pid=first) as trace:
        for number, form in enumerate(("whole", "stream", "last", "chunks")):
            acknowledged.append(client.push_blob("syncs/app", f"refused {number} ".encode() * INLINE, form))
    injected = trace.text.count("(INJECTED)")
    assert injected, "no sync failed"
    seen = Verdict()
    seen.violations += ["O1: a blob was acknowledged whose sync had failed"] * sum(acknowledged)
    history.event("killed")
    client.close()
    machine.cut(running)
    running = machine.boot(launcher)
    history.event("ready")
    seen.add(oracle.check(machine.place, path, since=since, serving=False))
    running.kill()
    return seen
