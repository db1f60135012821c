"""Pushing bytes that are not there yet: large blobs in three ways, and whole small images."""

import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from functools import partial
from typing import Final

from bench.content import Blobs, Image, new_image
from bench.load import Load, clients
from bench.rounds import Sample, Stage, Unit, Workload, measure, touch_memory
from bench.servers import Server
from bench.workloads.crane import crane_push, has_crane, lay_out
from bench.workloads.scale import GIB, Scale
from bench.workloads.verbs import (
    Pusher,
    check_blob,
    check_manifest,
    chunked_pusher,
    push_at_once,
    push_image,
    push_patch,
    push_put,
)

_AT_ONCE: Final = 5
"""Layers that Docker uploads at a time, unless it is told otherwise (`max-concurrent-uploads`)."""


def push(scale: Scale) -> Stage:
    blobs = Blobs(scale.blob)
    in_chunks = chunked_pusher(blobs.new())

    def prepare(server: Server) -> None:
        with server.connect() as connection:
            for pusher in (push_patch, in_chunks, push_put):
                blob = blobs.new()
                pusher(connection, "warm/up", blob)
                check_blob(connection, "warm/up", blob)
            push_image(connection, "warm/up", "1", new_image())

    def push_large(pusher: Pusher, server: Server, _: int) -> Sample:
        pushed = [blobs.new() for _ in range(scale.pushes)]

        def client() -> float:
            with server.connect() as connection:
                for blob in pushed:
                    pusher(connection, "acme/large", blob)
            return sum(blob.size for blob in pushed) / GIB

        touch_memory(2 * scale.pushes * scale.blob)
        server.authorization("/v2/acme/large/blobs/")
        sample = measure(server, lambda: clients([client]))
        with server.connect() as connection:
            check_blob(connection, "acme/large", pushed[-1])
        return sample

    def push_images(push: Callable[[Server, Sequence[Image]], None], server: Server, _: int) -> Sample:
        images = [new_image() for _ in range(scale.images)]
        for at in range(len(images)):
            server.authorization(f"/v2/acme/app-{at}/blobs/")

        def client() -> float:
            push(server, images)
            return len(images)

        sample = measure(server, lambda: clients([client]))
        with server.connect() as connection:
            check_manifest(connection, f"acme/app-{len(images) - 1}", "1.0", images[-1].manifest)
            check_blob(connection, f"acme/app-{len(images) - 1}", images[-1].blobs[-1])
        return sample

    def push_by_crane(server: Server, number: int) -> Sample:
        images = [new_image() for _ in range(scale.images)]
        for at, image in enumerate(images):
            lay_out(server.folder / f"layout-{at}", image)

        def load() -> Load:
            began = time.monotonic()
            for at in range(len(images)):
                crane_push(
                    server, server.folder / f"layout-{at}", f"127.0.0.1:{server.port}/acme/crane-{number}-{at}:1.0"
                )
            return Load(len(images), time.monotonic() - began, 0.0, 0.0)

        sample = measure(server, load)
        with server.connect() as connection:
            check_manifest(connection, f"acme/crane-{number}-0", "1.0", images[0].manifest)
        return sample

    small = "push an image of 10 layers of 1 KiB"
    ends = "from its start to its end"
    megabytes = f"{scale.blob >> 20} MiB"
    return Stage(
        "push",
        [
            Workload(f"push {megabytes}, PATCH with its length", Unit.PER_GIB, partial(push_large, push_patch)),
            Workload(f"push {megabytes}, PATCH in chunks", Unit.PER_GIB, partial(push_large, in_chunks)),
            Workload(f"push {megabytes}, PUT in one", Unit.PER_GIB, partial(push_large, push_put)),
            Workload(small, Unit.MILLISECONDS, partial(push_images, layer_by_layer)),
            Workload(f"{small}: {ends}", Unit.START, partial(push_images, layer_by_layer)),
            Workload(
                f"{small}, {_AT_ONCE} at a time as Docker does: {ends}", Unit.START, partial(push_images, at_once)
            ),
            Workload(f"{small}, as containerd does: {ends}", Unit.START, partial(push_images, without_patch)),
            *([Workload(f"{small}, by crane: {ends}", Unit.START, push_by_crane)] if has_crane() else []),
        ],
        prepare,
        fresh=True,
    )


def layer_by_layer(server: Server, images: Sequence[Image], push: Pusher = push_patch) -> None:
    with server.connect() as connection:
        for at, image in enumerate(images):
            push_image(connection, f"acme/app-{at}", "1.0", image, push)


def without_patch(server: Server, images: Sequence[Image]) -> None:
    layer_by_layer(server, images, push_put)


def at_once(server: Server, images: Sequence[Image]) -> None:
    with ExitStack() as stack, ThreadPoolExecutor(_AT_ONCE) as pool:
        connections = [stack.enter_context(server.connect()) for _ in range(_AT_ONCE)]
        for at, image in enumerate(images):
            push_at_once(pool, connections, f"acme/app-{at}", "1.0", image)
