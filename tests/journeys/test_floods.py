"""What a person at a terminal reads who has asked or guessed too often, and who waits as told."""

import shlex
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.closed import ADMIN, Closed
from tests.conftest import Served, start, tool
from tests.journeys.programs import docker, push_image, refused, run


@pytest.fixture
def metered(tmp_path: Path) -> Iterator[Callable[[str], Served]]:
    """A registry with an image of three blobs and, once that is there, a rate."""
    servers: list[Served] = []

    def begin(rate: str) -> Served:
        before = start(tmp_path / "data")
        push_image(before, "acme/app", "1")
        before.stop()
        servers.append(start(tmp_path / "data", REGISTRY_LIMITS_RATES_ANONYMOUS=rate))
        return servers[0]

    yield begin
    for server in servers:
        server.stop()


@pytest.mark.client("skopeo")
def test_skopeo_waits_as_long_as_it_is_told_and_ends_its_copy(metered: Callable[[str], Served], tmp_path: Path) -> None:
    tool("skopeo")
    server = metered("3 per 4 seconds")
    source = f"docker://{server.address}/acme/app:1"
    run("skopeo", "copy", "--src-tls-verify=false", source, f"dir:{tmp_path}/copy")
    assert server.log.read_text().count('"status":429') > 0


@pytest.mark.client("docker")
def test_docker_says_who_has_asked_too_often_and_when_to_come_back(metered: Callable[[str], Served]) -> None:
    docker()
    # Once it knows the layers, it asks twice: with HEAD, then for the manifest.
    said = refused(f"docker pull {metered('1/hour').address}/acme/app:1")
    assert "(nobody is signed in) has sent more requests than 1/hour; sign in, or try again in" in said


@pytest.mark.client("docker")
def test_docker_says_at_login_that_there_were_too_many_wrong_passwords(tmp_path: Path) -> None:
    docker()
    closed = Closed(tmp_path)
    try:
        for number in range(10):
            assert closed.client.get("/v2/", auth=("admin", f"wrong {number}")).status_code == 401
        login = f"docker --config {tmp_path}/docker login -u {ADMIN[0]} -p '{ADMIN[1]}' 127.0.0.1:{closed.served.port}"
        assert "there were too many wrong passwords for this account from your network; try again in" in refused(login)
    finally:
        closed.stop()


@pytest.mark.client("ctr")
def test_containerd_gives_up_after_a_few_tries(metered: Callable[[str], Served], ctr: list[str]) -> None:
    server = metered("2/hour")
    said = refused(shlex.join([*ctr, "images", "pull", "--plain-http", f"{server.address}/acme/app:1"]))
    assert "429 Too Many Requests" in said
    assert 1 < server.log.read_text().count('"status":429') < 40
