"""Pushers against the collector, on real servers whose leases last a second.

Each worker has manifests of its own, so that it knows which of them must be there; the blobs they refer to are the
same few for everybody, in the same repositories, and are pushed, mounted, asked for, deleted and pushed again.
"""

import random
import threading
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import httpx
import pytest

from tests import make
from tests.conftest import Served
from tests.databases import Server

WINDOW = 1.0
SETTINGS = {
    "REGISTRY_GC_WINDOW": "1s",
    "REGISTRY_GC_TRASH": "100ms",
    "REGISTRY_GC_UNDO": "100ms",
    "REGISTRY_GC_INTERVAL": "20ms",
    "REGISTRY_LOG_ACCESSLOG_DISABLED": "true",
}
SECONDS = 20
WORKERS = 8
REPOSITORIES = ("acme/app", "z")
BLOBS = {make.digest(one): one for one in (b"A" * 30_000, b"B" * 30_000, b"c" * 100, b"d" * 100)}


@dataclass
class Ground:
    """What the workers share."""

    servers: list[str]
    until: float
    counts: Counter[str] = field(default_factory=Counter)
    faults: list[str] = field(default_factory=list)
    deleted: dict[tuple[str, str], float] = field(default_factory=dict)
    """When somebody last asked to delete a blob, or was answered."""


class Worker:
    """One client; it remembers what it was promised."""

    def __init__(self, ground: Ground, number: int) -> None:
        self._ground = ground
        self._number = number
        self._random = random.Random(number)
        self._clients = [httpx.Client(base_url=url, timeout=60, verify=False) for url in ground.servers]
        self.promised: dict[tuple[str, str], bytes] = {}
        """Repository and digest of manifests that were acknowledged and not deleted."""
        self._gone: list[tuple[str, bytes]] = []

    def run(self) -> None:
        try:
            while time.monotonic() < self._ground.until and not self._ground.faults:
                self._turn()
        except Exception as error:  # noqa: BLE001 - told by the test
            self._fault(f"{error!r}")
        finally:
            for client in self._clients:
                client.close()

    def _turn(self) -> None:
        act = self._random.random()
        if act < 0.6:
            self._push()
        elif act < 0.8 and self.promised:
            self._delete()
        elif act < 0.85 and self._gone:
            self._put(*self._random.choice(self._gone), {})
        elif act < 0.9:
            self._delete_blob()
        elif self.promised:
            place = self._random.choice(sorted(self.promised))
            self._look(place, self.promised[place])

    def _push(self) -> None:
        name = self._random.choice(REPOSITORIES)
        wanted = self._random.sample(sorted(BLOBS), self._random.choice([1, 2]))
        leased = {}
        for digest in wanted:
            promise = self._offer(name, digest)
            if promise is not None:
                leased[digest] = promise
        # Half of them come in the very moment when the collector may take what they have pushed.
        late = WINDOW + self._random.uniform(-0.1, 0.15)
        time.sleep(self._random.choice([0, self._random.uniform(0, 0.3), late, late]))
        mark = {"annotations": {"worker": f"{self._number} {self._random.randrange(6)}"}}
        body = make.image(*(BLOBS[digest] for digest in wanted), **mark)
        self._put(name, body, leased if len(leased) == len(wanted) else {})

    def _offer(self, name: str, digest: str) -> tuple[float, float] | None:
        """Have the repository hold a blob; gives when that was asked, and when its lease may end."""
        client, content = self._client(), BLOBS[digest]
        began = time.monotonic()
        way = self._random.choice(["ask", "ask", "whole", "upload", "mount"])
        if way == "ask" and client.head(f"/v2/{name}/blobs/{digest}").status_code == 200:
            return began, began + WINDOW / 2
        if way == "mount":
            source = REPOSITORIES[1 - REPOSITORIES.index(name)]
            answer = client.post(f"/v2/{name}/blobs/uploads/?mount={digest}&from={source}")
            if answer.status_code == 201:
                return began, began + WINDOW
        if way == "upload":
            place = client.post(f"/v2/{name}/blobs/uploads/").headers["Location"]
            answer = self._client().put(f"{place}?digest={digest}", content=content)
        else:
            answer = client.post(f"/v2/{name}/blobs/uploads/?digest={digest}", content=content)
        self._expect(answer, {201, 503}, f"push {digest}")
        return (began, began + WINDOW) if answer.status_code == 201 else None

    def _put(self, name: str, body: bytes, leased: dict[str, tuple[float, float]]) -> None:
        digest = make.digest(body)
        answer = self._client().put(
            f"/v2/{name}/manifests/{digest}", content=body, headers={"Content-Type": make.IMAGE}
        )
        now = time.monotonic()
        self._expect(answer, {201, 400, 503}, "put")
        if answer.status_code == 201:
            self.promised[name, digest] = body
        elif answer.status_code == 400:
            error = answer.json()["errors"][0]
            if error["code"] != "MANIFEST_BLOB_UNKNOWN":
                self._fault(answer.text)
            for missing in error["detail"]["missing"]:
                asked, until = leased.get(missing, (now, now))
                if now < until and self._ground.deleted.get((name, missing), 0.0) < asked:
                    self._fault(f"{missing} was leased for another {until - now} s: {answer.text}")

    def _delete(self) -> None:
        name, digest = self._random.choice(sorted(self.promised))
        body = self.promised.pop((name, digest))
        self._expect(self._client().delete(f"/v2/{name}/manifests/{digest}"), {202, 503}, "delete")
        self._gone = [*self._gone[-3:], (name, body)]

    def _delete_blob(self) -> None:
        name, digest = self._random.choice(REPOSITORIES), self._random.choice(sorted(BLOBS))
        self._ground.deleted[name, digest] = float("inf")
        answer = self._client().delete(f"/v2/{name}/blobs/{digest}")
        self._ground.deleted[name, digest] = time.monotonic()
        self._expect(answer, {202, 404, 405, 503}, "delete blob")

    def _look(self, place: tuple[str, str], body: bytes) -> None:
        fault = unreadable(self._client(), *place, body)
        if fault:
            self._fault(fault)

    def _client(self) -> httpx.Client:
        return self._random.choice(self._clients)

    def _expect(self, answer: httpx.Response, statuses: set[int], what: str) -> None:
        self._ground.counts[f"{what.split(maxsplit=1)[0]} {answer.status_code}"] += 1
        if answer.status_code not in statuses:
            self._fault(f"{what}: {answer.status_code} {answer.text}")

    def _fault(self, what: str) -> None:
        self._ground.faults.append(f"worker {self._number}: {what}")


def unreadable(client: httpx.Client, name: str, digest: str, body: bytes) -> str:
    """What is wrong with a manifest that was promised, or with one of its blobs."""
    got = client.get(f"/v2/{name}/manifests/{digest}")
    if (got.status_code, got.content) != (200, body):
        return f"{name} has lost {digest}: {got.status_code}"
    manifest = got.json()
    for one in (manifest["config"], *manifest["layers"]):
        blob = client.get(f"/v2/{name}/blobs/{one['digest']}")
        if (blob.status_code, blob.content) != (200, BLOBS[one["digest"]]):
            return f"{name} has lost {one['digest']} of {digest}: {blob.status_code}"
    return ""


def compete(servers: list[Served]) -> None:
    """Let the workers loose; then everything promised is there, and nothing else is left."""
    ground = Ground([server.url for server in servers], time.monotonic() + SECONDS)
    workers = [Worker(ground, number) for number in range(WORKERS)]
    threads = [threading.Thread(target=worker.run) for worker in workers]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(SECONDS + 100)
        assert not thread.is_alive()
    assert not ground.faults, (ground.faults[:5], ground.counts)
    assert ground.counts["put 201"] > 20, ground.counts
    promised = {place: body for worker in workers for place, body in worker.promised.items()}
    stop = time.monotonic() + 60
    while len(files(servers[0].data)) > len(large(promised)) and time.monotonic() < stop:
        time.sleep(0.1)
    with httpx.Client(base_url=servers[-1].url, timeout=60, verify=False) as client:
        lost = [unreadable(client, *place, body) for place, body in promised.items()]
    assert not any(lost), ([one for one in lost if one], ground.counts)
    assert len(files(servers[0].data)) == len(large(promised))


def files(data: Path) -> list[Path]:
    return [one for one in (data / "blobs" / "u").rglob("*") if one.is_file()]


def large(promised: dict[tuple[str, str], bytes]) -> set[str]:
    """Digests of the blobs in files that the promised manifests refer to."""
    return {
        digest
        for digest, one in BLOBS.items()
        if len(one) > 16_384 and any(digest.encode() in body for body in promised.values())
    }


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_no_push_loses_to_the_collector_on_sqlite(serve: Callable[..., Served]) -> None:
    compete([serve(**SETTINGS)])


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_no_push_loses_to_the_collectors_of_two_servers_on_postgresql(
    postgresql_server: Server, serve: Callable[..., Served], tmp_path: Path
) -> None:
    url = postgresql_server.create(schema=False)
    servers = [serve(tmp_path / "data", REGISTRY_DATABASE_URL=url, **SETTINGS) for _ in range(2)]
    compete(servers)
    assert "Traceback" not in servers[0].log.read_text()
