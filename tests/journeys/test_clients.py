"""Whole stories with real clients against a real server."""

import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.conftest import Served, tool
from tests.journeys import programs
from tests.journeys.programs import busybox, digest_of, layer, push_index, run


@pytest.mark.client("conformance")
@pytest.mark.timeout(600)
def test_the_conformance_suite_passes_whole(serve: Callable[..., Served], tmp_path: Path) -> None:
    suite = tool("conformance")
    server = serve(REGISTRY_VALIDATION_SPARSE="true")
    run(
        suite, OCI_REGISTRY=server.address, OCI_TLS="disabled", OCI_VERSION="dev", OCI_DATA_SPARSE="true",
        OCI_RESULTS_DIR=str(tmp_path),
    )  # fmt: skip
    report = (tmp_path / "report.html").read_text(errors="replace")  # it may quote bytes of a blob
    totals = {word: int(number) for number, word in re.findall(r"(\d+) (passed|failed|skipped)", report)}
    assert totals.get("failed", 0) == 0
    assert totals.get("skipped", 0) == 0
    assert totals["passed"] >= 1000


@pytest.mark.client("docker")
def test_docker_pushes_pulls_and_runs(serve: Callable[..., Served], tmp_path: Path) -> None:
    docker = programs.docker()
    server = serve()
    shutil.copy(busybox(), tmp_path / "busybox")
    (tmp_path / "Dockerfile").write_text('FROM scratch\nCOPY busybox /bin/echo\nCMD ["/bin/echo", "hello"]\n')
    name = f"{server.address}/acme/app:1"
    run(docker, "build", "-q", "-t", name, tmp_path, DOCKER_BUILDKIT="0")
    run(docker, "push", name)
    run(docker, "rmi", "-f", name)
    assert run(docker, "run", "--rm", name).strip() == "hello"
    run(docker, "tag", name, f"{server.address}/acme/app:2")
    assert "already exists" in run(docker, "push", f"{server.address}/acme/app:2")
    run(docker, "rmi", "-f", name, f"{server.address}/acme/app:2")


@pytest.mark.client("docker")
def test_docker_pulls_the_platform_it_asks_for_from_an_index(serve: Callable[..., Served]) -> None:
    docker = programs.docker()
    server = serve()
    push_index(server, "acme/both", "1")
    name = f"{server.address}/acme/both:1"
    for architecture in ("arm64", "amd64"):
        run(docker, "pull", "-q", "--platform", f"linux/{architecture}", name)
        assert run(docker, "inspect", "-f", "{{.Architecture}}", name).strip() == architecture
        run(docker, "rmi", "-f", name)  # or it would stay behind without a tag
    assert run(docker, "run", "--rm", name).strip() == "hello"
    run(docker, "rmi", "-f", name)


@pytest.mark.client("docker")
def test_docker_pushes_an_index_of_two_platforms(serve: Callable[..., Served], tmp_path: Path) -> None:
    docker = programs.docker()
    server = serve()
    name = f"{server.address}/acme/both:1"
    (tmp_path / "layer.tar").write_bytes(layer(sh=busybox().read_bytes()))
    own = {"DOCKER_CONFIG": str(tmp_path / "docker")}  # where it keeps manifests that it has not pushed yet
    for architecture in ("amd64", "arm64"):
        change = f'CMD ["/bin/sh", "-c", "echo {architecture}"]'
        platform = f"linux/{architecture}"
        run(docker, "import", "--platform", platform, "-c", change, tmp_path / "layer.tar", f"{name}-{architecture}")
        run(docker, "push", "-q", f"{name}-{architecture}")
    run(docker, "manifest", "create", "--insecure", name, f"{name}-amd64", f"{name}-arm64", **own)
    digest = run(docker, "manifest", "push", "--insecure", name, **own).split()[-1]
    assert digest_of(server, "acme/both", "1") == digest
    run(docker, "rmi", "-f", f"{name}-amd64", f"{name}-arm64")
    assert run(docker, "run", "--rm", "--platform", "linux/amd64", name).strip() == "amd64"
    run(docker, "rmi", "-f", name)


@pytest.mark.client("crane")
def test_crane_appends_copies_lists_and_validates(serve: Callable[..., Served], tmp_path: Path) -> None:
    crane = tool("crane")
    server = serve()
    (tmp_path / "hello.txt").write_text("hello")
    run("tar", "-cf", tmp_path / "layer.tar", "-C", tmp_path, "hello.txt")
    run(crane, "append", "-f", tmp_path / "layer.tar", "-t", f"{server.address}/acme/one:1")
    run(crane, "copy", f"{server.address}/acme/one:1", f"{server.address}/acme/two:1")
    run(crane, "validate", "--remote", f"{server.address}/acme/two:1")
    run(crane, "mutate", f"{server.address}/acme/two:1", "--label", "a=b", "-t", f"{server.address}/acme/two:2")
    assert '"a":"b"' in run(crane, "config", f"{server.address}/acme/two:2")
    assert run(crane, "ls", f"{server.address}/acme/two").split() == ["1", "2"]
    run(crane, "delete", f"{server.address}/acme/two:2")
    assert run(crane, "ls", f"{server.address}/acme/two").split() == ["1"]
    assert run(crane, "catalog", server.address).split() == ["acme/one", "acme/two"]


@pytest.mark.client("oras")
def test_oras_attaches_discovers_and_pulls(serve: Callable[..., Served], tmp_path: Path) -> None:
    oras = tool("oras")
    server = serve()
    (tmp_path / "a.txt").write_text("artifact")
    here = f"cd {tmp_path} && {oras}"
    name = f"{server.address}/acme/art:1"
    run("sh", "-c", f"{here} push --plain-http {name} a.txt:text/plain")
    run("sh", "-c", f"{here} attach --plain-http --artifact-type a/sbom {name} a.txt:text/plain")
    assert "a/sbom" in run(oras, "discover", "--plain-http", name)
    (referrer,) = json.loads(run(oras, "discover", "--plain-http", "--format", "json", name))["referrers"]
    for reference in (name, referrer["reference"]):
        folder = tmp_path / reference[-8:]
        run(oras, "pull", "--plain-http", "-o", folder, reference)
        assert (folder / "a.txt").read_text() == "artifact"


@pytest.mark.client("skopeo")
def test_skopeo_copies_inspects_and_deletes(serve: Callable[..., Served], tmp_path: Path) -> None:
    skopeo, crane = tool("skopeo"), tool("crane")
    server = serve()
    (tmp_path / "hello.txt").write_text("hello")
    run("tar", "-cf", tmp_path / "layer.tar", "-C", tmp_path, "hello.txt")
    run(crane, "append", "-f", tmp_path / "layer.tar", "-t", f"{server.address}/acme/one:1")
    plain = ("--src-tls-verify=false", "--dest-tls-verify=false")
    run(skopeo, "copy", *plain, f"docker://{server.address}/acme/one:1", f"docker://{server.address}/acme/two:1")
    seen = json.loads(run(skopeo, "inspect", "--tls-verify=false", f"docker://{server.address}/acme/two:1"))
    assert seen["Digest"] == digest_of(server, "acme/one", "1")
    assert (seen["RepoTags"], len(seen["Layers"])) == (["1"], 1)
    run(skopeo, "delete", "--tls-verify=false", f"docker://{server.address}/acme/two:1")
    assert '"Tags": []' in run(skopeo, "list-tags", "--tls-verify=false", f"docker://{server.address}/acme/two")
