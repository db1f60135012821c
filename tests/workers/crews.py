"""A server of several processes, and which of them is asked."""

import contextlib
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpcore
import httpx

from tests.conftest import Served

PATIENCE = 60.0
"""Seconds after which what was waited for does not come."""


def wait_for(what: Callable[[], Any]) -> Any:
    """What `what` gives as soon as that is something."""
    end = time.monotonic() + PATIENCE
    while not (found := what()):
        assert time.monotonic() < end, "it never came"
        time.sleep(0.02)
    return found


@dataclass
class Crewed:
    """A server and its workers."""

    served: Served

    def workers(self) -> list[int]:
        """The process ids of those that live, in the order of their starts."""
        pid = self.served.process.pid
        with contextlib.suppress(FileNotFoundError, ProcessLookupError):
            return [int(one) for one in Path(f"/proc/{pid}/task/{pid}/children").read_text().split() if lives(int(one))]
        return []

    @contextmanager
    def lines(self, scheme: str = "http", **options: Any) -> Iterator[dict[int, httpx.Client]]:
        """For each worker a client with one connection, which that worker has accepted."""
        with ExitStack() as stack:
            found: dict[int, httpx.Client] = {}
            spare = 0
            while set(found) < set(self.workers()):
                client = stack.enter_context(self.client(scheme, **options))
                client.get("/livez").raise_for_status()
                found.setdefault(self.who_serves(client), client)
                spare += 1
                assert spare < 200, "a worker accepts nothing"
            yield found

    def client(self, scheme: str = "http", **options: Any) -> httpx.Client:
        limits = httpx.Limits(max_connections=1, max_keepalive_connections=1, keepalive_expiry=None)
        host = "127.0.0.1" if scheme == "http" else "localhost"
        transport = httpx.HTTPTransport(limits=limits, verify=options.pop("verify", False))
        base = f"{scheme}://{host}:{self.served.port}"
        return httpx.Client(base_url=base, transport=transport, timeout=PATIENCE, **options)

    def who_serves(self, client: httpx.Client) -> int:
        """The worker at the other end of a client's one connection."""
        return self.who_holds(port_of(client))

    def who_holds(self, port: int) -> int:
        """The worker at the other end of the connection that comes from this port."""
        for _ in range(100):
            for pid in self.workers():
                if socket_of(port, self.served.port) in sockets(pid):
                    return pid
            time.sleep(0.02)
        raise AssertionError("nobody has accepted this connection")


def lives(pid: int) -> bool:
    """Whether the process is there and no zombie."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except (FileNotFoundError, ProcessLookupError):
        return False


def port_of(client: httpx.Client) -> int:
    transport = client._transport
    assert isinstance(transport, httpx.HTTPTransport)
    (connection,) = transport._pool.connections
    assert isinstance(connection, httpcore.HTTPConnection)
    assert isinstance(connection._connection, httpcore.HTTP11Connection)
    return int(connection._connection._network_stream.get_extra_info("client_addr")[1])


def socket_of(theirs: int, ours: int) -> str:
    """What the kernel calls the server's end of a connection."""
    for table in ("/proc/net/tcp", "/proc/net/tcp6"):
        for line in Path(table).read_text().splitlines()[1:]:
            _, local, remote, *_, inode = line.split()[:10]
            if int(local.rpartition(":")[2], 16) == ours and int(remote.rpartition(":")[2], 16) == theirs:
                return f"socket:[{inode}]"
    return ""


def sockets(pid: int) -> set[str]:
    found = set()
    with contextlib.suppress(FileNotFoundError, ProcessLookupError):
        for fd in Path(f"/proc/{pid}/fd").iterdir():
            with contextlib.suppress(OSError):
                found.add(str(fd.readlink()))
    return found
