"""What is counted of every exchange: one look-up and four additions, made into metrics when somebody reads them."""

from bisect import bisect_left
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import accumulate
from typing import Any, Final

from moorage.telemetry.metrics import FAST, Collected


@dataclass(slots=True)
class _Sum:
    """Exchanges of one method, route and status: how many, bytes of their bodies, seconds, and seconds by bound."""

    count: int = 0
    size: int = 0
    seconds: float = 0.0
    within: list[int] = field(default_factory=lambda: [0] * (len(FAST) + 1))


class Exchanges:
    """Every exchange since the start.  Make one for a process: its metrics are the process's own."""

    def __init__(self) -> None:
        self._sums: dict[tuple[str, str, int], _Sum] = {}
        Collected(
            "Counter", "registry_http_requests", "Requests answered.", ("method", "route", "status"), self._counts
        )
        Collected(
            "Histogram",
            "registry_http_request_duration_seconds",
            "Time to the end of the answer.",
            ("method", "route"),
            self._times,
        )
        Collected("Counter", "registry_http_response_size_bytes", "Bytes of bodies sent.", ("route",), self._sizes)

    def add(self, method: str, route: str, status: int, size: int, seconds: float) -> None:
        """Count one; the names are of small fixed sets."""
        one = self._sums.get((method, route, status))
        if one is None:
            one = self._sums[method, route, status] = _Sum()
        one.count += 1
        one.size += size
        one.seconds += seconds
        one.within[bisect_left(FAST, seconds)] += 1

    def _counts(self, family: Any) -> None:
        for (method, route, status), one in self._now():
            family.add_metric((method, route, str(status)), one.count)

    def _sizes(self, family: Any) -> None:
        sizes: dict[str, int] = {}
        for (_, route, _), one in self._now():
            sizes[route] = sizes.get(route, 0) + one.size
        for route, size in sizes.items():
            family.add_metric((route,), size)

    def _times(self, family: Any) -> None:
        together: dict[tuple[str, str], _Sum] = {}
        for (method, route, _), one in self._now():
            whole = together.setdefault((method, route), _Sum())
            whole.seconds += one.seconds
            whole.within = [a + b for a, b in zip(whole.within, one.within, strict=True)]
        for labels, one in together.items():
            counts = accumulate(one.within)
            family.add_metric(labels, list(zip(_BOUNDS, counts, strict=True)), one.seconds)

    def _now(self) -> Iterator[tuple[tuple[str, str, int], _Sum]]:
        # Asked for by another thread, perhaps, while exchanges go on.
        return iter(list(self._sums.items()))


_BOUNDS: Final = (*map(str, FAST), "+Inf")
