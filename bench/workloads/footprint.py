"""What a registry costs that does nothing."""

import time

from bench import usage
from bench.rounds import Sample, Stage, Unit, Workload
from bench.servers import Server

_IDLE_SECONDS = 1.0


def footprint() -> Stage:
    def began(server: Server, _: int) -> Sample:
        return Sample(
            1, usage.cpu_seconds(server.pid), server.start_seconds, usage.peak_bytes(server.pid), _resident(server)
        )

    def idle(server: Server, _: int) -> Sample:
        before = usage.cpu_seconds(server.pid)
        time.sleep(_IDLE_SECONDS)
        cpu = usage.cpu_seconds(server.pid) - before
        return Sample(1, cpu, _IDLE_SECONDS, usage.peak_bytes(server.pid), _resident(server))

    def again(server: Server, number: int) -> Sample:
        server.restart()
        return began(server, number)

    return Stage(
        "footprint",
        [
            Workload("first start, to its first answer", Unit.START, began),
            Workload("idle memory (RSS)", Unit.IDLE, idle),
            Workload("a later start, to its first answer", Unit.START, again),
        ],
        fresh=True,
    )


def _resident(server: Server) -> int:
    return usage.resident_bytes(server.pid)
