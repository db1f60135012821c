"""The server process: starting, stopping, and what it keeps."""

import signal
import socket
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import httpx
import pytest

from tests import make
from tests.conftest import ROOT, Served


def test_what_was_acknowledged_survives_a_kill(serve: Callable[..., Served], tmp_path: Path) -> None:
    first = serve(tmp_path / "d")
    with httpx.Client(base_url=first.url) as client:
        body = make.push_image(client, "acme/app", "1", b"{}", b"large" * 100_000)
    first.process.send_signal(signal.SIGKILL)
    first.process.wait(10)
    with httpx.Client(base_url=serve(tmp_path / "d").url) as client:
        assert client.get("/v2/acme/app/manifests/1").content == body
        layer = client.get(f"/v2/acme/app/blobs/{make.digest(b'large' * 100_000)}")
        assert layer.content == b"large" * 100_000


def test_an_upload_goes_on_in_another_process(serve: Callable[..., Served], tmp_path: Path) -> None:
    content = b"0123456789" * 20_000
    first = serve(tmp_path / "d")
    with httpx.Client(base_url=first.url) as client:
        place = client.post("/v2/acme/app/blobs/uploads/").headers["Location"]
        client.patch(place, content=content[:100_000])
    first.process.send_signal(signal.SIGKILL)
    first.process.wait(10)
    with httpx.Client(base_url=serve(tmp_path / "d").url) as client:
        assert client.get(place).headers["Range"] == "0-99999"
        done = client.put(f"{place}?digest={make.digest(content)}", content=content[100_000:])
        assert done.status_code == 201
        assert client.get(done.headers["Location"]).content == content


def test_a_second_server_on_the_same_data_is_refused(serve: Callable[..., Served], tmp_path: Path) -> None:
    serve(tmp_path / "d")
    answer = _run("serve", "--open", "--config", str(ROOT / "tests" / "lab.yml"), "--data", str(tmp_path / "d"))
    assert answer.returncode == 1
    assert "another server is already using" in answer.stderr
    assert "Traceback" not in answer.stderr


def test_deleting_can_be_switched_off(serve: Callable[..., Served]) -> None:
    with httpx.Client(base_url=serve(REGISTRY_STORAGE_DELETE_ENABLED="false").url) as client:
        make.push_image(client, "acme/app", "1", b"{}")
        assert client.delete("/v2/acme/app/manifests/1").status_code == 405


def test_sparse_images_are_accepted_where_asked_for(serve: Callable[..., Served]) -> None:
    with httpx.Client(base_url=serve(REGISTRY_VALIDATION_SPARSE="true").url) as client:
        body = make.image(b"absent", b"absent too")
        put = client.put("/v2/acme/app/manifests/1", content=body, headers={"Content-Type": make.IMAGE})
        assert put.status_code == 201


@contextmanager
def half_an_upload(server: Served, content: bytes) -> Iterator[socket.socket]:
    """A connection on which a blob is being pushed: the second half of its bytes is still to come."""
    head = (
        f"POST /v2/acme/app/blobs/uploads/?digest={make.digest(content)} HTTP/1.1\r\nHost: here\r\n"
        f"Content-Length: {len(content)}\r\nExpect: 100-continue\r\n\r\n"
    )
    with socket.create_connection(("127.0.0.1", server.port), 60) as one:
        one.sendall(head.encode())
        assert one.recv(1024).startswith(b"HTTP/1.1 100 "), "the handler waits for the body"
        one.sendall(content[: len(content) // 2])
        yield one


def stop_listening(server: Served) -> None:
    """Tell the server to stop, and wait until it is draining."""
    server.process.send_signal(signal.SIGTERM)
    until = time.monotonic() + 60
    while time.monotonic() < until:
        try:
            socket.create_connection(("127.0.0.1", server.port), 60).close()
        except ConnectionRefusedError:
            return
        time.sleep(0.02)
    raise AssertionError("the server still listens")


def test_one_sigterm_lets_a_running_exchange_finish(serve: Callable[..., Served]) -> None:
    server = serve(REGISTRY_HTTP_DRAINTIMEOUT="100s")
    content = b"x" * 200_000
    with half_an_upload(server, content) as one:
        stop_listening(server)
        assert server.process.poll() is None
        one.sendall(content[len(content) // 2 :])
        answer = b"".join(iter(lambda: one.recv(65536), b""))
    assert answer.startswith(b"HTTP/1.1 201 ")
    assert b"connection: close" in answer.lower()
    assert server.process.wait(60) == 0


@pytest.mark.parametrize("second", [signal.SIGTERM, signal.SIGINT])
def test_a_second_signal_stops_the_server_in_the_middle_of_an_exchange(
    serve: Callable[..., Served], second: signal.Signals
) -> None:
    server = serve(REGISTRY_HTTP_DRAINTIMEOUT="100s")
    with half_an_upload(server, b"x" * 200_000) as one:
        stop_listening(server)
        assert server.process.poll() is None
        server.process.send_signal(second)
        assert server.process.wait(60) == 0
        with pytest.raises(ConnectionResetError):
            one.recv(1024)
    assert "Traceback" not in server.log.read_text()
    with httpx.Client(base_url=serve().url) as client:
        assert client.head(f"/v2/acme/app/blobs/{make.digest(b'x' * 200_000)}").status_code == 404


def test_metrics_are_on_the_debug_address_alone(serve: Callable[..., Served]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    server = serve(REGISTRY_HTTP_DEBUG_ADDR=f"127.0.0.1:{port}", REGISTRY_HTTP_DEBUG_PROMETHEUS_ENABLED="true")
    assert httpx.get(f"{server.url}/v2/").status_code == 200
    found = httpx.get(f"http://127.0.0.1:{port}/metrics").text
    assert 'registry_http_requests_total{method="GET",route="/v2/",status="200"}' in found
    assert httpx.get(f"{server.url}/metrics").status_code == 404


def _run(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "moorage", *arguments], capture_output=True, text=True, timeout=30, check=False
    )


def test_whoever_is_told_that_it_listens_may_signal_it(serve: Callable[..., Served], tmp_path: Path) -> None:
    for number in range(12):
        server = serve(tmp_path / f"d{number}")
        server.process.send_signal(signal.SIGHUP)
        assert httpx.get(f"{server.url}/livez").status_code == 200
        server.process.terminate()
        assert server.process.wait(20) == 0


def test_a_job_that_a_killed_server_was_at_goes_on_at_once(serve: Callable[..., Served], tmp_path: Path) -> None:
    serve(tmp_path / "d").stop()
    with closing(sqlite3.connect(tmp_path / "d" / "moorage.db")) as rows, rows:
        later = (time.time_ns() // 1000) + 50_000_000
        rows.execute(
            "UPDATE jobs SET due_at = 0, finished_at = NULL, holder = 'dead', leased_until = ? WHERE name = 'gc'",
            (later,),
        )
    serve(tmp_path / "d")
    until = time.monotonic() + 30
    with closing(sqlite3.connect(tmp_path / "d" / "moorage.db")) as rows:
        while rows.execute("SELECT finished_at FROM jobs WHERE name = 'gc'").fetchone() == (None,):
            assert time.monotonic() < until, "it waits for the dead"
            time.sleep(0.1)
