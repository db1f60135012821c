"""What is measured, in the order of the table."""

from bench.rounds import Stage
from bench.workloads.access import access
from bench.workloads.catalog import catalogs
from bench.workloads.collection import collection
from bench.workloads.crowd import crowd
from bench.workloads.durability import durability
from bench.workloads.footprint import footprint
from bench.workloads.pull import pull
from bench.workloads.push import push
from bench.workloads.rate import rate
from bench.workloads.referrers import referrers
from bench.workloads.reuse import reuse
from bench.workloads.scale import Scale
from bench.workloads.tags import tags

__all__ = ["Scale", "stages"]


def stages(scale: Scale) -> list[Stage]:
    return [
        pull(scale),
        rate(scale),
        push(scale),
        tags(scale),
        *catalogs(scale),
        referrers(scale),
        collection(scale),
        reuse(),
        durability(),
        footprint(),
        crowd(scale),
        access(scale),
    ]
