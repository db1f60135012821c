"""Pushing what is there already: how much a client has to ask, and how many bytes of blobs it sends."""

from collections.abc import Callable
from functools import partial

from bench.content import Image, new_image
from bench.relay import Relay, relay
from bench.rounds import Sample, Stage, Unit, Workload
from bench.servers import Server
from bench.wire import Connection
from bench.workloads.crane import crane_push, has_crane, lay_out
from bench.workloads.verbs import check_blob, check_manifest, push_image, push_mounting


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
    lay_out(layout, image)
    for _ in range(2):
        with relay(server.port) as counted:
            crane_push(server, layout, f"127.0.0.1:{counted.port}/acme/again:1.0")
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
