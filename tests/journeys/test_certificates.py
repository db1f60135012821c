"""Real clients that sign in by the certificate of their folder (docker's `certs.d`), and read why one is not enough."""

import shutil
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.access.test_certificates import House
from tests.authority import ELSEWHERE
from tests.closed import ADMIN
from tests.conftest import missing, tool
from tests.journeys import programs
from tests.journeys.programs import layer, refused, run

WHY = "the client certificate names 'stranger', which is no account that may sign in"


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    made = furnished(tmp_path_factory.mktemp("house"))
    yield made
    made.stop()


def furnished(folder: Path, host: str = "") -> House:
    """A house with a robot, `acme.ci`."""
    folder.mkdir(exist_ok=True)
    house = House(folder, host=host)
    house.done(ADMIN, "POST", "/organisations", {"name": "acme", "owner": "admin"})
    house.done(ADMIN, "POST", "/robots", {"owner": "acme", "name": "ci", "rules": ["acme/app:pull,push"]})
    return house


def fill(house: House, folder: Path, name: str) -> Path:
    """The folder that docker, podman and skopeo look for certificates in."""
    folder.mkdir(parents=True)
    shutil.copy(house.site.file, folder / "ca.crt")
    for source, kind in zip(house.people.issue(name), ("cert", "key"), strict=True):
        shutil.copy(source, folder / f"client.{kind}")
    return folder


@pytest.fixture
def folder(house: House, tmp_path: Path) -> Callable[[str], Path]:
    return lambda name: fill(house, tmp_path / name, name)


def image(folder: Path) -> Path:
    """An OCI layout of one small image."""
    (folder / "layer.tar").write_bytes(layer(hello=b"hello"))
    run(tool("crane"), "append", "-f", folder / "layer.tar", "-t", "x/y:1", "-o", folder / "image.tar")
    return folder / "image.tar"


@pytest.mark.client("skopeo")
def test_skopeo_pushes_and_pulls_by_certificate(house: House, folder: Callable[[str], Path], tmp_path: Path) -> None:
    skopeo = tool("skopeo")
    source, target = f"docker-archive:{image(tmp_path)}", f"docker://localhost:{house.port}/acme/app:skopeo"
    run(skopeo, "copy", f"--dest-cert-dir={folder('acme.ci')}", source, target)
    run(skopeo, "copy", f"--src-cert-dir={tmp_path}/acme.ci", target, f"oci:{tmp_path}/back:1")
    assert WHY in refused(f"{skopeo} inspect --cert-dir={folder('stranger')} {target}")


@pytest.mark.client("podman")
def test_podman_pushes_and_pulls_by_certificate(
    house: House, folder: Callable[[str], Path], tmp_path: Path, storage: list[str]
) -> None:
    podman = tool("podman")
    target = f"localhost:{house.port}/acme/app:podman"
    run(podman, *storage, "load", "-i", image(tmp_path))
    run(podman, *storage, "push", f"--cert-dir={folder('acme.ci')}", "x/y:1", target)
    run(podman, *storage, "pull", f"--cert-dir={tmp_path}/acme.ci", target)
    options = " ".join(storage)
    assert WHY in refused(f"{podman} {options} pull --cert-dir={folder('stranger')} {target}")


@pytest.mark.client("oras")
def test_oras_pushes_and_pulls_by_certificate(house: House, folder: Callable[[str], Path], tmp_path: Path) -> None:
    oras = tool("oras")
    (tmp_path / "note.txt").write_text("a note")
    target = f"localhost:{house.port}/acme/app:oras"

    def options(name: str) -> list[str]:
        place = folder(name)
        return [
            "--plain-http=false",
            f"--ca-file={place}/ca.crt",
            f"--cert-file={place}/client.cert",
            f"--key-file={place}/client.key",
        ]

    shown = options("acme.ci")
    run(oras, "push", *shown, "--disable-path-validation", target, tmp_path / "note.txt")
    assert "application/vnd.oci.image.manifest.v1+json" in run(oras, "manifest", "fetch", *shown, target)
    assert WHY in refused(f"{oras} manifest fetch {' '.join(options('stranger'))} {target}")


@pytest.fixture
def elsewhere() -> Iterator[str]:
    """An address of this machine alone that is not 127.0.0.0/8, where docker would look for no certificates."""
    change = [tool("ip"), "address", "{}", f"{ELSEWHERE}/32", "dev", "lo"]
    if subprocess.run([part.format("add") for part in change], capture_output=True, check=False).returncode:
        missing("an address to add to the loopback interface")
    yield ELSEWHERE
    subprocess.run([part.format("delete") for part in change], check=True)


@contextmanager
def dockers(house: House, name: str) -> Iterator[None]:
    """The certificate in docker's own folder."""
    place = Path("/etc/docker/certs.d") / f"{house.name}:{house.port}"
    fill(house, place, name)
    try:
        yield
    finally:
        shutil.rmtree(place)


@pytest.mark.client("docker")
def test_docker_pushes_and_pulls_by_certificate(elsewhere: str, tmp_path: Path) -> None:
    docker = programs.docker()
    house = furnished(tmp_path / "house", host=elsewhere)
    name = f"{elsewhere}:{house.port}/acme/app:docker"
    (tmp_path / "layer.tar").write_bytes(layer(hello=b"hello"))
    run(docker, "import", tmp_path / "layer.tar", name)
    try:
        with dockers(house, "acme.ci"):
            run(docker, "push", name)
            run(docker, "rmi", "-f", name)
            run(docker, "pull", name)
        with dockers(house, "stranger"):
            assert WHY in refused(f"{docker} push {name}")
    finally:
        run(docker, "rmi", "-f", name)
        house.stop()
