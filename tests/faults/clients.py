"""Many clients at once, in a process of their own, writing down all they do:

    python -m tests.faults.clients HISTORY PORT NAMES PUSHERS PULLERS DELETERS

They share a few repositories and tags, so that they get in each other's way; NAMES sets them apart from those of
another run.  They go on until standard input ends, and through every failure.
"""

import json
import os
import random
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.conftest import ROOT
from tests.faults.history import History
from tests.faults.wire import Client, digest_of

INLINE = 16 * 1024
"""Blobs of this size and less live in rows; both kinds are pushed."""

REPOSITORIES = 3
TAGS = 5
FORMS = ("whole", "stream", "last", "chunks", "doubted")

COMMON = [bytes([number]) * (INLINE + 1000 * number + 1) for number in range(1, 7)]
"""Layers that everybody has: pushed again and again, shared, collected and pushed once more."""


def image(config: bytes, *layers: bytes) -> bytes:
    """A manifest of the image specification."""

    def descriptor(content: bytes, kind: str) -> dict[str, object]:
        media_type = f"application/vnd.oci.image.{kind}"
        return {"mediaType": media_type, "digest": digest_of(content), "size": len(content)}

    manifest = {
        "schemaVersion": 2,
        "mediaType": "application/vnd.oci.image.manifest.v1+json",
        "config": descriptor(config, "config.v1+json"),
        "layers": [descriptor(one, "layer.v1.tar") for one in layers],
    }
    return json.dumps(manifest).encode()


class Worker:
    """One client: its connection, its chance, and what it has seen."""

    def __init__(self, path: Path, port: int, names: str, role: str) -> None:
        self.client = Client(port, History(path, f"{names}-{role}-{os.getpid()}"))
        self.chance = random.Random(f"{names}{role}")
        self.names = names
        self.pushed: list[tuple[str, bytes]] = []

    def repository(self) -> str:
        return f"{self.names}/r{self.chance.randrange(REPOSITORIES)}"

    def tag(self) -> str:
        return f"t{self.chance.randrange(TAGS)}"

    def fresh(self, small: bool = False) -> bytes:
        size = self.chance.randrange(100, 2000) if small else self.chance.randrange(INLINE + 1, 3 * INLINE)
        return self.chance.randbytes(size)

    def push(self) -> None:
        """An image: blobs, then the manifest; now and then something else that pushers do."""
        repository, dice = self.repository(), self.chance.random()
        if dice < 0.1 and self.pushed:
            there, content = self.chance.choice(self.pushed[-20:])
            self.client.put_manifest(there, content, self.tag())
        elif dice < 0.2:
            self.client.push_blob(repository, self.fresh(), self.chance.choice(FORMS))  # and nothing refers to it
        else:
            self._push_image(repository)

    def _push_image(self, repository: str) -> None:
        config, layers = self.fresh(small=True), [self.fresh(), self.chance.choice(COMMON)]
        for content in (config, *layers):
            mounted = self.chance.random() < 0.3 and self.client.mount(
                repository, self.repository(), digest_of(content)
            )
            if not mounted and not self.client.push_blob(repository, content, self.chance.choice(FORMS)):
                return
        manifest = image(config, *layers)
        if self.client.put_manifest(repository, manifest, self.tag() if self.chance.random() < 0.9 else None):
            self.pushed.append((repository, manifest))

    def pull(self) -> None:
        repository = self.repository()
        content = self.client.get("manifest", repository, self.tag())
        if content is not None:
            for one in json.loads(content)["layers"]:
                self.client.get("blob", repository, one["digest"])

    def delete(self) -> None:
        repository, dice = self.repository(), self.chance.random()
        if dice < 0.3:
            self.client.delete("tag", repository, self.tag())
        elif dice < 0.7:
            content = self.client.get("manifest", repository, self.tag())
            if content is not None:
                self.client.delete("manifest", repository, digest_of(content))
        else:
            content = self.fresh()
            if self.client.push_blob(repository, content):
                self.client.delete("blob", repository, digest_of(content))


def _work(act: Callable[[], None], ended: threading.Event, pause: float) -> None:
    while not ended.wait(random.uniform(0, 2 * pause)):
        act()


def main() -> None:
    path, port, names = Path(sys.argv[1]), int(sys.argv[2]), sys.argv[3]
    counts = map(int, sys.argv[4:])
    ended = threading.Event()
    threads = []
    for role, count, pause in zip(("push", "pull", "delete"), counts, (0.03, 0.05, 0.15), strict=True):
        for number in range(count):
            worker = Worker(path, port, names, f"{role}{number}")
            act = getattr(worker, role)
            threads.append(threading.Thread(target=_work, args=(act, ended, pause)))
    for one in threads:
        one.start()
    sys.stdin.read()
    ended.set()
    for one in threads:
        one.join()


@contextmanager
def clients(path: Path, port: int, names: str, pushers: int, pullers: int, deleters: int) -> Iterator[None]:
    """Clients that work meanwhile, and have all ended afterwards."""
    arguments = [str(path), str(port), names, str(pushers), str(pullers), str(deleters)]
    process = subprocess.Popen(
        [sys.executable, "-m", "tests.faults.clients", *arguments], stdin=subprocess.PIPE, cwd=ROOT
    )
    assert process.stdin
    try:
        yield
        assert process.poll() is None, "the clients died"
    finally:
        process.stdin.close()
        try:
            status = process.wait(90)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
            raise
    assert status == 0, "the clients failed"


if __name__ == "__main__":
    main()
