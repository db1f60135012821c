"""crane, a client as people have it: it starts, asks for a token, pushes several blobs at a time, and ends."""

import json
import os
import shutil
import subprocess
from pathlib import Path

from bench.content import MANIFEST, Blob, Image, digest_of
from bench.servers import Server
from bench.wire import Wrong


def has_crane() -> bool:
    return shutil.which("crane") is not None


def lay_out(folder: Path, image: Image) -> None:
    """Write the image as a folder that clients push (image-spec, "Image Layout")."""
    shutil.rmtree(folder, ignore_errors=True)
    blobs = folder / "blobs/sha256"
    blobs.mkdir(parents=True)
    for blob in (*image.blobs, Blob.of(image.manifest)):
        (blobs / blob.digest.removeprefix("sha256:")).write_bytes(blob.shared + blob.own)
    entry = {"mediaType": MANIFEST, "digest": digest_of(image.manifest), "size": len(image.manifest)}
    (folder / "index.json").write_text(json.dumps({"schemaVersion": 2, "manifests": [entry]}))
    (folder / "oci-layout").write_text(json.dumps({"imageLayoutVersion": "1.0.0"}))


def crane_push(server: Server, layout: Path, name: str) -> None:
    """Push what `lay_out` wrote, as `name`.  Raises Wrong."""
    home = server.folder / "crane"
    home.mkdir(exist_ok=True)
    auths = {name.partition("/")[0]: {"auth": server.tokens.basic}} if server.tokens is not None else {}
    (home / "config.json").write_text(json.dumps({"auths": auths}))
    environment = {**os.environ, "DOCKER_CONFIG": str(home)}
    done = subprocess.run(
        ["crane", "push", str(layout), name], check=False, capture_output=True, text=True, env=environment
    )
    if done.returncode:
        raise Wrong(f"crane says: {done.stderr[-1000:]}")
