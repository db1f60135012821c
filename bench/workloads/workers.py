"""How fast small answers come when every core may work at them: wall time, not CPU."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace

from bench.content import new_image
from bench.load import repeat
from bench.rounds import Sample, Stage, Unit, Workload, measure
from bench.servers import Server, start
from bench.wire import request
from bench.workloads.scale import Scale
from bench.workloads.verbs import ACCEPT, check_manifest, push_image, small_gets

_NAME = "acme/app"
_TARGET = f"/v2/{_NAME}/manifests/1.0"
_CONNECTIONS = 32
_WARM_SECONDS = 0.3


def workers(scale: Scale) -> Stage:
    image = new_image()
    size = len(image.manifest)

    def prepare(server: Server) -> Server:
        with server.connect() as connection:
            push_image(connection, _NAME, "1.0", image)
        headers = (ACCEPT, *server.authorization(_TARGET))
        repeat(server.port, request("GET", _TARGET, server.port, headers), size, _CONNECTIONS, _WARM_SECONDS)
        return server

    def get(server: Server, _: int) -> Sample:
        sample = measure(server, small_gets(server, _TARGET, size, _CONNECTIONS, scale.seconds, headers=(ACCEPT,)))
        with server.connect() as connection:
            check_manifest(connection, _NAME, "1.0", image.manifest)
        return sample

    def get_from_all(server: Server, number: int) -> Sample:
        with _on_every_core(server) as another:
            return get(prepare(another), number)

    title = f"GET manifest by tag, {_CONNECTIONS} connections"
    return Stage(
        "workers",
        [
            Workload(f"{title}, wall time", Unit.WALL, get),
            Workload(f"{title}, wall time, a worker for each core", Unit.WALL, get_from_all),
        ],
        prepare,
    )


@contextmanager
def _on_every_core(server: Server) -> Iterator[Server]:
    """Another server of the same kind, told to use all cores where it has to be told."""
    peer = replace(server.peer, environment={**server.peer.environment, **server.peer.all_cores})
    another = start(peer, server.folder / "all-cores")
    try:
        yield another
    finally:
        another.discard()
