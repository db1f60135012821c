"""helm, cosign and regctl."""

import base64
import json
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.conftest import Served, tool
from tests.journeys.programs import answered, digest_of, push_image, push_index, run, tags_of


@pytest.mark.client("helm")
def test_helm_pushes_shows_and_pulls_a_chart(serve: Callable[..., Served], tmp_path: Path) -> None:
    helm = tool("helm")
    server = serve()
    home = {name: str(tmp_path / name) for name in ("HELM_CACHE_HOME", "HELM_CONFIG_HOME", "HELM_DATA_HOME")}
    run(helm, "create", tmp_path / "boat", **home)
    run(helm, "package", tmp_path / "boat", "-d", tmp_path, **home)
    package = tmp_path / "boat-0.1.0.tgz"
    run(helm, "push", "--plain-http", package, f"oci://{server.address}/charts", **home)
    chart = f"oci://{server.address}/charts/boat"
    assert "name: boat" in run(helm, "show", "chart", "--plain-http", chart, "--version", "0.1.0", **home)
    (tmp_path / "pulled").mkdir()
    run(helm, "pull", "--plain-http", chart, "--version", "0.1.0", "-d", tmp_path / "pulled", **home)
    assert (tmp_path / "pulled" / package.name).read_bytes() == package.read_bytes()


@pytest.mark.client("helm")
def test_helm_finds_the_newest_version_of_a_range_and_a_version_with_build_metadata(
    serve: Callable[..., Served], tmp_path: Path
) -> None:
    helm = tool("helm")
    server = serve()
    home = {name: str(tmp_path / name) for name in ("HELM_CACHE_HOME", "HELM_CONFIG_HOME", "HELM_DATA_HOME")}
    run(helm, "create", tmp_path / "boat", **home)
    for version in ("0.1.0", "0.2.0+build.7", "1.0.0"):
        run(helm, "package", tmp_path / "boat", "-d", tmp_path, "--version", version, **home)
        run(helm, "push", "--plain-http", tmp_path / f"boat-{version}.tgz", f"oci://{server.address}/charts", **home)
    assert tags_of(server, "charts/boat") == ["0.1.0", "0.2.0_build.7", "1.0.0"]  # a tag has no '+'
    chart = f"oci://{server.address}/charts/boat"
    assert "version: 0.2.0+build.7" in run(helm, "show", "chart", "--plain-http", chart, "--version", "0.x", **home)
    assert "version: 1.0.0" in run(helm, "show", "chart", "--plain-http", chart, **home)


@pytest.mark.client("cosign")
def test_cosign_signs_attests_and_verifies(serve: Callable[..., Served], tmp_path: Path) -> None:
    cosign = tool("cosign")
    server = serve()
    image = f"{server.address}/acme/app@{push_image(server, 'acme/app', '1')}"
    own = {"COSIGN_PASSWORD": "", "HOME": str(tmp_path)}
    run(cosign, "generate-key-pair", "--output-key-prefix", tmp_path / "key", **own)
    offline = ["--use-signing-config=false", "--tlog-upload=false", "--allow-http-registry", "-y"]
    public = ["--key", tmp_path / "key.pub", "--insecure-ignore-tlog", "--allow-http-registry"]
    (tmp_path / "said.json").write_text('{"said": "hello"}')
    run(cosign, "sign", "--key", tmp_path / "key.key", *offline, image, **own)
    run(cosign, "attest", "--key", tmp_path / "key.key", *offline, "--predicate", tmp_path / "said.json", image, **own)
    assert "acme/app" in run(cosign, "verify", *public, image, **own)
    attested = json.loads(run(cosign, "verify-attestation", *public, image, **own))
    statement = json.loads(base64.b64decode(attested["payload"]))
    assert statement["predicate"]["Data"] == '{"said": "hello"}'
    assert statement["subject"][0]["digest"]["sha256"] in image


@pytest.mark.client("regctl")
def test_regctl_deletes_a_tag_lists_referrers_and_copies_with_them(
    serve: Callable[..., Served], tmp_path: Path
) -> None:
    regctl = tool("regctl")
    server = serve()
    own = {"HOME": str(tmp_path), "REGCTL_CONFIG": str(tmp_path / "regctl.json")}
    run(regctl, "registry", "set", "--tls", "disabled", server.address, **own)
    digest = push_index(server, "acme/both", "1")
    name, copy = f"{server.address}/acme/both:1", f"{server.address}/acme/copy:1"
    (tmp_path / "note").write_text("seen")
    run(regctl, "artifact", "put", "--artifact-type", "a/note", "--subject", name, "-f", tmp_path / "note", **own)
    assert "a/note" in run(regctl, "artifact", "list", name, **own)
    run(regctl, "image", "copy", "--referrers", name, copy, **own)
    assert digest_of(server, "acme/copy", "1") == digest
    assert "a/note" in run(regctl, "artifact", "list", copy, **own)
    run(regctl, "tag", "delete", copy, **own)
    assert tags_of(server, "acme/copy") == []
    assert digest_of(server, "acme/copy", digest) == digest
    index = json.loads(run(regctl, "manifest", "get", "--format", "raw-body", name, **own))
    config = json.loads(
        run(regctl, "manifest", "get", "--format", "raw-body",
            f"{server.address}/acme/both@{index['manifests'][0]['digest']}", **own)
    )["config"]["digest"]  # fmt: skip
    run(regctl, "blob", "copy", f"{server.address}/acme/both", f"{server.address}/acme/third", config, **own)
    # Mounted: no bytes follow the POST.
    asked = answered(server, "acme/third", "POST")
    assert asked == [("HEAD", "/v2/{name}/blobs/{digest}", 404), ("POST", "/v2/{name}/blobs/uploads/", 201)]
    assert "amd64" in run(regctl, "blob", "get", f"{server.address}/acme/third", config, **own)
