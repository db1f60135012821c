"""What refers to one image, in a small repository and in a large one."""

import json
from functools import partial

from bench.content import digest_of, new_image
from bench.rounds import Sample, Stage, Unit, Workload, measure
from bench.seeds.rows import Manifest, manifests
from bench.servers import PEERS, Server
from bench.wire import Wrong
from bench.workloads.scale import Scale
from bench.workloads.verbs import gets, push_image, push_manifest

_REFERRERS = 4
"""Of the one image that is asked about: a signature, lists of what is in it, an attestation."""
_SMALL = 10
"""The manifests of the small repository."""


def referrers(scale: Scale) -> Stage:
    image = new_image(layers=1)
    subject = image.manifest
    own = [image.referrer(subject, at) for at in range(_REFERRERS)]
    target = f"referrers/{digest_of(subject)}"

    def name(size: int) -> str:
        return f"acme/of-{size}"

    def others(size: int) -> list[Manifest]:
        """Images with a signature each, until there are `size` manifests."""
        made = []
        for at in range((size - 1 - _REFERRERS) // 2):
            other = image.sibling(_REFERRERS + at)
            signature = image.referrer(other, at)
            made.append(Manifest(digest_of(subject), digest_of(other), other))
            made.append(Manifest(digest_of(own[0]), digest_of(signature), signature, digest_of(other)))
        return made

    def prepare(server: Server) -> None:
        with server.connect() as connection:
            for size in (_SMALL, scale.manifests):
                push_image(connection, name(size), "seed", image)
                for one in own:
                    push_manifest(connection, name(size), digest_of(one), one)
        server.stop()
        for size in (_SMALL, scale.manifests):
            manifests(server.data, name(size), others(size))
        server.restart()

    def asked(size: int, server: Server, _: int) -> Sample:
        with server.connect() as connection:
            body = connection.ask("GET", f"/v2/{name(size)}/{target}").want(200).body
        got = {one["digest"] for one in json.loads(body)["manifests"]}
        if got != {digest_of(one) for one in own}:
            raise Wrong(f"{len(got)} manifests refer to the image, or others than were pushed")
        return measure(server, gets(server, f"/v2/{name(size)}/{target}", body, scale.seconds))

    return Stage(
        "referrers",
        [
            Workload(
                f"{_REFERRERS} referrers of an image, in a repository of {size:,} manifests",
                Unit.MICROSECONDS,
                partial(asked, size),
                frozenset({PEERS[0].name}),
            )
            for size in (_SMALL, scale.manifests)
        ],
        prepare,
    )
