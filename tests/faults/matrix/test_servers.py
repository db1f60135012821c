"""F10: PostgreSQL that is killed, stopped, cut off, or has no connection to spare."""

import os
import signal
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest

from tests import make
from tests.conftest import Served
from tests.databases import Server, cluster
from tests.faults.matrix.means import fill, healthy, layer, told, until
from tests.faults.matrix.proxy import Proxy

Start = Callable[..., Served]
Connect = Callable[[Served], httpx.Client]

LONGEST = 12
"""Seconds: a request takes its patience and the connection's, two and two; more on a busy machine, less than a hang."""
BACK = 15
"""Seconds until everything works again; five are promised, on a machine that does nothing else."""


class Load:
    """Clients that push without pause, and again what was refused; they remember what was acknowledged."""

    def __init__(self, server: Served, clients: int = 4) -> None:
        self.acknowledged: dict[str, bytes] = {}
        self.refusals: list[httpx.Response] = []
        self.faults: list[str] = []
        self.slowest = 0.0
        self._server = server
        self._stop = threading.Event()
        self._threads = [threading.Thread(target=self._push, args=(number,)) for number in range(clients)]

    def _push(self, client_number: int) -> None:
        with httpx.Client(base_url=self._server.url, timeout=90, verify=False) as client:
            turn = 0
            while not self._stop.is_set():
                try:
                    if self._one(client, f"c{client_number}-{turn}"):
                        turn += 1
                except httpx.HTTPError as error:
                    self.faults.append(repr(error))

    def _one(self, client: httpx.Client, tag: str) -> bool:
        body = make.image(b"{}", layer(1), annotations={"tag": tag})
        for send in (
            lambda: make.push_blob(client, "acme/app", b"{}"),
            lambda: make.push_blob(client, "acme/app", layer(1)),
            lambda: client.put(f"/v2/acme/app/manifests/{tag}", content=body, headers={"Content-Type": make.IMAGE}),
        ):
            began = time.monotonic()
            answer = send()
            self.slowest = max(self.slowest, time.monotonic() - began)
            if answer.status_code != 201:
                self.refusals.append(answer)
                self._stop.wait(0.05)
                return False
        self.acknowledged[tag] = body
        return True

    @contextmanager
    def running(self) -> Iterator["Load"]:
        for thread in self._threads:
            thread.start()
        try:
            yield self
        finally:
            self._stop.set()
            for thread in self._threads:
                thread.join(100)

    def judge(self, client: httpx.Client) -> None:
        """Nothing was refused but with 503, nobody hung, and nothing acknowledged is lost."""
        assert not self.faults
        for one in self.refusals:
            told(one, 503, "UNAVAILABLE")
            assert int(one.headers["Retry-After"]) > 0
        assert self.slowest < LONGEST
        assert self.acknowledged
        for tag, body in self.acknowledged.items():
            assert client.get(f"/v2/acme/app/manifests/{tag}").content == body


def progress(load: Load, seconds: float = 30) -> None:
    """Wait until something more is acknowledged."""
    before = len(load.acknowledged)
    until(lambda: len(load.acknowledged) > before, seconds)


@pytest.mark.parametrize("how", ["killed", "stopped"])
def test_f10_a_postgresql_that_dies_is_told_in_time_and_found_again(
    own_server: Server, registry: Start, connect: Connect, how: str
) -> None:
    server = registry(REGISTRY_DATABASE_URL=own_server.create(schema=False))
    client = connect(server)
    load = Load(server)
    with load.running():
        progress(load)
        if how == "killed":
            pid = int((own_server.folder / "data" / "postmaster.pid").read_text().split()[0])
            os.kill(pid, signal.SIGKILL)
        else:
            own_server.stop()
        until(lambda: load.refusals)
        assert client.get("/readyz").status_code == 503
        assert client.get("/livez").status_code == 200
        told(client.get("/v2/acme/app/tags/list"), 503, "UNAVAILABLE")
        place = "/v2/acme/app/blobs/uploads/"
        told(client.post(place), 503, "UNAVAILABLE")
        until(lambda: start_again(own_server))
        progress(load, BACK)
        until(lambda: client.get("/readyz").status_code == 200, BACK)
    load.judge(client)
    healthy(client, "acme/app", 1)
    assert "Traceback" not in server.log.read_text()


def start_again(cluster: Server) -> bool:
    """The processes of a killed server may take a moment to go."""
    try:
        cluster.start()
    except AssertionError:
        return False
    return True


def test_f10_terminated_backends_cost_retries_at_most(own_server: Server, registry: Start, connect: Connect) -> None:
    url = own_server.create(schema=False)
    name = url.partition("@/")[2].partition("?")[0]
    server = registry(REGISTRY_DATABASE_URL=url)
    load = Load(server)
    kill = f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '{name}' ORDER BY random() LIMIT 2"
    with load.running():
        progress(load)
        for _ in range(60):
            own_server.sql(kill)
            time.sleep(0.1)
        progress(load, BACK)
    client = connect(server)
    load.judge(client)
    healthy(client, "acme/app", 1)
    assert "Traceback" not in server.log.read_text()


@pytest.fixture
def proxy(own_server: Server) -> Iterator[Proxy]:
    one = Proxy(own_server.folder / ".s.PGSQL.5432")
    yield one
    one.close()


def test_f10_a_black_hole_before_postgresql_hangs_nobody(
    own_server: Server, proxy: Proxy, registry: Start, connect: Connect
) -> None:
    name = own_server.create(schema=False).partition("@/")[2].partition("?")[0]
    server = registry(REGISTRY_DATABASE_URL=f"postgresql://postgres@127.0.0.1:{proxy.port}/{name}")
    client = connect(server)
    load = Load(server)
    with load.running():
        progress(load)
        proxy.passing = False
        until(lambda: len(load.refusals) > 8, 60)
        began = time.monotonic()
        assert client.get("/readyz").status_code == 503
        told(client.get("/v2/acme/app/manifests/none"), 503, "UNAVAILABLE")
        assert time.monotonic() - began < LONGEST
        proxy.passing = True
        progress(load, BACK)
        until(lambda: client.get("/readyz").status_code == 200, BACK)
    load.judge(client)
    healthy(client, "acme/app", 1)
    assert "Traceback" not in server.log.read_text()


@pytest.fixture
def small_cluster(disk: Callable[..., Path], monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[Server, Path]]:
    """A PostgreSQL whose files lie on a disk of 160 MiB, and that disk."""
    # Not below pytest's own folder: that is closed to PostgreSQL's user, and too long for a socket's name.
    place = disk("pg", 160, at=Path(tempfile.mkdtemp(prefix="moorage-disk-")))
    place.chmod(0o755)
    monkeypatch.setattr(tempfile, "tempdir", str(place))
    with cluster() as server:
        monkeypatch.undo()
        yield server, place


def test_f05_a_full_disk_of_postgresql_refuses_pushes_and_recovers(
    small_cluster: tuple[Server, Path], registry: Start, connect: Connect
) -> None:
    server_of_rows, place = small_cluster
    server = registry(REGISTRY_DATABASE_URL=server_of_rows.create(schema=False))
    client = connect(server)
    body = make.push_image(client, "acme/app", "first", b"{}", layer(1))
    filler = fill(place)
    headers = {"Content-Type": make.IMAGE}
    refusals = []
    for number in range(40):
        large = make.image(b"{}", layer(1), annotations={"number": f"{number:07}" * 100_000})
        answer = client.put(f"/v2/acme/app/manifests/t{number}", content=large, headers=headers)
        if answer.status_code != 201:
            refusals.append(answer)
    assert refusals
    for answer in refusals:
        assert make.code(answer) in {"STORAGE_FULL", "UNAVAILABLE"}, answer.text
        assert answer.status_code in (507, 503)
    filler.unlink()

    def pulled() -> bool:
        return client.get("/v2/acme/app/manifests/first").content == body

    until(pulled, BACK)
    until(lambda: client.get("/readyz").status_code == 200, BACK)
    healthy(client, "acme/app", 1)
    assert "Traceback" not in server.log.read_text()


def test_f10_too_few_connections_shed_load(own_server: Server, registry: Start, connect: Connect) -> None:
    own_server.sql("CREATE ROLE moorage LOGIN")
    url = own_server.create(schema=False)
    name = url.partition("@/")[2].partition("?")[0]
    own_server.sql(f"ALTER DATABASE {name} OWNER TO moorage")
    own_server.sql(f"ALTER DATABASE {name} CONNECTION LIMIT 3")
    server = registry(REGISTRY_DATABASE_URL=url.replace("postgres@", "moorage@"))
    load = Load(server, 12)
    with load.running():
        for _ in range(5):
            progress(load)
    client = connect(server)
    load.judge(client)
    own_server.sql(f"ALTER DATABASE {name} CONNECTION LIMIT -1")
    healthy(client, "acme/app", 1)
    assert "Traceback" not in server.log.read_text()


def test_f10_an_upload_goes_on_behind_an_outage(own_server: Server, registry: Start, connect: Connect) -> None:
    server = registry(REGISTRY_DATABASE_URL=own_server.create(schema=False))
    client = connect(server)
    first, second = layer(1, 3_000_000), layer(2, 3_000_000)
    place = client.post("/v2/acme/app/blobs/uploads/").headers["Location"]
    assert client.patch(place, content=first).status_code == 202
    time.sleep(1)  # rows of uploads are written, but not waited for
    stopped = threading.Event()

    def body() -> Iterator[bytes]:
        yield second[:1_000_000]
        own_server.stop()
        stopped.set()
        yield second[1_000_000:]

    refused = client.patch(place, content=body())
    assert stopped.is_set()
    told(refused, 503, "UNAVAILABLE")
    own_server.start()
    until(lambda: client.get("/readyz").status_code == 200, BACK)
    stands_at = int(client.get(place).headers["Range"].partition("-")[2]) + 1
    whole = first + second
    assert stands_at in (len(first), len(whole))
    rest = whole[stands_at:]
    done = client.put(f"{place}?digest={make.digest(whole)}", content=rest)
    assert done.status_code == 201, done.text
    assert client.get(f"/v2/acme/app/blobs/{make.digest(whole)}").content == whole
