"""Nobody waits for whoever reads the log, and who reads it late misses nothing without being told how much."""

import fcntl
import io
import json
import os
import re
import select
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from http.client import HTTPConnection
from pathlib import Path
from typing import TextIO, cast

import pytest

from moorage import telemetry
from moorage.telemetry.outlet import ROOM, Outlet
from tests.conftest import ROOT, Served
from tests.workers.crews import Crewed, wait_for

WAITS = 20.0
"""Seconds after which an answer does not come."""


class Line:
    """A pipe or a socket, with its outlet and an end to read from."""

    def __init__(self, reading: int, writing: int) -> None:
        self.reading, self.writing = reading, writing
        self.plain = open(writing, "w", encoding="utf-8", closefd=False)  # noqa: SIM115
        stream = cast("object", telemetry.patient(self.plain))
        assert isinstance(stream, Outlet)
        self.outlet = stream
        self.outlet.tell_loss = "{} lost".format

    def read(self) -> bytes:
        """What there is to read now."""
        return os.read(self.reading, 1 << 22) if select.select([self.reading], [], [], 0)[0] else b""

    def read_all(self) -> list[str]:
        """All lines: those that are there, and those that come behind them."""
        read = b""
        while True:
            read += (more := self.read())
            if not more and self.outlet.retry() and not select.select([self.reading], [], [], 0)[0]:
                assert read[-1:] in {b"", b"\n"}
                return read.decode().split("\n")[:-1]


@pytest.fixture(params=["pipe", "socket"])
def line(request: pytest.FixtureRequest) -> Iterator[Line]:
    if request.param == "pipe":
        reading, writing = os.pipe()
    else:
        reading, writing = (one.detach() for one in socket.socketpair())
    found = Line(reading, writing)
    yield found
    found.outlet.close()
    for fd in (reading, writing):
        with suppress(OSError):
            os.close(fd)


def numbers(lines: list[str]) -> list[int]:
    return [int(line.partition(" ")[0]) for line in lines]


def test_lines_that_are_read_go_out_at_once(line: Line) -> None:
    line.outlet.put("one")
    assert line.read() == b"one\n"
    line.outlet.put("caf\u00e9 \ud800")
    assert line.read() == b"caf\xc3\xa9 \\ud800\n"


def test_who_reads_late_gets_what_was_kept_in_order(line: Line) -> None:
    for number in range(4000):
        line.outlet.put(f"{number} {'x' * (number % 300)}")
    assert not line.outlet.retry()
    assert line.read_all() == [f"{number} {'x' * (number % 300)}" for number in range(4000)]


def test_what_was_kept_goes_before_a_later_line(line: Line) -> None:
    for number in range(2000):
        line.outlet.put(f"{number} {'x' * 200}")
    read = b""
    for number in range(2000, 4000):
        read += line.read()
        line.outlet.put(f"{number} {'x' * 200}")
    assert numbers(read.decode().split("\n")[:-1] + line.read_all()) == list(range(4000))


def test_what_is_too_much_is_lost_and_its_lines_are_counted(line: Line) -> None:
    for number in range(20_000):
        line.outlet.put(f"{number} {'x' * 200}")
    first = line.read()
    line.outlet.put("lost as well, for others before it are")
    *kept, told = (first + "\n".join([*line.read_all(), ""]).encode()).decode().split("\n")[:-1]
    assert numbers(kept) == list(range(len(kept)))
    assert ROOM // 220 < len(kept) < 20_000
    assert told == f"{20_001 - len(kept)} lost"
    line.outlet.put("and on it goes")
    assert line.read_all() == ["and on it goes"]


def test_a_line_longer_than_there_is_room_for_is_never_torn(line: Line) -> None:
    line.outlet.put("0 short")
    line.outlet.put(f"1 {'long' * 500_000}")
    line.outlet.put("lost")
    assert [len(one) for one in line.read_all()] == [7, 2_000_002, 6]
    for number in range(300):
        line.outlet.put(f"{number} {'x' * 5000}")
    found = line.read_all()
    assert numbers(found[:-1]) == list(range(len(found) - 1))
    assert all(one.endswith(f" {'x' * 5000}") for one in found[:-1])


def test_many_threads_write_whole_lines(line: Line) -> None:
    def work(thread: int) -> None:
        for number in range(2000):
            line.outlet.put(f"{thread} {number} {'x' * (number % 50)}")

    threads = [threading.Thread(target=work, args=(thread,)) for thread in range(4)]
    for thread in threads:
        thread.start()
    read = b""
    while any(thread.is_alive() for thread in threads):
        read += line.read()
    found = [tuple(map(int, one.split()[:2])) for one in (read.decode() + "\n".join(line.read_all())).splitlines()]
    assert sorted(found) == [(thread, number) for thread in range(4) for number in range(2000)]
    for thread in range(4):
        assert [number for who, number in found if who == thread] == list(range(2000))


def test_whoever_shares_the_descriptor_finds_it_as_it_was(line: Line) -> None:
    before = fcntl.fcntl(line.writing, fcntl.F_GETFL)
    assert not before & os.O_NONBLOCK
    line.outlet.put("x" * 1_000_000)
    assert fcntl.fcntl(line.writing, fcntl.F_GETFL) == before


def test_a_line_told_in_the_middle_of_another_comes_behind_it(line: Line) -> None:
    """As where the garbage collector finds a task that has failed."""
    write = line.outlet._write

    def interrupted(lines: bytes) -> int | None:
        if lines.startswith(b"0 "):
            line.outlet.put("1 inner")
        return write(lines)

    line.outlet._write = interrupted
    line.outlet.put(f"0 {'x' * 500_000}")
    line.outlet.put("2 later")
    assert numbers(line.read_all()) == [0, 1, 2]


def test_a_reader_that_is_gone_fails_nobody_and_leaves_nothing_waiting(line: Line) -> None:
    for number in range(4000):
        line.outlet.put(f"{number} {'x' * 200}")
    os.close(line.reading)
    line.outlet.put("nobody reads this")
    assert line.outlet.retry()
    line.outlet.put("nor this")
    assert line.outlet.retry()


def test_the_end_of_a_process_waits_for_a_reader_but_a_moment(line: Line) -> None:
    line.outlet.put("x" * 1_000_000)
    began = time.monotonic()
    telemetry.finish()
    assert 0.1 < time.monotonic() - began < 5
    read = bytearray()
    reader = threading.Thread(target=lambda: read.extend(os.read(line.reading, 1 << 22)))
    reader.start()
    telemetry.finish()
    reader.join()
    assert line.outlet._held < 1_000_001 - 1000


def test_a_fork_begins_with_an_empty_outlet(line: Line) -> None:
    for number in range(4000):
        line.outlet.put(f"{number} {'x' * 200}")
    pid = os.fork()
    if not pid:
        status = 1
        with suppress(BaseException):
            status = 0 if line.outlet.retry() and line.outlet._held == 0 else 2
        os._exit(status)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
    assert numbers(line.read_all()) == list(range(4000))


def test_what_is_printed_goes_out_line_by_line(line: Line) -> None:
    stream = cast("TextIO", line.outlet)
    print("moorage:", "it", end="", file=stream, flush=True)
    line.outlet.put("told meanwhile")
    print(" failed\nfor a reason\nthat", file=stream, end="")
    telemetry.finish()
    assert line.read() == b"told meanwhile\nmoorage: it failed\nfor a reason\nthat\n"


def test_files_and_what_cannot_be_opened_again_are_written_as_ever(tmp_path: Path) -> None:
    with (tmp_path / "log").open("w") as file:
        assert telemetry.patient(file) is file
    memory = io.StringIO()
    assert telemetry.patient(memory) is memory
    os.mkfifo(tmp_path / "named")
    reading = os.open(tmp_path / "named", os.O_RDONLY | os.O_NONBLOCK)
    with (tmp_path / "named").open("w") as stream:
        os.close(reading)
        assert telemetry.patient(stream) is stream


def test_datagrams_are_lines() -> None:
    theirs, ours = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
    line = Line(theirs.detach(), ours.detach())
    for number in range(1000):
        line.outlet.put(f"{number} some line")
    found = []
    while len(found) < 1000:
        found.append(line.read())
        line.outlet.retry()
    assert found == [f"{number} some line\n".encode() for number in range(1000)]
    line.outlet.close()
    os.close(line.reading)
    os.close(line.writing)


@contextmanager
def unread(data: Path, workers: int, kind: str) -> Iterator[tuple[Served, int]]:
    """A server of which nobody reads standard error, and the end to read it from."""
    reading, writing = os.pipe() if kind == "pipe" else (one.detach() for one in socket.socketpair())
    process = subprocess.Popen(
        [
            *(sys.executable, "-m", "moorage", "serve", "--open", "--config", str(ROOT / "tests" / "lab.yml")),
            *("--data", str(data), "--listen", "127.0.0.1:0", "--workers", str(workers)),
        ],
        stdout=subprocess.PIPE,
        stderr=writing,
        text=True,
    )
    os.close(writing)
    try:
        assert process.stdout is not None
        port = re.search(r"listens on http://127.0.0.1:(\d+)", process.stdout.readline())
        assert port is not None
        yield Served(process, int(port[1]), data, data), reading
    finally:
        process.kill()
        process.wait()
        assert process.stdout is not None
        process.stdout.close()
        os.close(reading)


def ask(server: Served, first: int, count: int) -> None:
    """On one connection, with the number of the request as its id."""
    line = HTTPConnection("127.0.0.1", server.port, timeout=WAITS)
    for number in range(first, first + count):
        line.request("GET", "/v2/", headers={"X-Request-ID": f"n{number}", "User-Agent": "u" * 250})
        answer = line.getresponse()
        answer.read()
        assert answer.status == 200
    line.close()


def ask_all(server: Served, connections: int, count: int) -> None:
    with ThreadPoolExecutor(connections) as pool:
        list(pool.map(lambda number: ask(server, number * count, count), range(connections)))


def ended(server: Served) -> None:
    """It ends as it does where its log is read."""
    began = time.monotonic()
    server.process.send_signal(signal.SIGTERM)
    assert server.process.wait(WAITS) == 0
    assert time.monotonic() - began < 10


@pytest.mark.parametrize("kind", ["pipe", "socket"])
@pytest.mark.parametrize("workers", [1, 2])
def test_a_server_whose_log_nobody_reads_serves_and_stops(tmp_path: Path, workers: int, kind: str) -> None:
    with unread(tmp_path / "data", workers, kind) as (server, _):
        ask_all(server, 4, 500)
        ended(server)


def test_a_worker_is_replaced_although_nobody_reads_of_it(tmp_path: Path) -> None:
    with unread(tmp_path / "data", 2, "pipe") as (server, _):
        crew = Crewed(server)
        ask_all(server, 4, 200)
        first = crew.workers()
        os.kill(first[1], signal.SIGKILL)
        wait_for(lambda: len(crew.workers()) == 2 and first[1] not in crew.workers())
        ask_all(server, 4, 20)
        ended(server)


def read_until(reading: int, found: Callable[[bytes], bool]) -> bytes:
    read, end = b"", time.monotonic() + WAITS
    while not found(read):
        assert time.monotonic() < end
        if select.select([reading], [], [], 1)[0]:
            read += os.read(reading, 1 << 20)
    return read


def test_who_reads_the_log_of_a_server_late_learns_how_many_lines_are_lost(tmp_path: Path) -> None:
    """Also where nothing more is told after them."""
    with unread(tmp_path / "data", 1, "pipe") as (server, reading):
        ask(server, 0, 3500)
        read = read_until(reading, lambda read: b'"lost":' in read)
        lines = [json.loads(line) for line in read.splitlines()]
        (loss,) = (line for line in lines if "lost" in line)
        assert (loss["level"], loss["logger"], loss is lines[-1]) == ("warn", "moorage.log", True)
        assert "request_id" not in loss
        ids = [line["request_id"] for line in lines if line["msg"] == "request"]
        assert ids == [f"n{number}" for number in range(len(ids))]
        assert len(ids) + loss["lost"] == 3500
        ask(server, 3500, 1)
        assert b'"request_id":"n3500"' in read_until(reading, lambda read: read.endswith(b"\n"))


def test_who_reads_the_log_of_workers_late_gets_whole_lines(tmp_path: Path) -> None:
    with unread(tmp_path / "data", 2, "pipe") as (server, reading):
        ask_all(server, 4, 500)
        read = read_until(reading, lambda read: read.count(b'"msg":"request"') == 2000 and read.endswith(b"\n"))
        lines = [json.loads(line) for line in read.splitlines()]
        ids = [int(line["request_id"][1:]) for line in lines if line["msg"] == "request"]
        assert sorted(ids) == list(range(2000))
        for number in range(4):
            own = [one for one in ids if one // 500 == number]
            assert own == sorted(own)
