"""The metrics of several processes as one: each writes down what it has counted, and whoever is asked adds it up.

    numbers of worker 0 │ of worker 1 │ … │ of those who are gone        files in memory that all of them inherit

Counters and histograms are added up, of a gauge the largest value is shown, and what is said of a process itself
(`process_*`) bears the label `worker`.
"""

import json
import os
import struct
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from threading import Lock
from typing import Any, Final

from moorage.telemetry.metrics import collected

RHYTHM: Final = 5.0
"""Seconds between two writings, which take some milliseconds each."""

_HEAD: Final = struct.Struct("<QQ")
"""Where the newest numbers lie and how many bytes they have.  Written last: who is killed before leaves the older."""

_PLACES: Final = (4096, 1 << 30)
"""They are written by turns to either; what lies between takes no memory."""

_OWN: Final = "process_"

Sample = tuple[str, tuple[tuple[str, str], ...]]
"""A sample's name and its labels."""


@dataclass(slots=True)
class _Family:
    kind: str
    text: str
    samples: dict[Sample, float] = field(default_factory=dict)


class Tallies:
    """The numbers of `count` processes.  Make it before they are forked."""

    def __init__(self, count: int) -> None:
        self._files = [os.memfd_create(f"tally-{number}", os.MFD_CLOEXEC) for number in range(count + 1)]
        self._turn = Lock()

    def put(self, number: int) -> None:
        """Write down what this process, of this number, has counted."""
        families: dict[str, _Family] = {}
        _add(families, collected(), number)
        with self._turn:
            _write(self._files[number], families)

    def bury(self, number: int) -> None:
        """The process of this number is gone: keep what it had counted, and forget what it was."""
        gone = self._read(len(self._files) - 1)
        for name, family in self._read(number).items():
            if family.kind != "gauge" and not name.startswith(_OWN):
                _merge(gone, name, family)
        _write(self._files[-1], gone)
        _write(self._files[number], {})

    def exposition(self, number: int) -> tuple[bytes, str]:
        """The metrics of all as Prometheus reads them, and their media type; asked in the process of this number."""
        import prometheus_client

        self.put(number)  # what is shown is kept, whatever happens to this process: or counters would go back
        whole: dict[str, _Family] = {}
        for each in range(len(self._files)):
            for name, family in self._read(each).items():
                _merge(whole, name, family)
        content = prometheus_client.generate_latest(_Shown(whole))
        return content, prometheus_client.CONTENT_TYPE_LATEST

    def _read(self, number: int) -> dict[str, _Family]:
        file = self._files[number]
        head = os.pread(file, _HEAD.size, 0)
        if len(head) < _HEAD.size:
            return {}
        at, size = _HEAD.unpack(head)
        return {
            name: _Family(
                kind, text, {(sample, tuple((k, v) for k, v in labels)): value for sample, labels, value in all_}
            )
            for name, kind, text, all_ in json.loads(os.pread(file, size, at))
        }


class _Shown:
    """What prometheus_client takes for a registry."""

    def __init__(self, families: dict[str, _Family]) -> None:
        self._families = families

    def collect(self) -> Iterator[Any]:
        from prometheus_client.core import Metric

        for name, family in self._families.items():
            metric = Metric(name, family.text, family.kind)
            for (sample, labels), value in family.samples.items():
                metric.add_sample(sample, dict(labels), value)
            yield metric


def _add(families: dict[str, _Family], found: Iterable[Any], number: int) -> None:
    """Add prometheus_client's families, as they are in the process of this number."""
    for metric in found:
        whose = (("worker", str(number)),) if metric.name.startswith(_OWN) else ()
        samples = {(one.name, (*one.labels.items(), *whose)): one.value for one in metric.samples}
        families[metric.name] = _Family(metric.type, metric.documentation, samples)


def _merge(families: dict[str, _Family], name: str, other: _Family) -> None:
    one = families.setdefault(name, _Family(other.kind, other.text))
    for sample, value in other.samples.items():
        before = one.samples.get(sample)
        if before is None:
            one.samples[sample] = value
        else:
            one.samples[sample] = max(before, value) if one.kind == "gauge" else before + value


def _write(file: int, families: dict[str, _Family]) -> None:
    content = json.dumps(
        [
            (name, one.kind, one.text, [(sample, labels, value) for (sample, labels), value in one.samples.items()])
            for name, one in families.items()
        ]
    ).encode()
    head = os.pread(file, _HEAD.size, 0)
    now = _HEAD.unpack(head)[0] if head else 0
    at = _PLACES[now == _PLACES[0]]
    os.pwrite(file, content, at)
    os.pwrite(file, _HEAD.pack(at, len(content)), 0)
