"""A chart for the documents: every workload's figure as a share of the base's, Moorage's in the foreground."""

from collections.abc import Sequence
from html import escape
from statistics import median
from typing import Final

from bench.report import ratios
from bench.rounds import Row, Unit
from bench.servers import Peer

_WIDTH: Final = 760
_NAMES: Final = 330
_LINE: Final = 22
_TOP: Final = 46
_MOST: Final = 1.25
"""Longer bars are cut."""
_COLOURS: Final = ("#0b7285", "#adb5bd", "#ced4da", "#868e96")


def chart(rows: Sequence[Row], peers: Sequence[Peer]) -> str:
    """SVG; an empty drawing where there is nobody to compare with."""
    base = peers[-1]
    others = [peer for peer in peers if peer is not base]
    drawn = [row for row in rows if row.workload.unit is not Unit.RATE and _shares(row, peers[0], base)]
    height = _TOP + _LINE * len(drawn) + 10
    scale = (_WIDTH - _NAMES - 60) / _MOST
    title = f"Cost beside {escape(base.title)} (the line at 1): shorter is cheaper"
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {height}" font-family="sans-serif">',
        f'<rect width="{_WIDTH}" height="{height}" fill="#fff"/><text x="10" y="16" font-size="13">{title}</text>',
        '<g font-size="11">',
    ]
    for at, peer in enumerate(others):
        colour = _COLOURS[min(at, len(_COLOURS) - 1)]
        parts.append(
            f'<rect x="{_NAMES + 110 * at}" y="24" width="10" height="10" fill="{colour}"/>'
            f'<text x="{_NAMES + 14 + 110 * at}" y="33">{escape(peer.title)}</text>'
        )
    for line, row in enumerate(drawn):
        top = _TOP + _LINE * line
        parts.append(f'<text x="{_NAMES - 8}" y="{top + 13}" text-anchor="end">{escape(row.workload.title)}</text>')
        bars = [(at, peer) for at, peer in enumerate(others) if peer.name in row.samples]
        for place, (at, peer) in enumerate(bars):
            share, thick = median(_shares(row, peer, base) or [0.0]), (_LINE - 6) / len(bars)
            width, y = max(1.0, min(share, _MOST) * scale), top + 2 + place * thick
            colour = _COLOURS[min(at, len(_COLOURS) - 1)]
            parts.append(f'<rect x="{_NAMES}" y="{y:.1f}" width="{width:.1f}" height="{thick:.1f}" fill="{colour}"/>')
            if peer is peers[0]:
                parts.append(f'<text x="{_NAMES + width + 4:.1f}" y="{top + 12}" fill="{colour}">{share:.2g}</text>')
    one = _NAMES + scale
    parts.append(f'<line x1="{one}" x2="{one}" y1="{_TOP - 6}" y2="{height - 6}" stroke="#e03131"/></g></svg>')
    return "\n".join(parts) + "\n"


def _shares(row: Row, peer: Peer, base: Peer) -> list[float]:
    mine, theirs = row.samples.get(peer.name, []), row.samples.get(base.name, [])
    return ratios(mine, theirs, row.workload.unit)
