"""podman, buildah, skopeo and containerd."""

import json
from collections.abc import Callable
from pathlib import Path

import httpx
import pytest

from tests.conftest import Served, tool
from tests.journeys.programs import busybox, digest_of, push_image, push_index, run, tags_of


@pytest.mark.client("podman")
def test_podman_builds_on_a_pulled_image_and_pushes_it(
    serve: Callable[..., Served], tmp_path: Path, storage: list[str]
) -> None:
    podman = [tool("podman"), *storage]
    server = serve()
    push_image(server, "acme/base", "1")
    source, target = f"{server.address}/acme/base:1", f"{server.address}/acme/app:1"
    run(*podman, "pull", "-q", "--tls-verify=false", source)
    (tmp_path / "Containerfile").write_text(f"FROM {source}\nCOPY Containerfile /said\n")
    run(*podman, "build", "-q", "--isolation", "chroot", "-t", target, tmp_path)
    run(*podman, "push", "-q", "--tls-verify=false", target)
    run(*podman, "rmi", "-f", target)
    run(*podman, "pull", "-q", "--tls-verify=false", target)
    image = json.loads(run(*podman, "inspect", target))[0]
    assert image["Config"]["Cmd"] == ["/bin/sh", "-c", "echo hello"]
    assert len(image["RootFS"]["Layers"]) == 3
    assert digest_of(server, "acme/app", "1") in {one.partition("@")[2] for one in image["RepoDigests"]}


@pytest.mark.client("buildah")
def test_buildah_pushes_a_manifest_list_with_its_images(serve: Callable[..., Served], storage: list[str]) -> None:
    buildah = [tool("buildah"), *storage]
    server = serve()
    run(*buildah, "manifest", "create", "both")
    for architecture in ("amd64", "arm64"):
        container = run(*buildah, "from", "--arch", architecture, "scratch").strip()
        run(*buildah, "copy", container, busybox(), "/bin/sh")
        run(*buildah, "commit", "-q", "--manifest", "both", container)
    target = f"docker://{server.address}/acme/both:1"
    run(*buildah, "manifest", "push", "--all", "--tls-verify=false", "both", target)
    skopeo = [tool("skopeo"), "inspect", "--raw", "--tls-verify=false"]
    index = json.loads(run(*skopeo, target))
    assert {one["platform"]["architecture"] for one in index["manifests"]} == {"amd64", "arm64"}
    for one in index["manifests"]:
        run(*skopeo, f"docker://{server.address}/acme/both@{one['digest']}")


@pytest.mark.client("skopeo")
def test_skopeo_copies_all_of_an_index_to_a_folder_and_back(serve: Callable[..., Served], tmp_path: Path) -> None:
    skopeo = tool("skopeo")
    server = serve()
    digest = push_index(server, "acme/both", "1")
    source, target = f"docker://{server.address}/acme/both:1", f"docker://{server.address}/acme/copy:1"
    run(
        skopeo,
        "copy",
        "-q",
        "--all",
        "--preserve-digests",
        "--src-tls-verify=false",
        source,
        f"oci:{tmp_path}/layout:1",
    )
    run(
        skopeo,
        "copy",
        "-q",
        "--all",
        "--preserve-digests",
        "--dest-tls-verify=false",
        f"oci:{tmp_path}/layout:1",
        target,
    )
    assert digest_of(server, "acme/copy", "1") == digest
    run(skopeo, "delete", "--tls-verify=false", target)
    assert tags_of(server, "acme/copy") == []
    assert digest_of(server, "acme/both", "1") == digest


@pytest.fixture
def hosts(tmp_path: Path) -> Callable[[Served], Path]:
    """Writes a hosts.toml by which `registry.example` is the server; gives the folder for `--hosts-dir`."""

    def write(server: Served) -> Path:
        folder = tmp_path / "hosts"
        (folder / "registry.example").mkdir(parents=True)
        (folder / "registry.example" / "hosts.toml").write_text(
            f'server = "{server.url}"\n[host."{server.url}"]\ncapabilities = ["pull", "resolve", "push"]\n'
        )
        return folder

    return write


@pytest.mark.client("ctr")
def test_containerd_pulls_and_pushes_with_a_hosts_toml(
    serve: Callable[..., Served], hosts: Callable[[Served], Path], ctr: list[str]
) -> None:
    server = serve()
    digest = push_image(server, "acme/app", "1")
    name = "registry.example/acme/app:1"
    run(*ctr, "images", "pull", "--snapshotter", "native", "--hosts-dir", hosts(server), name)
    assert digest in run(*ctr, "images", "ls")
    run(*ctr, "images", "tag", name, f"{server.address}/acme/pushed:2")
    run(*ctr, "images", "push", "--plain-http", f"{server.address}/acme/pushed:2")
    assert digest_of(server, "acme/pushed", "2") == digest


@pytest.mark.client("ctr")
def test_containerd_moves_a_whole_index(
    serve: Callable[..., Served], hosts: Callable[[Served], Path], ctr: list[str]
) -> None:
    server = serve()
    digest = push_index(server, "acme/both", "1")
    folder = hosts(server)
    source, target = "registry.example/acme/both:1", "registry.example/acme/copy:1"
    run(*ctr, "images", "pull", "--all-platforms", "--snapshotter", "native", "--hosts-dir", folder, source)
    run(*ctr, "images", "push", "--hosts-dir", folder, target, source)
    assert digest_of(server, "acme/copy", "1") == digest
    index = httpx.get(f"{server.url}/v2/acme/copy/manifests/1").json()
    assert all(digest_of(server, "acme/copy", one["digest"]) for one in index["manifests"])
