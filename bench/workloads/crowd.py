"""Many clients push and pull large blobs at once: what matters is how much memory that takes."""

from bench.content import Blobs
from bench.load import clients
from bench.rounds import Sample, Stage, Unit, Workload, measure
from bench.servers import Server
from bench.workloads.scale import Scale
from bench.workloads.verbs import check_blob, push_patch

_NAME = "acme/crowd"


def crowd(scale: Scale) -> Stage:
    blobs = Blobs(scale.crowd_blob)
    pulled = blobs.new()
    half = scale.crowd // 2

    def prepare(server: Server) -> None:
        with server.connect() as connection:
            push_patch(connection, _NAME, pulled)

    def run(server: Server, _: int) -> Sample:
        pushed = [blobs.new() for _ in range(half)]

        def pusher(number: int) -> float:
            with server.connect() as connection:
                push_patch(connection, _NAME, pushed[number])
            return 0.5 / half

        def puller() -> float:
            with server.connect() as connection:
                connection.discard(f"/v2/{_NAME}/blobs/{pulled.digest}")
            return 0.5 / half

        crews = ([lambda at=at: pusher(at) for at in range(half)], [puller] * half)
        sample = measure(server, lambda: clients(*crews))
        with server.connect() as connection:
            check_blob(connection, _NAME, pushed[0])
        return sample

    size = f"{scale.crowd_blob >> 20} MiB"
    title = f"peak memory (RSS): {half} clients push {size} while {half} pull them"
    return Stage("crowd", [Workload(title, Unit.PEAK, run)], prepare, fresh=True, rounds=1)
