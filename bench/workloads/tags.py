"""Repositories with many tags: one more, and a page of their list."""

import json
from functools import partial

from bench.content import new_image
from bench.load import clients
from bench.rounds import Sample, Stage, Unit, Workload, measure
from bench.servers import PEERS, Server
from bench.wire import Wrong
from bench.workloads.scale import Scale
from bench.workloads.verbs import check_manifest, gets, push_image, push_manifest

_PAGE = 100
_US = frozenset({PEERS[0].name})
_SEEDED = frozenset(peer.name for peer in PEERS if peer.seeds is not None)
_LISTED = (10_000, 100_000)
"""How many tags repositories have whose pages are asked for."""
_PUSHED = 1_000
"""Up to so many tags everybody gets, if need be by pushing each."""


def tags(scale: Scale) -> Stage:
    image = new_image()
    takers = {
        size: None if size <= _PUSHED else _SEEDED if size <= scale.shared else _US for size in scale.repositories
    }

    def name(size: int) -> str:
        return f"acme/with-{size}"

    def tag(number: int) -> str:
        return f"t{number:07}"

    def prepare(server: Server) -> None:
        mine = [size for size, names in takers.items() if names is None or server.peer.name in names]
        seeds = server.peer.seeds
        with server.connect() as connection:
            for size in mine:
                push_image(connection, name(size), "seed", image)
                for number in range(1, size if seeds is None else 0):
                    push_manifest(connection, name(size), tag(number), image.manifest)
        if seeds is not None:
            server.stop()
            for size in mine:
                seeds.tags(server.data, name(size), [tag(number) for number in range(1, size)])
            server.restart()
        with server.connect() as connection:
            for size in mine:
                check_manifest(connection, name(size), tag(size - 1) if size > 1 else "seed", image.manifest)

    def push_tags(size: int, server: Server, number: int) -> Sample:
        images = [image.sibling(number * scale.tags + at) for at in range(scale.tags)]

        def client() -> float:
            with server.connect() as connection:
                for at, manifest in enumerate(images):
                    push_manifest(connection, name(size), f"v{number}.{at}", manifest)
            return len(images)

        sample = measure(server, lambda: clients([client]))
        with server.connect() as connection:
            check_manifest(connection, name(size), f"v{number}.{scale.tags - 1}", images[-1])
        return sample

    def list_tags(size: int, after: int, server: Server, _: int) -> Sample:
        target = f"/v2/{name(size)}/tags/list?n={_PAGE}" + (f"&last={tag(after)}" if after else "")
        with server.connect() as connection:
            body = connection.ask("GET", target).want(200).body
        page = [tag(after + 1 + at) for at in range(_PAGE)]
        wanted = page if after else ["seed", *page[:-1]]
        got = json.loads(body)["tags"]
        # Docker Registry 2.8 knows no pages: it gives everything, in any order, and that is its answer.
        whole = len(got) >= size and set(wanted) <= set(got)
        if got != wanted and not whole:
            raise Wrong(f"the page behind tag {after} of {size} is {got[:3]} …, {len(got)} tags")
        return measure(server, gets(server, target, body, scale.seconds))

    def titled(size: int) -> str:
        return "a new repository" if size == 1 else f"a repository of {size:,} tags"

    listed = [size for size in scale.repositories if _LISTED[0] <= size <= _LISTED[1]] or scale.repositories[-1:]
    return Stage(
        "tags",
        [
            *(
                Workload(f"push a tag to {titled(size)}", Unit.MICROSECONDS, partial(push_tags, size), takers[size])
                for size in scale.repositories
            ),
            *(
                Workload(
                    f"list {_PAGE} of {size:,} tags, the {which} page",
                    Unit.MICROSECONDS,
                    partial(list_tags, size, after),
                    takers[size],
                )
                for size in listed
                for which, after in (("first", 0), ("middle", size // 2), ("last", size - 1 - _PAGE))
            ),
        ],
        prepare,
    )
