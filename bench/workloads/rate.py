"""How many small pulls a second, with as many processes as there are cores for the server and its clients."""

from dataclasses import replace

from bench.content import new_image
from bench.load import has_wrk
from bench.rounds import Sample, Stage, Unit, Workload, measure
from bench.servers import PEERS, Server
from bench.workloads.scale import Scale
from bench.workloads.verbs import ACCEPT, check_manifest, push_image, small_gets

_NAME = "acme/app"
_TARGET = f"/v2/{_NAME}/manifests/1.0"
_WORKERS = 2
_CONNECTIONS = 16


def rate(scale: Scale) -> Stage:
    image = new_image()

    def prepare(server: Server) -> None:
        if server.peer.name == PEERS[0].name:
            server.restart(replace(server.peer, command=(*server.peer.command, "--workers", str(_WORKERS))))
        with server.connect() as connection:
            push_image(connection, _NAME, "1.0", image)

    def get(server: Server, _: int) -> Sample:
        length = len(image.manifest)
        load = small_gets(server, _TARGET, length, _CONNECTIONS, scale.seconds, headers=(ACCEPT,))
        sample = measure(server, load)
        with server.connect() as connection:
            check_manifest(connection, _NAME, "1.0", image.manifest)
        return sample

    title = f"GET manifest by tag, {_CONNECTIONS} connections, {_WORKERS} workers of ours"
    return Stage("rate", [Workload(title, Unit.RATE, get)] if has_wrk() else [], prepare)
