"""Metrics: what Prometheus reads, in a registry of our own.

The library is imported when the first number is counted, and a label's child is looked up in a dictionary
instead of through its lock.  Label values come from small fixed sets (a route's template, never a
repository's name), or memory would grow with what clients ask for.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import cache
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from prometheus_client import CollectorRegistry, Metric

FAST: Final = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0)
"""Seconds; from a manifest out of the cache to a large layer over a slow line."""


@cache
def _registry() -> "CollectorRegistry":
    import prometheus_client

    prometheus_client.disable_created_metrics()  # type: ignore[no-untyped-call]
    registry = prometheus_client.CollectorRegistry()
    prometheus_client.ProcessCollector(registry=registry)
    return registry


_families: Final[dict[str, "_Family"]] = {}


class _Family:
    """One metric with its children, one per combination of label values."""

    def __init__(self, kind: str, name: str, text: str, labels: Sequence[str], **options: Any) -> None:
        if name in _families:
            raise ValueError(f"the metric {name} is declared twice")
        self.shape = (kind, name, text, tuple(labels))
        self._options = options
        self._family: Any = None
        self._children: dict[tuple[str | int, ...], Any] = {}
        _families[name] = self

    def family(self) -> Any:
        if self._family is None:
            import prometheus_client

            kind, name, text, labels = self.shape
            self._family = getattr(prometheus_client, kind)(name, text, labels, registry=_registry(), **self._options)
        return self._family

    def child(self, labels: tuple[str | int, ...]) -> Any:
        try:
            return self._children[labels]
        except KeyError:
            family = self.family()
            child = self._children[labels] = family.labels(*labels) if labels else family
            return child


class Counter(_Family):
    def add(self, *labels: str | int, amount: float = 1) -> None:
        self.child(labels).inc(amount)


class Gauge(_Family):
    def set(self, value: float, *labels: str | int) -> None:
        self.child(labels).set(value)

    def add(self, *labels: str | int, amount: float = 1) -> None:
        self.child(labels).inc(amount)

    def read_from(self, source: Callable[[], float], *labels: str | int) -> None:
        """Asks `source` whenever the metrics are read."""
        self.child(labels).set_function(source)


class Histogram(_Family):
    def observe(self, value: float, *labels: str | int) -> None:
        self.child(labels).observe(value)


class Collected(_Family):
    """A counter or histogram whose numbers are kept elsewhere, and asked for when the metrics are read.

    `fill` is handed a family of prometheus_client's to add its numbers to.
    """

    def __init__(self, kind: str, name: str, text: str, labels: Sequence[str], fill: Callable[[Any], None]) -> None:
        super().__init__(kind, name, text, labels)
        self._fill = fill

    def family(self) -> Any:
        if self._family is None:
            _registry().register(self)
            self._family = self
        return self._family

    def collect(self) -> Iterator[Any]:
        """As prometheus_client asks a collector."""
        from prometheus_client import core

        kind, name, text, labels = self.shape
        made = getattr(core, f"{kind}MetricFamily")(name, text, labels=labels)
        self._fill(made)
        yield made


def counter(name: str, text: str, labels: Sequence[str] = ()) -> Counter:
    """A number that only grows; it is shown with `_total` behind its name."""
    return Counter("Counter", name, text, labels)


def gauge(name: str, text: str, labels: Sequence[str] = ()) -> Gauge:
    """A number that goes up and down."""
    return Gauge("Gauge", name, text, labels)


def histogram(name: str, text: str, labels: Sequence[str] = (), buckets: Sequence[float] = FAST) -> Histogram:
    """How often a value stayed below each bound; its name ends in its unit, `_seconds` or `_bytes`."""
    return Histogram("Histogram", name, text, labels, buckets=tuple(buckets))


def collected() -> "Iterable[Metric]":
    """All metrics of this process, as prometheus_client has them."""
    return _complete().collect()


def exposition() -> tuple[bytes, str]:
    """All metrics as Prometheus reads them, and their media type."""
    import prometheus_client

    return prometheus_client.generate_latest(_complete()), prometheus_client.CONTENT_TYPE_LATEST


def _complete() -> "CollectorRegistry":
    """The registry with every metric in it, whether anything was counted or not."""
    for family in list(_families.values()):
        family.family()
    return _registry()
