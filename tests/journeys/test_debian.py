"""A Debian that debootstrap made: thousands of files, links and owners in layers of tens of megabytes."""

import json
import os
from collections.abc import Callable, Iterator

import pytest

from tests.conftest import Served, tool
from tests.journeys import programs
from tests.journeys.programs import busybox, debian, digest_of, run

# What containers are started with: no network, and limits that need no privilege of the machine.
APART = ["--rm", "--network", "none", "--ulimit", "nofile=1024:1024", "--ulimit", "nproc=4096:4096"]


@pytest.fixture
def container() -> Iterator[str]:
    """The name of a docker container, which is removed in the end."""
    name = f"moorage-test-{os.getpid()}"
    yield name
    run(programs.docker(), "rm", "-f", name)


@pytest.mark.client("docker")
def test_a_debian_goes_from_docker_through_podman_and_back(
    serve: Callable[..., Served], storage: list[str], container: str
) -> None:
    docker, podman, buildah = programs.docker(), [tool("podman"), *storage], [tool("buildah"), *storage]
    server = serve()
    base, listed, grown = (f"{server.address}/acme/{name}:12" for name in ("debian", "listed", "grown"))

    run(docker, "import", debian(), base)
    run(docker, "run", "--name", container, "--network", "none", base, "sh", "-c", "dpkg-query -W >/packages")
    run(docker, "commit", "-c", 'CMD ["cat", "/packages"]', container, listed)
    run(docker, "push", base)
    assert "Mounted from acme/debian" in run(docker, "push", listed)
    run(docker, "rmi", "-f", listed, base)

    run(*podman, "pull", "-q", "--tls-verify=false", listed)
    assert len(json.loads(run(*podman, "inspect", listed))[0]["RootFS"]["Layers"]) == 2
    assert "dpkg\t1." in run(*podman, "run", *APART, listed)

    working = run(*buildah, "from", listed).strip()
    run(*buildah, "copy", working, busybox(), "/usr/local/bin/busybox")
    run(*buildah, "config", "--cmd", '["/usr/local/bin/busybox", "grep", "-c", "", "/packages"]', working)
    run(*buildah, "commit", "-q", working, grown)
    run(*podman, "push", "-q", "--tls-verify=false", grown)

    assert int(run(docker, "run", *APART, grown)) > 50
    pushed = run(docker, "inspect", "-f", "{{index .RepoDigests 0}}", grown).strip().partition("@")[2]
    assert digest_of(server, "acme/grown", "12") == pushed
    run(docker, "rmi", "-f", grown)
