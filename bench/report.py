"""The table and the file: medians over rounds, their spread, and ratios taken round by round."""

import json
import os
import platform
import tempfile
import time
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from statistics import median

from bench.rounds import Row, Sample, Unit
from bench.servers import Peer

_BUSY = 0.9
"""A client busier than this share of a core may be what limits the wall time."""

_SYNCS = 64

_NONE = "-"


def machine(folder: Path) -> dict[str, object]:
    """What the figures were measured on."""
    models = [
        line.partition(": ")[2] for line in Path("/proc/cpuinfo").read_text().splitlines() if "model name" in line
    ]
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return {
        "cores": os.cpu_count(),
        "cpu": models[0] if models else platform.machine(),
        "memory_gib": round(memory / 2**30),
        "kernel": platform.release(),
        "python": platform.python_version(),
        "filesystem": _filesystem(folder),
        "sync_ms": _sync_milliseconds(folder),
        "load_at_start": os.getloadavg()[0],
        "when": time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime()),
    }


def _filesystem(folder: Path) -> str:
    """The kind of file system that holds the folder: the longest mount point above it."""
    mounts = [line.split() for line in Path("/proc/self/mounts").read_text().splitlines()]
    above = [mount for mount in mounts if folder.resolve().is_relative_to(mount[1])]
    return max(above, key=lambda mount: len(mount[1]))[2]


def _sync_milliseconds(folder: Path) -> float:
    """How long this disk takes to sync a page: the median of many."""
    taken = []
    with tempfile.TemporaryFile(dir=folder, buffering=0) as file:
        for _ in range(_SYNCS):
            file.write(bytes(4096))
            began = time.perf_counter()
            os.fdatasync(file.fileno())
            taken.append(time.perf_counter() - began)
    return round(median(taken) * 1000, 2)


def table(rows: Sequence[Row], peers: Sequence[Peer]) -> str:
    """One table, Markdown, every figure a median.  Ratios are to the last peer."""
    first, base = peers[0], peers[-1]
    header = ["workload", "unit", *(peer.title for peer in peers)]
    if base is not first:
        header += [f"{first.title} ÷ {base.title}", "in rounds", "wall ÷"]
    header.append("peak MB" if base is first else f"peak MB, {first.title} / {base.title}")
    return _markdown([header, *(_line(row, peers) for row in rows)])


def _line(row: Row, peers: Sequence[Peer]) -> list[str]:
    unit = row.workload.unit
    mine, theirs = (row.samples.get(peer.name) for peer in (peers[0], peers[-1]))
    line = [row.workload.title, unit.value[0], *(_cell(row.samples.get(peer.name), unit) for peer in peers)]
    if len(peers) > 1:
        line += [_NONE] * 3
        if mine and theirs:
            if each := ratios(mine, theirs, unit):
                line[-3:-1] = [f"**{_short(median(each))}**", f"{_short(min(each))}-{_short(max(each))}"]
            line[-1] = _wall(mine, theirs, unit)
    if not any(one.peak for samples in row.samples.values() for one in samples):
        return [*line, _NONE]
    peaks = [f"{median(one.peak for one in samples) / 1e6:.0f}" if samples else _NONE for samples in (mine, theirs)]
    return [*line, " / ".join(peaks[: len(peers)])]


def ratios(mine: Sequence[Sample], theirs: Sequence[Sample], unit: Unit) -> list[float]:
    """Our figure to theirs, of each round both took part in."""
    pairs = [(unit.figure(one), unit.figure(other)) for one, other in zip(mine, theirs, strict=False)]
    return [one / other for one, other in pairs if other]


def _wall(mine: Sequence[Sample], theirs: Sequence[Sample], unit: Unit) -> str:
    pairs = [(unit.wall(one), unit.wall(other)) for one, other in zip(mine, theirs, strict=False)]
    known = [one / other for one, other in pairs if one is not None and other is not None]
    if not known:
        return _NONE
    limited = median(one.client_busy for one in mine) > _BUSY
    return _short(median(known)) + (" c" if limited else "")


def _cell(samples: Sequence[Sample] | None, unit: Unit) -> str:
    """Median ± half the range, in percent of it."""
    if not samples:
        return _NONE
    figures = [unit.figure(one) for one in samples]
    middle = median(figures)
    spread = f" ±{(max(figures) - min(figures)) / 2 / middle:.0%}" if len(figures) > 1 and middle else ""
    more = "> " if any(one.unfinished for one in samples) else ""
    return f"{more}{_short(middle)}{spread}"


def _short(number: float) -> str:
    """Three digits that count; what is whole stays so."""
    if number >= 100 or number == int(number):
        return f"{number:,.0f}"
    return f"{number:.1f}" if number >= 10 else f"{number:.3f}" if number < 0.1 else f"{number:.2f}"


def _markdown(lines: Sequence[Sequence[str]]) -> str:
    widths = [max(len(line[at]) for line in lines) for at in range(len(lines[0]))]
    rule = ["-" * width if at < 2 else "-" * (width - 1) + ":" for at, width in enumerate(widths)]
    padded = [
        [
            cell.ljust(width) if at < 2 else cell.rjust(width)
            for at, (cell, width) in enumerate(zip(line, widths, strict=True))
        ]
        for line in (lines[0], rule, *lines[1:])
    ]
    return "\n".join(f"| {' | '.join(line)} |" for line in padded)


def notes(rows: Sequence[Row], peers: Sequence[Peer], facts: dict[str, object]) -> str:
    """What belongs below the table."""
    samples = [one for row in rows for each in row.samples.values() for one in each]
    others = [one.others for one in samples if one.client_busy]
    lines = [
        (
            "CPU is the server's whole process tree, user and system; ± is half the range over rounds; ratios are "
            "medians of each round's own. A 'c' says that the client was busy nearly all the time, so that wall time "
            "tells little of the server."
        ),
        (
            f"{facts['when']}: {facts['cores']} cores {facts['cpu']}, {facts['memory_gib']} GiB, "
            f"Linux {facts['kernel']}, {facts['filesystem']}, a sync of "
            f"a page {facts['sync_ms']} ms, Python {facts['python']}."
        ),
    ]
    lines += [_rates(row, peers) for row in rows if row.workload.unit is Unit.RATE]
    if others:
        lines.append(
            f"Programs without a part in it kept {median(others):.2f} cores busy (median; {max(others):.2f} at most)."
        )
    if facts["filesystem"] in {"tmpfs", "ramfs"}:
        lines.append("The data lay in memory: nothing of this is durable, and no figure of a push is worth anything.")
    return "\n".join(lines)


def _rates(row: Row, peers: Sequence[Peer]) -> str:
    """How many times the rate of each other peer ours is."""
    mine = row.samples.get(peers[0].name, [])
    each = {peer.title: ratios(mine, row.samples.get(peer.name, []), Unit.RATE) for peer in peers[1:]}
    told = [f"{_short(median(found))} times {title}'s" for title, found in each.items() if found]
    return f"{row.workload.title}: {', '.join(told) or 'nobody to compare with'}."


def document(rows: Sequence[Row], peers: Sequence[Peer], facts: dict[str, object]) -> str:
    """Everything, every sample too, as JSON."""
    return json.dumps(
        {
            "machine": facts,
            "versions": {peer.name: peer.told_version() for peer in peers},
            "rows": [
                {
                    "stage": row.stage,
                    "workload": row.workload.title,
                    "unit": row.workload.unit.value[0],
                    "medians": {
                        name: median(row.workload.unit.figure(one) for one in samples)
                        for name, samples in row.samples.items()
                    },
                    "samples": {name: [asdict(one) for one in samples] for name, samples in row.samples.items()},
                }
                for row in rows
            ],
        },
        indent=1,
    )
