"""Daemons and storages of their own, so that tests beside each other do not meet."""

import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.conftest import tool
from tests.journeys.house import Home, House


@contextmanager
def own(driver: str) -> Iterator[list[str]]:
    """Options for a new storage of that driver; its path must be short."""
    with tempfile.TemporaryDirectory(prefix="pod-", ignore_cleanup_errors=True) as folder:
        yield ["--root", f"{folder}/root", "--runroot", f"{folder}/run", "--storage-driver", driver]
        # A command that failed leaves it mounted.
        subprocess.run(["umount", f"{folder}/root/overlay"], capture_output=True, check=False)


@pytest.fixture(scope="session")
def driver() -> str:
    """The quickest way for podman to keep images that works here: overlay shares layers, vfs copies them."""
    with own("overlay") as options:
        works = subprocess.run([tool("podman"), *options, "info"], capture_output=True, check=False).returncode == 0
    return "overlay" if works else "vfs"


@pytest.fixture
def storage(driver: str) -> Iterator[list[str]]:
    """Options that give podman and buildah a storage of their own."""
    with own(driver) as options:
        yield options


@pytest.fixture
def ctr(tmp_path: Path) -> Iterator[list[str]]:
    """A containerd, and the client that speaks to it."""
    daemon, client = tool("containerd"), tool("ctr")
    socket = tmp_path / "c.sock"
    config = tmp_path / "containerd.toml"
    config.write_text(
        f'version = 2\nroot = "{tmp_path}/root"\nstate = "{tmp_path}/state"\n'
        f'disabled_plugins = ["io.containerd.grpc.v1.cri"]\n[grpc]\naddress = "{socket}"\n'
    )
    with (tmp_path / "containerd.log").open("wb") as log:
        process = subprocess.Popen([daemon, "-c", str(config)], stdout=log, stderr=log)
    command = [client, "-a", str(socket)]
    for _ in range(300):
        if subprocess.run([*command, "version"], capture_output=True, check=False).returncode == 0:
            break
        assert process.poll() is None, (tmp_path / "containerd.log").read_text()
        time.sleep(0.1)
    yield command
    process.terminate()
    process.wait(20)


@pytest.fixture(scope="session")
def house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    """A closed registry for all tests; each uses repositories of its own."""
    one = House(tmp_path_factory.mktemp("house"))
    yield one
    one.stop()


@pytest.fixture
def homes(tmp_path: Path, house: House) -> Callable[..., Home]:
    """Makes homes of people at the house."""

    def build(folder: str = "home", **values: object) -> Home:
        return Home(tmp_path / folder, house.served.address, **values)

    return build
