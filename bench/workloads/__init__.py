"""What is measured, in the order of the table."""

from bench.rounds import Stage
from bench.workloads.access import access
from bench.workloads.crowd import crowd
from bench.workloads.durability import durability
from bench.workloads.footprint import footprint
from bench.workloads.pull import pull
from bench.workloads.push import push
from bench.workloads.scale import Scale
from bench.workloads.tags import tags
from bench.workloads.workers import workers

__all__ = ["Scale", "stages"]


def stages(scale: Scale) -> list[Stage]:
    return [
        pull(scale),
        push(scale),
        tags(scale),
        durability(),
        footprint(),
        crowd(scale),
        access(scale),
        workers(scale),
    ]
