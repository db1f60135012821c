"""Pushers against the collector, on real servers whose leases last a second.

Each worker has a few manifests of its own, so that it knows which of them must be there, and pushes, deletes and
pushes them again, with their blobs: one that is its own, so that nobody else keeps it, and at times one of everybody's.
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
REPOSITORIES = ("acme/app", "acme/web", "b", "z")
"""As many, because the writers of one take turns."""
SHARED = {make.digest(one): one for one in (b"A" * 30_000, b"B" * 30_000, b"c" * 100)}
OWN = [
    {
        make.digest(one): one
        for one in (b"%d %d" % (worker, number) * (1 if number % 5 else 10_000) for number in range(10))
    }
    for worker in range(WORKERS)
]
"""Every fifth of them lives in a file."""
BLOBS = {digest: one for some in (SHARED, *OWN) for digest, one in some.items()}


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
        self._own = OWN[number]

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
        self._push()
        for place in sorted(self.promised):
            act = self._random.random()
            if act < 0.6:
                self._delete(*place)
            elif act < 0.8:
                self._look(place, self.promised[place])
        for again in self._gone[-2:]:
            self._put(*again, {})
        self._delete_blob()

    def _push(self) -> None:
        """Push blobs, wait, and push manifests: each in the very moment when the collector may take its blob."""
        name = self._random.choice(REPOSITORIES)
        offered = []
        for digest in self._random.sample(sorted(self._own), 8):
            others = self._random.sample(sorted(SHARED), self._random.choice([0, 0, 1]))
            offered.append({one: self._offer(name, one) for one in (digest, *others)})
        for promises in offered:
            until = min(until for _, until in promises.values())
            time.sleep(max(0.0, until + self._random.uniform(-0.01, 0.04) - time.monotonic()))
            mark = {"annotations": {"worker": str(self._number)}}
            self._put(name, make.image(*map(BLOBS.__getitem__, promises), **mark), promises)

    def _offer(self, name: str, digest: str) -> tuple[float, float]:
        """Have the repository hold a blob; gives when that was asked, and until when it is promised."""
        client, content = self._client(), BLOBS[digest]
        began = time.monotonic()
        way = self._random.choice(["ask", "whole", "whole", "whole", "upload", "mount"])
        if way == "ask" and client.head(f"/v2/{name}/blobs/{digest}").status_code == 200:
            return began, began + WINDOW / 2
        if way == "mount":
            source = self._random.choice(REPOSITORIES)
            answer = client.post(f"/v2/{name}/blobs/uploads/?mount={digest}&from={source}")
            if answer.status_code == 201:
                return began, began + WINDOW
        if way == "upload":
            place = client.post(f"/v2/{name}/blobs/uploads/").headers["Location"]
            answer = self._client().put(f"{place}?digest={digest}", content=content)
        else:
            answer = client.post(f"/v2/{name}/blobs/uploads/?digest={digest}", content=content)
        self._expect(answer, {201, 503}, f"push {digest}")
        return began, began + WINDOW if answer.status_code == 201 else began

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

    def _delete(self, name: str, digest: str) -> None:
        body = self.promised.pop((name, digest))
        self._expect(self._client().delete(f"/v2/{name}/manifests/{digest}"), {202, 503}, "delete")
        self._gone = [*self._gone[-5:], (name, body)]

    def _delete_blob(self) -> None:
        name, digest = self._random.choice(REPOSITORIES), self._random.choice(sorted({**SHARED, **self._own}))
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


LARGE_AND_SLOW = """
INSERT INTO repositories (name, owner, created_at) VALUES ('crowd', 'crowd', 0);
INSERT INTO blobs (digest, size, created_at, content)
    SELECT 'sha256:' || md5(n::text) || md5(n::text), 1, 0, ' ' FROM generate_series(1, 60000) n;
INSERT INTO links SELECT repositories.id, blobs.id, 0, 0 FROM repositories, blobs;
INSERT INTO manifests (repository_id, digest, media_type, size, pushed_at, content)
    SELECT id, 'sha256:', '', 1, 0, ' ' FROM repositories;
INSERT INTO edges (manifest_id, position, repository_id, digest, role, blob_id)
    SELECT manifests.id, blobs.id, repository_id, blobs.digest, 'layer', blobs.id FROM manifests, blobs;
ANALYZE;
CREATE FUNCTION dawdle() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN PERFORM pg_sleep(0.1); RETURN NULL; END';
CREATE TRIGGER dawdle AFTER INSERT ON manifests EXECUTE FUNCTION dawdle();
"""
"""Many links to look through, and pushes that stand still before they commit: moments last long enough to meet."""


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_no_push_loses_to_the_collector_on_sqlite(serve: Callable[..., Served]) -> None:
    compete([serve(**SETTINGS)])


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_no_push_loses_to_the_collectors_of_two_servers_on_postgresql(
    postgresql_server: Server, serve: Callable[..., Served], tmp_path: Path
) -> None:
    url = postgresql_server.create(schema=True)
    postgresql_server.sql(LARGE_AND_SLOW, url.partition("@/")[2].partition("?")[0])
    servers = [serve(tmp_path / "data", REGISTRY_DATABASE_URL=url, **SETTINGS) for _ in range(2)]
    compete(servers)
    assert "Traceback" not in servers[0].log.read_text()
