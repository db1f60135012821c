"""Pushing what is there already: how much a client has to ask, and how many bytes of blobs it sends."""

import json
import os
import shutil
import subprocess
from collections.abc import Callable
from functools import partial
from pathlib import Path

from bench.content import MANIFEST, Blob, Image, digest_of, new_image
from bench.relay import Relay, relay
from bench.rounds import Sample, Stage, Unit, Workload
from bench.servers import Server
from bench.wire import Connection, Wrong
from bench.workloads.verbs import check_blob, check_manifest, push_image, push_mounting


def has_crane() -> bool:
    return shutil.which("crane") is not None


def reuse() -> Stage:
    ways = [("push an image whose layers another repository has, not saying which", _mounted)]
    if has_crane():
        ways.insert(0, ("push an unchanged image again, by crane", _again))

    def asked(push: Callable[[Server], Relay], server: Server, _: int) -> Sample:
        return Sample(1, 0, 0, 0, 0, amount=push(server).requests)

    def sent(push: Callable[[Server], Relay], server: Server, _: int) -> Sample:
        return Sample(1, 0, 0, 0, 0, amount=push(server).sent)

    kinds = (("requests", Unit.REQUESTS, asked), ("bytes of blobs sent", Unit.BYTES, sent))
    workloads = [
        Workload(f"{title}: {kind}", unit, partial(run, push)) for title, push in ways for kind, unit, run in kinds
    ]
    return Stage("reuse", workloads, fresh=True, rounds=1)


def _again(server: Server) -> Relay:
    """Twice; what the second time took."""
    image = new_image()
    layout = server.folder / "layout"
    _lay_out(layout, image)
    for _ in range(2):
        with relay(server.port) as counted:
            _crane(server, layout, f"127.0.0.1:{counted.port}/acme/again:1.0")
    _check(server, "acme/again", image)
    return counted


def _mounted(server: Server) -> Relay:
    """By a client that may pull from the other repository too, and that does as the server says."""
    image = new_image()
    with server.connect() as connection:
        push_image(connection, "acme/base", "1.0", image)
    scope = "repository:acme/other:pull,push repository:acme/base:pull"
    header = server.tokens.covering(scope) if server.tokens is not None else ()
    with relay(server.port) as counted, Connection(counted.port, lambda _: header) as connection:
        push_mounting(connection, "acme/other", "1.0", image)
    _check(server, "acme/other", image)
    return counted


def _check(server: Server, name: str, image: Image) -> None:
    with server.connect() as connection:
        check_manifest(connection, name, "1.0", image.manifest)
        check_blob(connection, name, image.blobs[-1])


def _lay_out(folder: Path, image: Image) -> None:
    """Write the image as a folder that clients push (image-spec, "Image Layout")."""
    shutil.rmtree(folder, ignore_errors=True)
    blobs = folder / "blobs/sha256"
    blobs.mkdir(parents=True)
    for blob in (*image.blobs, Blob.of(image.manifest)):
        (blobs / blob.digest.removeprefix("sha256:")).write_bytes(blob.shared + blob.own)
    entry = {"mediaType": MANIFEST, "digest": digest_of(image.manifest), "size": len(image.manifest)}
    (folder / "index.json").write_text(json.dumps({"schemaVersion": 2, "manifests": [entry]}))
    (folder / "oci-layout").write_text(json.dumps({"imageLayoutVersion": "1.0.0"}))


def _crane(server: Server, layout: Path, name: str) -> None:
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
