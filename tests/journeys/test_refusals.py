"""What a person at a terminal reads when the registry refuses, over the real programs.

Each case is a command as it is typed; its placeholders are the fixtures below.  The registry's own sentence has to
stand in what the program prints.  Where a program shows nothing of an answer's body, the case says what it prints
instead.  docker, podman, buildah and skopeo refuse a bad name by themselves, so the registry never sees one of theirs.
"""

import re
from collections.abc import Callable, Iterator
from pathlib import Path
from string import Formatter

import pytest
from _pytest.mark import ParameterSet

from tests import make
from tests.conftest import Served, start, tool
from tests.journeys import programs
from tests.journeys.programs import layer, push_image, push_index, refused, run

COPY = "skopeo copy --src-tls-verify=false --dest-tls-verify=false"


def cases(said: str, *commands: str | tuple[str, str]) -> list[ParameterSet]:
    """A case of each command, or of each pair of a command and what its program says instead."""
    found = []
    for one in commands:
        command, words = (one, said) if isinstance(one, str) else one
        program = _program(command)
        deed = " ".join(word for word in command.split()[1:4] if word.isalpha())
        found.append(pytest.param(command, words, marks=pytest.mark.client(program), id=f"{program} {deed}"))
    return found


def _program(command: str) -> str:
    return re.sub(r"^\{\w+\}", "ctr", command).split()[0]


@pytest.fixture(scope="module")
def strict(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """A registry that deletes nothing and takes small manifests."""
    limits = {"REGISTRY_STORAGE_DELETE_ENABLED": "false", "REGISTRY_LIMITS_MANIFEST_BYTES": "2000"}
    server = start(tmp_path_factory.mktemp("strict") / "data", **limits)
    push_image(server, "acme/app", "1")
    push_index(server, "acme/both", "1")
    yield server
    server.stop()


@pytest.fixture(scope="module")
def kept(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """A registry that has become read-only."""
    data = tmp_path_factory.mktemp("kept") / "data"
    before = start(data)
    push_image(before, "acme/app", "1")
    push_image(before, "acme/deep", "1", more=12)
    before.stop()
    server = start(data, REGISTRY_STORAGE_MAINTENANCE_READONLY_ENABLED="true")
    yield server
    server.stop()


@pytest.fixture
def at(strict: Served) -> str:
    return strict.address


@pytest.fixture
def closed(kept: Served) -> str:
    return kept.address


@pytest.fixture
def long() -> str:
    """Two of them do not fit into a name."""
    return "a" * 200


@pytest.fixture
def tar(tmp_path: Path) -> Path:
    (tmp_path / "layer.tar").write_bytes(layer(note=b"seen"))
    return tmp_path / "layer.tar"


@pytest.fixture
def broken(tmp_path: Path) -> Path:
    """The manifest of an image whose blobs are nowhere."""
    (tmp_path / "broken.json").write_bytes(make.image(b"no config", b"no layer"))
    return tmp_path / "broken.json"


@pytest.fixture
def large(tmp_path: Path) -> Path:
    (tmp_path / "large.json").write_bytes(make.image(b"{}", annotations={"note": "x" * 4_000_000}))
    return tmp_path / "large.json"


@pytest.fixture
def chart(tmp_path: Path) -> Path:
    home = {name: str(tmp_path / name) for name in ("HELM_CACHE_HOME", "HELM_CONFIG_HOME", "HELM_DATA_HOME")}
    run(tool("helm"), "create", tmp_path / "boat", **home)
    run(tool("helm"), "package", tmp_path / "boat", "-d", tmp_path, **home)
    return tmp_path / "boat-0.1.0.tgz"


@pytest.fixture
def imported(tar: Path, storage: list[str]) -> list[str]:
    """Options of podman, with an image called `seen`."""
    run(tool("podman"), *storage, "import", "-q", tar, "seen")
    return storage


@pytest.fixture
def loaded(tar: Path, closed: str) -> Iterator[str]:
    """An image of docker's that would go to the read-only registry."""
    name = f"{closed}/acme/loaded:1"
    run(programs.docker(), "import", tar, name)
    yield name
    run(programs.docker(), "rmi", "-f", name)


@pytest.fixture
def deep(at: str, closed: str) -> Iterator[str]:
    """An image of docker's with more layers than a small manifest can name."""
    name, source = f"{at}/acme/deep:1", f"{closed}/acme/deep:1"
    run(programs.docker(), "pull", "-q", source)
    run(programs.docker(), "tag", source, name)
    yield name
    run(programs.docker(), "rmi", "-f", name, source)


@pytest.fixture
def contained(ctr: list[str], at: str) -> list[str]:
    """The client of a containerd, with an image called `seen`."""
    run(*ctr, "images", "pull", "--plain-http", "--snapshotter", "native", f"{at}/acme/app:1")
    run(*ctr, "images", "tag", f"{at}/acme/app:1", "seen")
    return ctr


@pytest.fixture
def reads(request: pytest.FixtureRequest) -> Callable[[str], str]:
    """What is read after a command that has to fail; its placeholders are filled in."""

    def fill(command: str) -> str:
        tool(_program(command))
        values = {}
        for _, name, _, _ in Formatter().parse(command):
            if name:
                value = request.getfixturevalue(name)
                values[name] = " ".join(value) if isinstance(value, list) else value
        return refused(command.format_map(values)).replace('\\"', '"')

    return fill


Reads = Callable[[str], str]


@pytest.mark.parametrize(
    ("command", "said"),
    cases(
        "there is no tag 'nope' in acme/app",
        "docker pull {at}/acme/app:nope",
        "podman {storage} pull -q --tls-verify=false {at}/acme/app:nope",
        "buildah {storage} pull -q --tls-verify=false {at}/acme/app:nope",
        "skopeo inspect --tls-verify=false docker://{at}/acme/app:nope",
        "crane manifest {at}/acme/app:nope",
        "regctl manifest get --host reg={at},tls=disabled {at}/acme/app:nope",
        "cosign download signature {at}/acme/app:nope",
        ("oras pull --plain-http {at}/acme/app:nope", "acme/app:nope: not found"),
        ("helm pull --plain-http oci://{at}/acme/app --version 9.9.9", "acme/app:9.9.9: not found"),
        ("{ctr} images pull --plain-http {at}/acme/app:nope", "acme/app:nope: not found"),
    ),
)
def test_a_missing_tag_is_named(reads: Reads, command: str, said: str) -> None:
    assert said in reads(command)


@pytest.mark.parametrize(
    ("command", "said"),
    cases(
        "there is no repository acme/none",
        "docker pull {at}/acme/none:1",
        "podman {storage} pull -q --tls-verify=false {at}/acme/none:1",
        "skopeo inspect --tls-verify=false docker://{at}/acme/none:1",
        "crane ls {at}/acme/none",
        "regctl tag ls --host reg={at},tls=disabled {at}/acme/none",
        "oras repo tags --plain-http {at}/acme/none",
        "helm pull --plain-http oci://{at}/acme/none",
        ("skopeo list-tags --tls-verify=false docker://{at}/acme/none", "404 (Not Found)"),
    ),
)
def test_a_missing_repository_is_named(reads: Reads, command: str, said: str) -> None:
    assert said in reads(command)


@pytest.mark.parametrize(
    ("command", "said"),
    cases(
        "characters; 255 are the most",
        ("crane append -f {tar} -t {at}/acme/a..b:1", "the repository name 'acme/a..b' is not valid: use lower-case"),
        ("crane append -f {tar} -t {at}/acme/app:-x", "the tag '-x' is not valid: up to 128 letters"),
        "regctl artifact put --host reg={at},tls=disabled -f {tar} {at}/{long}/{long}:1",
        "oras push --plain-http --disable-path-validation {at}/{long}/{long}:1 {tar}",
        "helm push --plain-http {chart} oci://{at}/{long}/{long}",
        ("{contained} images push --plain-http {at}/acme/a..b:1 seen", "400 Bad Request"),
    ),
)
def test_whoever_pushes_to_a_bad_name_reads_what_is_wrong_with_it(reads: Reads, command: str, said: str) -> None:
    assert said in reads(command)


@pytest.mark.parametrize(
    ("command", "said"),
    cases(
        f"refers to content that is not in the repository: {make.digest(b'no config')}, {make.digest(b'no layer')}",
        f"regctl manifest put --host reg={{at}},tls=disabled --content-type {make.IMAGE} {{at}}/acme/app:2 <{{broken}}",
        "oras manifest push --plain-http {at}/acme/app:2 {broken}",
        (
            f"{COPY} --multi-arch index-only docker://{{at}}/acme/both:1 docker://{{at}}/acme/other:1",
            "repository: sha256:",
        ),
    ),
)
def test_what_a_manifest_lacks_is_named(reads: Reads, command: str, said: str) -> None:
    read = reads(command)
    assert said in read
    assert "push that first" in read


@pytest.mark.parametrize(
    ("command", "said"),
    cases(
        "the manifest is larger than 2000 bytes, the most that is accepted here (limits.manifest_bytes)",
        "docker push {deep}",
        f"{COPY} docker://{{closed}}/acme/deep:1 docker://{{at}}/acme/deep:1",
        "crane copy {closed}/acme/deep:1 {at}/acme/deep:1",
        f"regctl manifest put --host reg={{at}},tls=disabled --content-type {make.IMAGE} {{at}}/acme/app:2 <{{large}}",
        "oras manifest push --plain-http {at}/acme/app:2 {large}",
    ),
)
def test_the_limit_of_manifests_is_told(reads: Reads, command: str, said: str) -> None:
    assert said in reads(command)


@pytest.mark.parametrize(
    ("command", "said"),
    cases(
        "deleting is switched off on this registry (storage.delete.enabled: false); its operator can allow it",
        "skopeo delete --tls-verify=false docker://{at}/acme/app:1",
        "crane delete {at}/acme/app:1",
        # Not `regctl tag delete`: when refused, it pushes a placeholder over the tag.
        "regctl manifest delete --force-tag-dereference --host reg={at},tls=disabled {at}/acme/app:1",
        "oras manifest delete -f --plain-http {at}/acme/app:1",
    ),
)
def test_whoever_may_not_delete_reads_which_setting_forbids_it(reads: Reads, command: str, said: str) -> None:
    assert said in reads(command)


@pytest.mark.parametrize(
    ("command", "said"),
    cases(
        "the registry is read-only for now (storage.maintenance.readonly); pull works, try this again later",
        "docker push {loaded}",
        "podman {imported} push -q --tls-verify=false seen docker://{closed}/acme/app:2",
        f"{COPY} docker://{{at}}/acme/app:1 docker://{{closed}}/a:1",
        "skopeo delete --tls-verify=false docker://{closed}/acme/app:1",
        "crane append -f {tar} -t {closed}/acme/app:2",
        "crane tag {closed}/acme/app:1 2",
        "crane delete {closed}/acme/app:1",
        "regctl artifact put --host reg={closed},tls=disabled -f {tar} {closed}/acme/app:2",
        "oras attach --plain-http --disable-path-validation --artifact-type a/note {closed}/acme/app:1 {tar}",
        "oras tag --plain-http {closed}/acme/app:1 2",
        "helm push --plain-http {chart} oci://{closed}/charts",
        "cosign upload blob -f {tar} {closed}/acme/blob:1",
        ("{contained} images push --plain-http {closed}/acme/app:2 seen", "405 Method Not Allowed"),
    ),
)
def test_whoever_changes_a_read_only_registry_reads_that_it_is_one(reads: Reads, command: str, said: str) -> None:
    assert said in reads(command)


@pytest.mark.client("docker")
def test_a_read_only_registry_can_be_pulled_from(closed: str) -> None:
    name = f"{closed}/acme/app:1"
    assert run(programs.docker(), "run", "--rm", "--network", "none", name).strip() == "hello"
    run(programs.docker(), "rmi", "-f", name)
