"""Running real programs, and the images they move about."""

import hashlib
import io
import json
import os
import subprocess
import tarfile
import time
from pathlib import Path

import httpx

from tests import make
from tests.conftest import ROOT, Served, missing, tool

BUSYBOX = Path("/bin/busybox")
DEBIAN = ROOT / ".clients" / "debian.tar"


def run(*command: str | Path, **environment: str) -> str:
    """What the program prints; fails with all it said where it fails."""
    done = subprocess.run(
        [str(part) for part in command], capture_output=True, text=True, timeout=180, check=False,
        env={**os.environ, **environment},
    )  # fmt: skip
    assert done.returncode == 0, f"{command}\n{done.stdout}\n{done.stderr}"
    return done.stdout


def refused(command: str) -> str:
    """All that a shell's command prints; it must fail, but neither be missing (126, 127) nor killed (above)."""
    done = subprocess.run(command, shell=True, capture_output=True, text=True, timeout=100, check=False)
    assert 0 < done.returncode < 126, f"{command}\n{done.stdout}\n{done.stderr}"
    return done.stdout + done.stderr


def docker() -> str:
    """Docker's client, where it has a daemon."""
    client = tool("docker")
    if subprocess.run([client, "info"], capture_output=True, check=False).returncode:
        missing("a running docker daemon")
    return client


def busybox() -> Path:
    if not BUSYBOX.exists():
        missing("busybox-static")
    return BUSYBOX


def debian() -> Path:
    """The files of a small Debian that debootstrap made, in a tar."""
    if not DEBIAN.exists():
        missing("a Debian made by debootstrap")
    return DEBIAN


def layer(**files: bytes) -> bytes:
    """A layer with these executables in /bin."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as archive:
        for name, content in files.items():
            entry = tarfile.TarInfo(f"bin/{name}")
            entry.size, entry.mode = len(content), 0o755
            archive.addfile(entry, io.BytesIO(content))
    return out.getvalue()


def push_image(
    server: Served,
    name: str,
    tag: str,
    *,
    architecture: str = "amd64",
    more: int = 0,
    auth: tuple[str, str] | None = None,
) -> str:
    """Push an image that says hello, made of two layers and as many tiny ones as are wanted; gives its digest."""
    layers = [layer(sh=busybox().read_bytes()), layer(who=architecture.encode())]
    layers += [layer(**{f"more{number}": b"more"}) for number in range(more)]
    config = {
        "architecture": architecture,
        "os": "linux",
        "config": {"Cmd": ["/bin/sh", "-c", "echo hello"]},
        "rootfs": {"type": "layers", "diff_ids": [f"sha256:{hashlib.sha256(one).hexdigest()}" for one in layers]},
    }
    with httpx.Client(base_url=server.url, timeout=60, auth=auth) as client:
        return make.digest(make.push_image(client, name, tag, json.dumps(config).encode(), *layers))


def push_index(server: Served, name: str, tag: str) -> str:
    """Push the same image for two architectures, and an index of both; gives its digest."""
    entries = []
    with httpx.Client(base_url=server.url, timeout=60) as client:
        for architecture in ("amd64", "arm64"):
            digest = push_image(server, name, f"{tag}-{architecture}", architecture=architecture)
            content = client.get(f"/v2/{name}/manifests/{digest}").content
            platform = {"architecture": architecture, "os": "linux"}
            entries.append({**make.descriptor(content, make.IMAGE), "platform": platform})
        index = json.dumps({"schemaVersion": 2, "mediaType": make.INDEX, "manifests": entries}).encode()
        answer = client.put(f"/v2/{name}/manifests/{tag}", content=index, headers={"Content-Type": make.INDEX})
        assert answer.status_code == 201, answer.text
    return make.digest(index)


def digest_of(server: Served, name: str, reference: str) -> str | None:
    """What a tag names now; None where it names nothing."""
    answer = httpx.head(f"{server.url}/v2/{name}/manifests/{reference}")
    return answer.headers["Docker-Content-Digest"] if answer.status_code == 200 else None


def answered(server: Served, name: str, last: str) -> list[tuple[str, str, int]]:
    """Method, route and status of what was asked of a repository, once the log has a request by the method `last`."""
    for _ in range(100):
        lines = [json.loads(line) for line in server.log.read_text().splitlines()]
        found = [(line["method"], line["path"], line["status"]) for line in lines if line.get("repo") == name]
        if any(method == last and status < 400 for method, _, status in found):
            return found
        time.sleep(0.05)
    raise AssertionError(f"the log has {found} of {name}")


def tags_of(server: Served, name: str) -> list[str]:
    return list(httpx.get(f"{server.url}/v2/{name}/tags/list").json()["tags"])
