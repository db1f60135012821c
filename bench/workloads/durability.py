"""What a 201 costs the disk: every peer's syncs for one image, whatever they are worth there."""

from typing import Final

from bench.calls import counting, has_strace
from bench.content import new_image
from bench.rounds import Sample, Stage, Unit, Workload
from bench.servers import Server
from bench.workloads.verbs import check_manifest, push_image, push_manifest

_FIRST: Final = 18
"""Tags after which each of our connections has synced once, if the disk is quick, and no log is full."""


def sync_first(server: Server) -> None:
    """Have done what only the first syncs of a server do: they make the name of its log durable too."""
    image = new_image()
    server.authorization("/v2/acme/first/blobs/")
    with server.connect() as connection:
        push_image(connection, "acme/first", "1.0", image)
        for number in range(_FIRST):
            push_manifest(connection, "acme/first", str(number), image.manifest)


def durability() -> Stage:
    def pushed(server: Server, size: int) -> Sample:
        image = new_image(size=size)
        server.authorization(f"/v2/acme/app-{size}/blobs/")
        with counting(server.pid, server.folder) as count, server.connect() as connection:
            push_image(connection, f"acme/app-{size}", "1.0", image)
        with server.connect() as connection:
            check_manifest(connection, f"acme/app-{size}", "1.0", image.manifest)
        return Sample(1, 0, 0, 0, 0, amount=count().total())

    def small(server: Server, _: int) -> Sample:
        return pushed(server, 1024)

    def larger(server: Server, _: int) -> Sample:
        return pushed(server, 64 * 1024)

    def again(server: Server, _: int) -> Sample:
        image = new_image()
        with server.connect() as connection:
            push_image(connection, "acme/again", "1.0", image)
        with counting(server.pid, server.folder) as count, server.connect() as connection:
            for blob in image.blobs:
                connection.ask("HEAD", f"/v2/acme/again/blobs/{blob.digest}").want(200)
            push_manifest(connection, "acme/again", "1.0", image.manifest)
        return Sample(1, 0, 0, 0, 0, amount=count().total())

    workloads = [
        Workload("syncs: an image of 10 layers of 1 KiB", Unit.SYNCS, small),
        Workload("syncs: an image of 10 layers of 64 KiB", Unit.SYNCS, larger),
        Workload("syncs: the same image once more", Unit.SYNCS, again),
    ]
    return Stage("durability", workloads if has_strace() else [], sync_first, fresh=True, rounds=1)
