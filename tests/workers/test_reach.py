"""What is decided once reaches every worker: rights, certificates, settings, readiness; and metrics come from all."""

import os
import re
import signal
import socket
import sqlite3
import ssl
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import httpx
import pytest

from tests import make
from tests.closed import Closed, Login
from tests.conftest import start
from tests.databases import Server
from tests.integrity.test_watch import PAGE
from tests.test_tls import certify, tls
from tests.workers.conftest import Start
from tests.workers.crews import Crewed, wait_for

WITHIN = 5.0


@pytest.fixture(scope="module", params=["sqlite", "postgresql"])
def closed(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Closed]:
    environment = {"REGISTRY_HTTP_WORKERS": "2"}
    if request.param == "postgresql":
        cluster: Server = request.getfixturevalue("postgresql_server")
        environment["REGISTRY_DATABASE_URL"] = cluster.create(schema=False)
    one = Closed(tmp_path_factory.mktemp("closed"), **environment)
    yield one
    one.stop()


def soon(lines: dict[int, httpx.Client], path: str, bearer: dict[str, str], status: int) -> None:
    """Every worker gives this answer within five seconds."""
    end = time.monotonic() + WITHIN
    while set(found := [line.get(path, headers=bearer).status_code for line in lines.values()]) != {status}:
        assert time.monotonic() < end, found
        time.sleep(0.1)


def pushed(closed: Closed, user: Login, name: str) -> None:
    headers = {"Authorization": f"Bearer {closed.bearer(user, f'repository:{name}:pull,push')}"}
    client = httpx.Client(base_url=closed.served.url, headers=headers)
    with client:
        make.push_image(client, name, "1", b"{}")


def test_a_rule_that_is_taken_away_bites_in_every_worker(closed: Closed) -> None:
    owner, reader = closed.user(), closed.user()
    name = f"{owner[0]}/app"
    pushed(closed, owner, name)
    body = {"subject": reader[0], "pattern": name, "actions": "pull"}
    rule = closed.done(owner, "POST", "/grants", body)
    assert isinstance(rule, dict)
    bearer = {"Authorization": f"Bearer {closed.bearer(reader, f'repository:{name}:pull')}"}
    place = f"/v2/{name}/manifests/1"
    with Crewed(closed.served).lines() as lines:
        soon(lines, place, bearer, 200)
        closed.done(owner, "DELETE", f"/grants/{rule['id']}")
        soon(lines, place, bearer, 404)


def test_a_token_of_one_worker_is_good_in_all_and_void_in_all_when_revoked(closed: Closed) -> None:
    user = closed.user()
    with Crewed(closed.served).lines() as lines:
        for line in lines.values():
            answer = line.get("/token", params={"service": "moorage", "scope": "registry:catalog:*"}, auth=user)
            bearer = {"Authorization": f"Bearer {answer.raise_for_status().json()['token']}"}
            soon(lines, "/v2/", bearer, 200)
        made = closed.done(user, "POST", f"/users/{user[0]}/tokens", {"name": "one"})
        assert isinstance(made, dict)
        answer = closed.client.get("/token", params={"service": "moorage"}, auth=(user[0], made["secret"]))
        bearer = {"Authorization": f"Bearer {answer.raise_for_status().json()['token']}"}
        soon(lines, "/v2/", bearer, 200)
        closed.done(user, "DELETE", f"/users/{user[0]}/tokens/{made['token']['id']}")
        soon(lines, "/v2/", bearer, 401)


def test_the_first_administrator_is_made_once_and_signs_in_everywhere(tmp_path: Path) -> None:
    config = tmp_path / "config.yml"
    config.write_text("version: 0.1\nlog: {formatter: text}\n")
    server = start(tmp_path / "data", config, REGISTRY_HTTP_WORKERS="3")
    try:
        password = (server.data / "initial-admin-password").read_text().strip()
        with Crewed(server).lines() as lines:
            for line in lines.values():
                assert line.get("/token", params={"service": "moorage"}, auth=("admin", password)).status_code == 200
    finally:
        server.process.terminate()
        assert server.process.stdout is not None
        told = server.process.stdout.read()
        server.stop()
    assert f"whose password is in {server.data / 'initial-admin-password'} until it is changed" in told
    assert password not in told


def test_a_new_certificate_is_taken_up_by_every_worker(crewed: Start, tmp_path: Path) -> None:
    certify(tmp_path, "first")
    crew = crewed(**tls(tmp_path))
    certify(tmp_path, "second")
    trust = ssl.create_default_context(cafile=str(tmp_path / "tls.crt"))
    with pytest.raises(httpx.ConnectError), crew.client("https", verify=trust) as client:
        client.get("/v2/")
    crew.served.process.send_signal(signal.SIGHUP)
    wait_for(lambda: crew.served.log.read_text().count("the TLS files were read again") == 2)
    with crew.lines("https", verify=trust) as lines:
        assert all(line.get("/v2/").status_code == 200 for line in lines.values())


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as free:
        return int(free.getsockname()[1])


def test_metrics_are_those_of_all_workers_and_outlive_them(crewed: Start) -> None:
    port = free_port()
    crew = crewed(REGISTRY_HTTP_DEBUG_ADDR=f"127.0.0.1:{port}", REGISTRY_HTTP_DEBUG_PROMETHEUS_ENABLED="true")

    def counted() -> int:
        text = httpx.get(f"http://127.0.0.1:{port}/metrics").text
        found = re.search(r'registry_http_requests_total\{method="GET",route="/v2/",status="200"\} (\d+)', text)
        times = re.search(r'seconds_bucket\{le="\+Inf",method="GET",route="/v2/"\} (\d+)', text)
        assert (found and found[1]) == (times and times[1])
        return int(found[1]) if found else 0

    with crew.lines() as lines:
        for line in lines.values():
            for _ in range(10):
                line.get("/v2/")
        wait_for(lambda: counted() == 20)
    text = httpx.get(f"http://127.0.0.1:{port}/metrics").text
    assert set(re.findall(r'process_resident_memory_bytes\{worker="(\d)"\}', text)) == {"0", "1"}
    for pid in crew.workers():
        before = set(crew.workers())
        os.kill(pid, signal.SIGKILL)
        wait_for(lambda before=before: len(set(crew.workers()) - before) == 1)
        with crew.lines():
            assert counted() == 20


def test_every_worker_knows_that_the_database_is_damaged(crewed: Start) -> None:
    crew = crewed()
    path = crew.served.data / "moorage.db"
    with closing(sqlite3.connect(path, timeout=20)) as rows, crew.lines() as lines:
        ((page,),) = rows.execute("SELECT rootpage FROM sqlite_schema WHERE name = 'tag_history'").fetchall()
        with path.open("r+b") as file:
            file.seek((page - 1) * PAGE)
            file.write(b"\xff" * 64)

        def all_know() -> bool:
            rows.execute("UPDATE jobs SET due_at = 0 WHERE name = 'database-check'")
            rows.commit()
            time.sleep(0.5)
            return all(line.get("/readyz").status_code == 503 for line in lines.values())

        wait_for(all_know)
