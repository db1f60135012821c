"""Beside a server under pushes, deletes and the collector, a check reports nothing that is not so."""

import json
import random
import threading
import time
from collections.abc import Callable
from pathlib import Path

import httpx
import pytest

from tests import make
from tests.cli.running import moorage
from tests.conftest import ROOT, Served

HURRIED = {
    "REGISTRY_GC_WINDOW": "1s",
    "REGISTRY_GC_TRASH": "100ms",
    "REGISTRY_GC_UNDO": "100ms",
    "REGISTRY_GC_INTERVAL": "50ms",
    "REGISTRY_GC_ORPHANS": "300ms",
    "REGISTRY_SCRUB_INTERVAL": "100ms",
    "REGISTRY_SCRUB_PERIOD": "1ms",
}


class Traffic(threading.Thread):
    """Pushes and deletes images until it is told to stop."""

    def __init__(self, server: Served, name: str) -> None:
        super().__init__(name=name)
        self.server, self.enough, self.rounds = server, threading.Event(), 0
        self.failure: BaseException | None = None

    def run(self) -> None:
        try:
            with httpx.Client(base_url=self.server.url) as client:
                while not self.enough.is_set():
                    self.turn(client)
                    self.rounds += 1
        except BaseException as error:
            self.failure = error
            raise

    def turn(self, client: httpx.Client) -> None:
        chance = random.Random(f"{self.name}/{self.rounds // 2}")  # each content comes twice
        layers = [chance.randbytes(chance.randrange(100_000)) for _ in range(3)]
        tag = f"{self.name}-{self.rounds % 3}"
        body = make.push_image(client, "acme/app", tag, chance.randbytes(90), *layers)
        if self.rounds % 2:
            assert client.delete(f"/v2/acme/app/manifests/{make.digest(body)}").status_code == 202


@pytest.mark.timeout(180)
@pytest.mark.parametrize("dialect", ["sqlite", "postgresql"])
def test_a_check_beside_a_busy_server_reports_nothing(
    serve: Callable[..., Served], request: pytest.FixtureRequest, dialect: str
) -> None:
    environment = dict(HURRIED)
    if dialect == "postgresql":
        environment["REGISTRY_DATABASE_URL"] = request.getfixturevalue("postgresql_url")
    server = serve(**environment)
    traffic = [Traffic(server, name) for name in ("a", "b")]
    for one in traffic:
        one.start()
    try:
        for repair in ([], ["--repair"], [], ["--repair"]):
            done = moorage(
                "fsck", "--config", ROOT / "tests" / "lab.yml", "--data", server.data, "--json", *repair, **environment
            )
            assert done.stdout, done.stderr
            assert json.loads(done.stdout)["findings"] == []
            assert done.returncode == 0
    finally:
        for one in traffic:
            one.enough.set()
            one.join()
    assert [one.failure for one in traffic] == [None, None]
    assert sum(one.rounds for one in traffic) > 10
    assert '"level":"error"' not in server.log.read_text()


def test_the_scrub_of_a_server_finds_rot_and_stops_serving_it(serve: Callable[..., Served]) -> None:
    server = serve(REGISTRY_SCRUB_PERIOD="1ms", REGISTRY_SCRUB_INTERVAL="100ms")
    layer = b"layer" * 10_000
    with httpx.Client(base_url=server.url) as client:
        make.push_image(client, "acme/app", "1", b"{}", layer)
        place = f"/v2/acme/app/blobs/{make.digest(layer)}"
        (path,) = files(server.data)
        path.write_bytes(b"L" + layer[1:])
        stop = time.monotonic() + 60
        while client.head(place).status_code == 200 and time.monotonic() < stop:
            time.sleep(0.1)
        make.refused(client.get(place), 404, "BLOB_UNKNOWN")
        assert client.get(place, headers={"Range": "bytes=7-9"}).status_code == 404
        make.push_image(client, "acme/app", "1", b"{}", layer)
        assert client.get(place).content == layer
        assert path.read_bytes()[:1] == b"L"


def files(data: Path) -> list[Path]:
    return [one for one in (data / "blobs" / "u").rglob("*") if one.is_file()]
