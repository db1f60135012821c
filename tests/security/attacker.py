"""What an attacker has: sockets, patience, and a look at what the server pays.

Costs are compared with those of an honest request in the same run, never with a clock.
"""

import multiprocessing
import re
import socket
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from statistics import median

import httpx

from tests import make
from tests.conftest import Served

MIB = 1024 * 1024
TICKS = 100
"""Of CPU time in a second, as /proc counts them."""


def connect(server: Served, *, window: int | None = None) -> socket.socket:
    """A connection; with `window`, one whose client has no room for more than about so many bytes."""
    one = socket.socket()
    if window is not None:
        one.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, window)
    one.settimeout(30)
    one.connect(("127.0.0.1", server.port))
    return one


def read_all(one: socket.socket) -> bytes:
    """Everything until the server closes."""
    found = bytearray()
    with suppress(ConnectionResetError):
        while piece := one.recv(65536):
            found += piece
    return bytes(found)


def talk(server: Served, *pieces: bytes) -> bytes:
    """Send bytes as they are, close our side, and give everything that comes back."""
    with connect(server) as one:
        with suppress(ConnectionError):
            for piece in pieces:
                one.sendall(piece)
        return read_all(one)


def request(method: str, target: str | bytes, *fields: str, body: bytes = b"", close: bool = True) -> bytes:
    """A request, letter for letter."""
    raw = target if isinstance(target, bytes) else target.encode()
    lines = ["Host: here", *fields, *(["Connection: close"] if close else [])]
    if body:
        lines.append(f"Content-Length: {len(body)}")
    return method.encode() + b" " + raw + b" HTTP/1.1\r\n" + "\r\n".join([*lines, "", ""]).encode("latin-1") + body


@dataclass(frozen=True)
class Answer:
    status: int
    headers: dict[str, str]
    body: bytes


def ask(server: Served, method: str, target: str | bytes, *fields: str, body: bytes = b"") -> Answer:
    """The answer to one request on a connection of its own."""
    head, _, rest = talk(server, request(method, target, *fields, body=body)).partition(b"\r\n\r\n")
    first, *lines = head.decode("latin-1").split("\r\n")
    headers = {name.lower(): value for name, _, value in (line.partition(": ") for line in lines)}
    return Answer(int(first.split()[1]), headers, rest)


def statuses(raw: bytes) -> list[int]:
    """The status of each answer in what came back."""
    return [int(found) for found in re.findall(rb"HTTP/1\.1 (\d{3})", raw)]


def memory(server: Served, *, peak: bool = False) -> int:
    """What the server's process has in memory, in bytes: now, or at most since `forget_peak`."""
    name = "VmHWM" if peak else "VmRSS"
    status = Path(f"/proc/{server.process.pid}/status").read_text()
    return int(status.partition(f"{name}:")[2].split()[0]) * 1024


def forget_peak(server: Served) -> None:
    Path(f"/proc/{server.process.pid}/clear_refs").write_text("5")


def growth(server: Served, attack: Callable[[], object]) -> int:
    """By how many bytes the server grew at the height of an attack."""
    forget_peak(server)
    before = memory(server)
    attack()
    return memory(server, peak=True) - before


def cpu(server: Served, work: Callable[[], object]) -> float:
    """Seconds of processor time that the server spent meanwhile."""

    def spent() -> float:
        fields = Path(f"/proc/{server.process.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / TICKS

    before = spent()
    work()
    return spent() - before


def crowd(server: Served, requests: Sequence[bytes]) -> list[int]:
    """Send each request on a connection of its own, all at once, from another process; gives the statuses."""
    with multiprocessing.get_context("fork").Pool(1) as pool:
        return pool.apply(_crowd, (server.port, list(requests)))


def _crowd(port: int, requests: list[bytes]) -> list[int]:
    found: list[int] = []

    def one(raw: bytes) -> None:
        with socket.create_connection(("127.0.0.1", port), 100) as to:
            with suppress(ConnectionError):
                to.sendall(raw)
            found.extend(statuses(read_all(to)[:100]))

    threads = [threading.Thread(target=one, args=(raw,)) for raw in requests]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return found


def pulls(server: Served, times: int = 40) -> float:
    """How long an honest client waits for a small manifest: the median of so many pulls, in seconds."""
    took = []
    with httpx.Client(base_url=server.url, timeout=100) as client:
        body = make.push_image(client, "honest/app", "1", b"{}")
        for _ in range(times):
            began = time.perf_counter()
            assert client.get("/v2/honest/app/manifests/1").content == body
            took.append(time.perf_counter() - began)
    return median(took)


@contextmanager
def many(server: Served, count: int, raw: bytes = b"", *, window: int | None = None) -> Iterator[list[socket.socket]]:
    """Connections that each begin with the same bytes, and are closed in the end."""
    with ExitStack() as stack:
        made = []
        for _ in range(count):
            made.append(stack.enter_context(connect(server, window=window)))
            if raw:
                made[-1].sendall(raw)
        yield made


def stuff(connections: Sequence[socket.socket], raw: bytes, rounds: int = 20) -> None:
    """Send the same bytes on all connections, as far as each takes them in so many rounds."""
    left = dict.fromkeys(connections, memoryview(raw))
    for one in connections:
        one.setblocking(False)
    for _ in range(rounds):
        for one, rest in left.items():
            with suppress(BlockingIOError, ConnectionError):
                left[one] = rest[one.send(rest) :] if rest else rest
        time.sleep(0.1)
