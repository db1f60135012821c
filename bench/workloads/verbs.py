"""The requests that clients make, and the checks that what came back is what was pushed."""

import time
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import Executor
from functools import partial

from bench.content import MANIFEST, Blob, Image, digest_of
from bench.load import Load, clients, has_wrk, repeat, wrk
from bench.servers import Server
from bench.wire import Connection, Wrong, chunked, request

ACCEPT = ("Accept", MANIFEST)
_BYTES = ("Content-Type", "application/octet-stream")

Pusher = Callable[[Connection, str, Blob], None]


def _begin(connection: Connection, name: str) -> str:
    return connection.ask("POST", f"/v2/{name}/blobs/uploads/").want(202).location()


def _finish(connection: Connection, location: str, blob: Blob, *body: bytes) -> None:
    join = "&" if "?" in location else "?"
    connection.ask("PUT", f"{location}{join}digest={blob.digest}", (_BYTES,), *body).want(201)


def push_patch(connection: Connection, name: str, blob: Blob) -> None:
    """POST, PATCH with Content-Length, PUT."""
    patched = connection.ask("PATCH", _begin(connection, name), (_BYTES,), blob.shared, blob.own).want(202)
    _finish(connection, patched.location(), blob)


def push_put(connection: Connection, name: str, blob: Blob) -> None:
    """POST, PUT with the whole body."""
    _finish(connection, _begin(connection, name), blob, blob.shared, blob.own)


def chunked_pusher(like: Blob) -> Pusher:
    """POST, PATCH in chunks of 32 KiB, PUT; what all blobs of this size share is framed beforehand."""
    shared = chunked(like.shared)

    def push(connection: Connection, name: str, blob: Blob) -> None:
        body = (shared, chunked(blob.own), chunked(b""))
        patched = connection.ask_in_chunks("PATCH", _begin(connection, name), (_BYTES,), *body).want(202)
        _finish(connection, patched.location(), blob)

    return push


def push_image(connection: Connection, name: str, tag: str, image: Image, push: Pusher = push_patch) -> None:
    """HEAD, then `push` for every blob that is not there, then the manifest.

    Docker's own store sends POST, PATCH, PUT, as crane does; containerd, in Docker as well, sends POST, PUT.
    """
    push_missing(connection, name, image.blobs, push)
    push_manifest(connection, name, tag, image.manifest)


def push_missing(connection: Connection, name: str, blobs: Iterable[Blob], push: Pusher) -> None:
    for blob in blobs:
        answer = connection.ask("HEAD", f"/v2/{name}/blobs/{blob.digest}")
        if answer.status != 200:
            answer.want(404)
            push(connection, name, blob)


def push_at_once(pool: Executor, connections: Sequence[Connection], name: str, tag: str, image: Image) -> None:
    """The layers of an image over several connections, as docker, podman and crane do; then the config and manifest."""
    config, *layers = image.blobs
    sent = [
        pool.submit(push_missing, each, name, layers[at :: len(connections)], push_patch)
        for at, each in enumerate(connections)
    ]
    for one in sent:
        one.result()
    push_missing(connections[0], name, [config], push_patch)
    push_manifest(connections[0], name, tag, image.manifest)


def push_mounting(connection: Connection, name: str, tag: str, image: Image) -> None:
    """Ask for every blob as one that some repository has, which is not named; send what is not given."""
    for blob in image.blobs:
        answer = connection.ask("POST", f"/v2/{name}/blobs/uploads/?mount={blob.digest}")
        if answer.status != 201:
            _finish(connection, answer.want(202).location(), blob, blob.shared, blob.own)
    push_manifest(connection, name, tag, image.manifest)


def push_manifest(connection: Connection, name: str, tag: str, manifest: bytes) -> None:
    connection.ask("PUT", f"/v2/{name}/manifests/{tag}", (("Content-Type", MANIFEST),), manifest).want(201)


def check_blob(connection: Connection, name: str, blob: Blob) -> None:
    """Raises Wrong unless the blob comes back byte for byte."""
    got = connection.ask("GET", f"/v2/{name}/blobs/{blob.digest}").want(200).body
    if len(got) != blob.size or digest_of(got) != blob.digest:
        raise Wrong(f"the blob {blob.digest} comes back with other bytes")


def check_manifest(connection: Connection, name: str, tag: str, manifest: bytes) -> None:
    """Raises Wrong unless the manifest comes back byte for byte."""
    answer = connection.ask("GET", f"/v2/{name}/manifests/{tag}", (ACCEPT,)).want(200)
    if answer.body != manifest or answer.headers["docker-content-digest"] != digest_of(manifest):
        raise Wrong(f"the manifest {name}:{tag} comes back with other bytes")


def small_gets(
    server: Server, target: str, length: int, connections: int, seconds: int, *, headers: Sequence[tuple[str, str]] = ()
) -> Callable[[], Load]:
    """The same small GET over and over: by wrk where it is installed, else by a client in Python."""
    headers = (*headers, *server.authorization(target))
    if has_wrk():
        return partial(wrk, server.port, target, headers, connections, seconds)
    return partial(repeat, server.port, request("GET", target, server.port, headers), length, connections, seconds)


def gets(server: Server, target: str, wanted: bytes, seconds: float) -> Callable[[], Load]:
    """The same GET over one connection, at least once: for answers that may take longer than a sample."""

    def client() -> float:
        stop, done = time.monotonic() + seconds, 0
        with server.connect() as connection:
            while not done or time.monotonic() < stop:
                if connection.ask("GET", target).want(200).body != wanted:
                    raise Wrong(f"{target} is answered in two ways")
                done += 1
        return done

    return lambda: clients([client])
