"""Pulling what is there: manifests, a small blob, a large one."""

from functools import partial

from bench.content import Blobs, new_image
from bench.load import Load, clients, repeat
from bench.rounds import Sample, Stage, Unit, Workload, measure
from bench.servers import Server
from bench.wire import request
from bench.workloads.scale import GIB, Scale
from bench.workloads.verbs import ACCEPT, check_blob, check_manifest, push_image, push_patch, small_gets

_NAME = "acme/app"
_WARM_SECONDS = 0.3


def pull(scale: Scale) -> Stage:
    image = new_image()
    small, large = Blobs(1024).new(), Blobs(scale.blob).new()
    manifest = f"/v2/{_NAME}/manifests/1.0"
    blob, bulk = f"/v2/{_NAME}/blobs/{small.digest}", f"/v2/{_NAME}/blobs/{large.digest}"

    def prepare(server: Server) -> None:
        if server.peer.files_only:
            file = server.data / bulk.removeprefix("/")
            file.parent.mkdir(parents=True)
            file.write_bytes(large.shared + large.own)
            return
        with server.connect() as connection:
            push_image(connection, _NAME, "1.0", image)
            for one in (small, large):
                push_patch(connection, _NAME, one)
        check(server)
        for target, length in ((manifest, len(image.manifest)), (blob, small.size)):
            headers = (ACCEPT, *server.authorization(target))
            repeat(server.port, request("GET", target, server.port, headers), length, 8, _WARM_SECONDS)

    def check(server: Server) -> None:
        with server.connect() as connection:
            check_manifest(connection, _NAME, "1.0", image.manifest)
            check_blob(connection, _NAME, small)

    def get(target: str, length: int, connections: int, server: Server, _: int) -> Sample:
        sample = measure(server, small_gets(server, target, length, connections, scale.seconds, headers=(ACCEPT,)))
        check(server)
        return sample

    def head(server: Server, _: int) -> Sample:
        asked = request("HEAD", manifest, server.port, (ACCEPT, *server.authorization(manifest)))
        return measure(server, partial(repeat, server.port, asked, 0, 8, scale.seconds))

    def get_large(connections: int, server: Server, _: int, *, part: int | None = None) -> Sample:
        headers = (("Range", f"bytes={large.size - part}-"),) if part else ()

        def client() -> float:
            with server.connect() as connection:
                return sum(connection.discard(bulk, headers) for _ in range(scale.pulls // connections or 1)) / GIB

        def load() -> Load:
            return clients([client] * connections)

        sample = measure(server, load)
        with server.connect() as connection:
            check_blob(connection, _NAME, large)
        return sample

    size = len(image.manifest)
    megabytes = f"{scale.blob >> 20} MiB"
    return Stage(
        "pull",
        [
            Workload("GET manifest by tag, 8 connections", Unit.MICROSECONDS, partial(get, manifest, size, 8)),
            Workload("GET manifest by tag, 1 connection", Unit.MICROSECONDS, partial(get, manifest, size, 1)),
            Workload("HEAD manifest by tag, 8 connections", Unit.MICROSECONDS, head),
            Workload("GET blob of 1 KiB, 8 connections", Unit.MICROSECONDS, partial(get, blob, small.size, 8)),
            *(
                Workload(f"GET blob of {megabytes}, {named}", Unit.PER_GIB, run, files=True)
                for named, run in (
                    ("1 connection", partial(get_large, 1)),
                    ("8 connections", partial(get_large, 8)),
                    ("by Range", partial(get_large, 1, part=large.size - 1000)),
                )
            ),
        ],
        prepare,
    )
