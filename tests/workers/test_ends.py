"""What ends: a worker, its parent, all of them together."""

import os
import signal
import socket
import sqlite3
import threading
import time
from contextlib import ExitStack, closing
from pathlib import Path

import httpx
import pytest

from tests import make
from tests.test_serve import half_an_upload, stop_listening
from tests.workers.conftest import Start
from tests.workers.crews import Crewed, lives, wait_for


def cpu_seconds(pid: int) -> float:
    """What a process has used, its children aside."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def replaced(crew: Crewed, gone: int, count: int = 2) -> int:
    """Wait until there are as many workers as before; gives the new one, once it serves."""
    before = set(crew.workers()) | {gone}

    def new() -> int | None:
        found = set(crew.workers())
        fresh = found - before
        return fresh.pop() if len(found) == count and fresh else None

    pid: int = wait_for(new)
    with crew.lines() as lines:
        assert lines[pid].get("/readyz").status_code == 200
    return pid


@pytest.mark.parametrize("which", [0, 1])
def test_a_worker_that_is_killed_is_replaced_and_others_go_on_meanwhile(crewed: Start, which: int) -> None:
    crew = crewed()
    victim = crew.workers()[which]
    with crew.lines() as lines:
        other = next(client for pid, client in lines.items() if pid != victim)
        make.push_image(other, "acme/app", "1", b"{}", b"x" * 100_000)
        ended = threading.Event()
        failed: list[str] = []
        served = [0]

        def load() -> None:
            while not ended.is_set():
                try:
                    assert other.get("/v2/acme/app/manifests/1").status_code == 200
                    assert make.push_blob(other, "acme/app", b"%d" % served[0] + b"y" * 20_000).status_code == 201
                except (httpx.HTTPError, AssertionError) as error:
                    failed.append(repr(error))
                    return
                served[0] += 1

        thread = threading.Thread(target=load)
        thread.start()
        wait_for(lambda: served[0] > 5)
        os.kill(victim, signal.SIGKILL)
        replaced(crew, victim)
        seen = served[0]
        wait_for(lambda: failed or served[0] > seen + 5)
        ended.set()
        thread.join()
        assert failed == []
    assert "a worker ended, and is replaced" in crew.served.log.read_text()


def test_the_parent_only_waits(crewed: Start) -> None:
    crew = crewed()
    before = cpu_seconds(crew.served.process.pid)
    time.sleep(2)
    assert cpu_seconds(crew.served.process.pid) - before < 0.1


def test_jobs_run_on_when_the_worker_that_runs_them_is_killed(crewed: Start) -> None:
    crew = crewed(REGISTRY_GC_INTERVAL="100ms")

    def finished() -> int:
        with closing(sqlite3.connect(crew.served.data / "moorage.db", timeout=20)) as rows:
            found = rows.execute("SELECT finished_at FROM jobs WHERE name = 'gc'").fetchone()
            return int(found[0] or 0) if found else 0

    before = wait_for(finished)
    wait_for(lambda: finished() > before)
    first = crew.workers()[0]
    os.kill(first, signal.SIGKILL)
    replaced(crew, first)
    now = time.time() * 1_000_000
    wait_for(lambda: finished() > now)


@pytest.mark.parametrize("workers", ["1", "2"])
def test_a_process_whose_background_work_ends_by_a_fault_ends_too(crewed: Start, tmp_path: Path, workers: str) -> None:
    """And is replaced: by the registry itself, or by whoever watches over it."""
    fault = tmp_path / "fault"
    crew = crewed(program=("tests.workers.faulty", str(fault)), REGISTRY_HTTP_WORKERS=workers)
    server, first = crew.served, crew.workers()[:1]
    with httpx.Client(base_url=server.url) as client:
        body = make.push_image(client, "acme/app", "1", b"{}")
    fault.touch()
    if workers == "1":
        assert server.process.wait(60) == 1
    else:
        replaced(crew, *first)
        assert httpx.get(f"{server.url}/v2/acme/app/manifests/1").content == body
    told = server.log.read_text()
    assert "the background work has ended, and so does this process" in told
    assert "RuntimeError: nobody expected this" in told
    assert "moorage: the background work has ended by a fault; the log says more" in told


def test_jobs_run_in_one_worker_alone(crewed: Start) -> None:
    crew = crewed(REGISTRY_GC_INTERVAL="50ms", REGISTRY_HTTP_WORKERS="3")
    holders = set()
    with closing(sqlite3.connect(crew.served.data / "moorage.db", timeout=20)) as rows:
        end = time.monotonic() + 5
        while time.monotonic() < end or not holders:
            holders |= {holder for (holder,) in rows.execute("SELECT holder FROM jobs WHERE holder IS NOT NULL")}
    assert len(holders) == 1


def test_whoever_is_told_that_all_listen_may_signal_them(crewed: Start, tmp_path: Path) -> None:
    for number in range(4):
        crew = crewed(tmp_path / f"d{number}", REGISTRY_HTTP_WORKERS="3")
        workers = crew.workers()
        crew.served.process.send_signal(signal.SIGHUP)
        with crew.lines() as lines:
            assert set(lines) == set(workers)
        crew.served.process.terminate()
        assert crew.served.process.wait(20) == 0
        assert not any(lives(pid) for pid in workers)


def nobody_listens(port: int) -> bool:
    try:
        socket.create_server(("127.0.0.1", port)).close()
    except OSError:
        return False
    return True


def test_nothing_is_left_of_a_server_whose_parent_is_killed(crewed: Start, tmp_path: Path) -> None:
    crew = crewed(tmp_path / "d")
    workers = crew.workers()
    with crew.lines() as lines:
        body = make.push_image(next(iter(lines.values())), "acme/app", "1", b"{}")
        crew.served.process.kill()
        wait_for(lambda: not any(lives(pid) for pid in workers))
        wait_for(lambda: nobody_listens(crew.served.port))
    with crewed(tmp_path / "d").client() as client:
        assert client.get("/v2/acme/app/manifests/1").content == body


@pytest.mark.parametrize("to_all", [False, True])
def test_one_sigterm_lets_exchanges_finish_in_every_worker(crewed: Start, to_all: bool) -> None:
    """Also where a service manager sends it to every process, as systemd does."""
    crew = crewed(REGISTRY_HTTP_DRAINTIMEOUT="100s")
    workers = crew.workers()
    with ExitStack() as stack:
        uploads: list[tuple[socket.socket, bytes]] = []
        busy: set[int] = set()
        while busy < set(workers):
            content = b"%d" % len(uploads) + b"x" * 200_000
            line = stack.enter_context(half_an_upload(crew.served, content))
            uploads.append((line, content[len(content) // 2 :]))
            busy.add(crew.who_holds(line.getsockname()[1]))
        if to_all:
            for pid in workers:
                os.kill(pid, signal.SIGTERM)
        stop_listening(crew.served)
        time.sleep(0.5)
        assert [pid for pid in workers if lives(pid)] == workers
        for line, rest in uploads:
            line.sendall(rest)
            with line.makefile("rb") as answer:
                assert answer.read().startswith(b"HTTP/1.1 201 ")
    assert crew.served.process.wait(60) == 0
    assert not any(lives(pid) for pid in workers)
    assert "is replaced" not in crew.served.log.read_text()


@pytest.mark.parametrize("second", [signal.SIGTERM, signal.SIGINT])
def test_a_second_signal_stops_every_worker_in_the_middle_of_an_exchange(crewed: Start, second: signal.Signals) -> None:
    crew = crewed(REGISTRY_HTTP_DRAINTIMEOUT="100s")
    workers = crew.workers()
    with half_an_upload(crew.served, b"x" * 200_000), half_an_upload(crew.served, b"y" * 200_000):
        stop_listening(crew.served)
        assert crew.served.process.poll() is None
        crew.served.process.send_signal(second)
        assert crew.served.process.wait(60) == 0
    assert not any(lives(pid) for pid in workers)
    assert "Traceback" not in crew.served.log.read_text()


def test_a_worker_that_is_told_to_stop_finishes_and_is_replaced(crewed: Start) -> None:
    crew = crewed()
    first = crew.workers()[0]
    os.kill(first, signal.SIGTERM)
    replaced(crew, first)
    assert crew.served.process.poll() is None


def test_a_server_whose_workers_cannot_begin_any_more_gives_up_and_says_why(crewed: Start) -> None:
    crew = crewed()
    victim, other = crew.workers()
    with crew.lines() as lines:
        (crew.served.data / "blobs" / "store").write_text("nonsense")
        os.kill(victim, signal.SIGKILL)
        assert lines[other].get("/v2/").status_code == 200
        assert crew.served.process.wait(120) == 1
    told = crew.served.log.read_text()
    assert "workers end as soon as they have begun" in told
    assert "should hold the 32 hexadecimal digits that name this store" in told
    assert "Traceback" not in told
    assert not lives(other)
