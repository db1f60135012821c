"""The registries: how each is configured, started on loopback in a fresh folder, and stopped.

Everybody as they ship, with the access log off.  Peers keep what their own sample configurations have: the in-memory
descriptor cache, and nobody asked for a password.  Moorage keeps what it has: closed, so its clients come with bearer
tokens, one for each repository, as docker does.
"""

import getpass
import os
import secrets
import shlex
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from bench import seeds
from bench.tokens import Tokens
from bench.wire import Connection, Header, Wrong

ROOT: Final = Path(__file__).parent.parent
_PATIENCE: Final = 60.0

_DISTRIBUTION: Final = """\
version: 0.1
log: {{level: error, accesslog: {{disabled: true}}}}
storage:
  cache: {{blobdescriptor: inmemory}}
  delete: {{enabled: true}}
  filesystem: {{rootdirectory: {data}}}
http: {{addr: "127.0.0.1:{port}"}}
"""

_MOORAGE: Final = """\
version: 0.1
log: {{level: error, accesslog: {{disabled: true}}}}
storage: {{filesystem: {{rootdirectory: {data}}}}}
http: {{addr: "127.0.0.1:{port}"}}
"""


_NGINX: Final = """\
daemon off;
user {user};
worker_processes 1;
error_log stderr error;
pid {folder}/pid;
events {{worker_connections 1024;}}
http {{
  access_log off;
  sendfile on;
  tcp_nopush on;
  keepalive_requests 100000000;
  client_body_temp_path {folder}/body;
  proxy_temp_path {folder}/proxy;
  fastcgi_temp_path {folder}/fastcgi;
  uwsgi_temp_path {folder}/uwsgi;
  scgi_temp_path {folder}/scgi;
  server {{
    listen 127.0.0.1:{port};
    root {data};
  }}
}}
"""


@dataclass(frozen=True, slots=True)
class Peer:
    """A registry we know how to run."""

    name: str
    title: str
    command: tuple[str, ...]
    """`{config}` stands for its configuration's path, `{port}` and `{dir}` for its port and data folder."""
    config: str
    version: tuple[str, ...]
    install: str
    """What to do where it is missing."""
    seed: Callable[[Path, str, Sequence[str]], None] | None
    """Writes tags into a repository of a stopped server; None where they can only be pushed."""
    environment: dict[str, str] = field(default_factory=dict)
    all_cores: dict[str, str] = field(default_factory=dict)
    """What the environment says so that small requests use every core, where that is not so anyway."""
    password: str | None = None
    """The administrator's, where clients have to sign in."""
    files_only: bool = False
    """No registry: it sends what lies in its folder, which is what bytes can cost at best."""

    @property
    def installed(self) -> bool:
        return shutil.which(self.command[0]) is not None

    def told_version(self) -> str:
        """What it says of itself, in one line."""
        if not self.version:
            return "unknown"
        told = subprocess.run(self.version, check=False, capture_output=True, text=True, cwd=ROOT)
        return (told.stdout or told.stderr).strip() or "unknown"


@dataclass(slots=True)
class Server:
    """A peer that runs."""

    peer: Peer
    folder: Path
    port: int
    process: subprocess.Popen[bytes]
    start_seconds: float
    """From the command to the first answer."""
    tokens: Tokens | None = None
    """Where its clients get their bearer tokens."""

    @property
    def pid(self) -> int:
        return self.process.pid

    @property
    def data(self) -> Path:
        return self.folder / "data"

    def connect(self) -> Connection:
        return Connection(self.port, self.authorization)

    def authorization(self, target: str) -> Sequence[Header]:
        """The header with which a client may do anything at `target`; none where nobody has to sign in."""
        return self.tokens.header(target) if self.tokens is not None else ()

    def stop(self) -> None:
        """End the process; its data stays."""
        self.process.terminate()
        try:
            self.process.wait(30)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()

    def discard(self) -> None:
        """End the process and remove its data, so that the next one's pages are not new to the machine."""
        self.stop()
        shutil.rmtree(self.folder)


def start(peer: Peer, folder: Path, *, core: int | None = None) -> Server:
    """Run a peer in `folder`, which is made if it is not there, and wait for its first answer.  Raises Wrong."""
    data = folder / "data"
    data.mkdir(parents=True, exist_ok=True)
    port = _free_port()
    config = folder / "config.yml"
    config.write_text(peer.config.format(data=data, port=port, folder=folder, user=getpass.getuser()))
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("REGISTRY_", "PYTHON"))}
    # Python keeps compiled code beside the source when it is installed; here, where nothing else of the run lies.
    environment["PYTHONPYCACHEPREFIX"] = str(folder.parent / "compiled")
    with (folder / "log").open("ab") as log:
        began = time.monotonic()
        process = subprocess.Popen(
            [part.format(port=port, dir=data, config=config) for part in peer.command],
            stdout=log,
            stderr=log,
            cwd=ROOT,
            env={**environment, **peer.environment},
        )
        if core is not None:
            os.sched_setaffinity(process.pid, {core})
    while not _answers(port):
        if process.poll() is not None or time.monotonic() > began + _PATIENCE:
            process.kill()
            process.wait()
            raise Wrong(f"{peer.title} does not start:\n{(folder / 'log').read_text()[-2000:]}")
        time.sleep(0.001)
    took = time.monotonic() - began
    return Server(peer, folder, port, process, took, Tokens(port, peer.password) if peer.password else None)


def _answers(port: int) -> bool:
    try:
        with Connection(port) as connection:
            return connection.ask("GET", "/v2/").status in {200, 401, 404}
    except (ConnectionError, Wrong):
        return False


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
    return port


def _peers() -> tuple[Peer, ...]:
    password = secrets.token_urlsafe()
    source = os.pathsep.join(filter(None, (str(ROOT / "src"), os.environ.get("PYTHONPATH"))))
    return (
        Peer(
            "moorage",
            "Moorage",
            (sys.executable, "-m", "moorage", "serve", "--config", "{config}"),
            _MOORAGE,
            ("git", "describe", "--always", "--dirty"),
            "make setup",
            seeds.moorage,
            {"PYTHONPATH": source, "REGISTRY_ADMIN_PASSWORD": password},
            {"REGISTRY_HTTP_WORKERS": "auto"},
            password,
        ),
        Peer(
            "nginx",
            "nginx",
            ("nginx", "-e", "stderr", "-c", "{config}"),
            _NGINX,
            ("nginx", "-v"),
            "apt-get install nginx-light",
            None,
            files_only=True,
        ),
        Peer(
            "docker-registry",
            "docker-registry",
            ("docker-registry", "serve", "{config}"),
            _DISTRIBUTION,
            ("docker-registry", "--version"),
            "make clients, or apt-get install docker-registry",
            seeds.distribution,
        ),
        Peer(
            "v3",
            "distribution v3",
            ("registry", "serve", "{config}"),
            _DISTRIBUTION,
            ("registry", "--version"),
            "make clients, or go install github.com/distribution/distribution/v3/cmd/registry@v3.1.2",
            seeds.distribution,
            {"OTEL_TRACES_EXPORTER": "none"},
        ),
    )


def another(told: str) -> Peer:
    """Whatever `--peer NAME='command with {port} and {dir}'` names.  Raises ValueError."""
    name, equals, command = told.partition("=")
    if not equals or "{port}" not in command:
        raise ValueError(f"{told!r} is not NAME='command with {{port}} and {{dir}}'")
    return Peer(name, name, tuple(shlex.split(command)), "", (), "install it", None)


PEERS: Final = _peers()
"""Moorage first, the one that ratios are taken to last."""
