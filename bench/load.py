"""Clients, in processes of their own: their CPU is never in a server's measure, but it is watched.

On two cores a client can be what limits: a sample whose busiest client thread was on a core nearly all the time says
little about the server's wall time, and nothing false about its CPU.
"""

import json
import os
import re
import select
import shutil
import socket
import subprocess
import time
import traceback
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from typing import Final

from bench.wire import Wrong

Work = Callable[[], float]
"""What one client does; gives how many operations that were (or GiB)."""

_REQUESTS: Final = re.compile(r"(\d+) requests in ([\d.]+)(ms|s|m),")


@dataclass(frozen=True, slots=True)
class Load:
    """What clients did: operations, wall seconds, their own CPU seconds, the busiest process's share of a core."""

    ops: float
    seconds: float
    cpu: float
    busy: float


@dataclass(frozen=True, slots=True)
class _Report:
    """What a crew's process says in the end."""

    start: float = 0.0
    end: float = 0.0
    ops: float = 0.0
    error: str = ""


def clients(*crews: Sequence[Work]) -> Load:
    """Run everybody's work at once: a process for each crew, a thread for each member.  Raises Wrong."""
    started = [_fork(crew) for crew in crews]
    ended = [_join(pid, pipe) for pid, pipe in started]
    reports, used = [report for report, _ in ended], [cpu for _, cpu in ended]
    for report in reports:
        if report.error:
            raise Wrong(report.error)
    seconds = max(report.end for report in reports) - min(report.start for report in reports)
    return Load(sum(report.ops for report in reports), seconds, sum(used), max(used) / seconds)


def _fork(crew: Sequence[Work]) -> tuple[int, int]:
    pipe, ours = os.pipe()
    pid = os.fork()
    if pid:
        os.close(ours)
        return pid, pipe
    try:  # the child, to its end
        os.write(ours, json.dumps(asdict(_together(crew))).encode())
    finally:
        os._exit(0)


def _together(crew: Sequence[Work]) -> _Report:
    try:
        start = time.monotonic()
        if len(crew) == 1:
            ops = crew[0]()
        else:
            with ThreadPoolExecutor(len(crew)) as pool:
                ops = sum(done.result() for done in [pool.submit(work) for work in crew])
        return _Report(start, time.monotonic(), ops)
    except Exception:  # noqa: BLE001 - it is raised again in the parent
        return _Report(error=traceback.format_exc()[-4000:])


def _join(pid: int, pipe: int) -> tuple[_Report, float]:
    with os.fdopen(pipe) as report:
        text = report.read()
    _, _, usage = os.wait4(pid, 0)
    told = _Report(**json.loads(text)) if text else _Report(error="a client died")
    return told, usage.ru_utime + usage.ru_stime


def has_wrk() -> bool:
    return shutil.which("wrk") is not None


def wrk(port: int, target: str, headers: Sequence[tuple[str, str]], connections: int, seconds: int) -> Load:
    """GET one thing over and over with wrk, on one thread.  Raises Wrong if any answer is not 200."""
    options = [option for name, value in headers for option in ("-H", f"{name}: {value}")]
    command = [str(shutil.which("wrk")), "-t1", f"-c{connections}", f"-d{seconds}s", *options]
    process = subprocess.Popen([*command, f"http://127.0.0.1:{port}{target}"], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    with process.stdout as output:
        told = output.read()
    _, _, usage = os.wait4(process.pid, 0)
    process.returncode = 0
    found = _REQUESTS.search(told)
    if found is None or "Non-2xx" in told or "Socket errors" in told or found[1] == "0":
        raise Wrong(f"wrk on {target} says:\n{told}")
    spent = float(found[2]) * {"ms": 0.001, "s": 1, "m": 60}[found[3]]
    cpu = usage.ru_utime + usage.ru_stime
    return Load(int(found[1]), spent, cpu, cpu / spent)


def repeat(port: int, asked: bytes, length: int, connections: int, seconds: float) -> Load:
    """Ask one thing over and over, as wrk would, which cannot do HEAD; `length` is the body that must come."""
    return clients([lambda: _repeat(port, asked, length, connections, seconds)])


def _repeat(port: int, asked: bytes, length: int, connections: int, seconds: float) -> int:
    sockets = {}
    events = select.epoll()
    for _ in range(connections):
        one = socket.create_connection(("127.0.0.1", port))
        one.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        sockets[one.fileno()] = one
        events.register(one, select.EPOLLIN)
        one.sendall(asked)
    got = dict.fromkeys(sockets, b"")
    done = 0
    stop = time.monotonic() + seconds
    while time.monotonic() < stop:
        for fd, _ in events.poll(1):
            answer = got[fd] + sockets[fd].recv(65536)
            if not answer.startswith(b"HTTP/1.1 200"[: len(answer)]) or not answer:
                raise Wrong(f"the answer is {answer[:300]!r}")
            end = answer.find(b"\r\n\r\n") + 4
            if end < 4 or len(answer) < end + length:
                got[fd] = answer
                continue
            if len(answer) > end + length:
                raise Wrong("an answer is longer than expected")
            got[fd] = b""
            done += 1
            sockets[fd].sendall(asked)
    for one in sockets.values():
        one.close()
    return done
