"""Byte ranges: what a client asks for (RFC 9110 §14) and what a chunk says of itself (distribution-spec)."""

import re
from dataclasses import dataclass
from typing import Final

from moorage.errors import Code, RegistryError

MOST: Final = 64
"""More ranges than this in one request are answered with the whole content."""

_HEADER_LENGTH: Final = 4096
_SPEC = re.compile(r"(\d{0,19})-(\d{0,19})")
_CHUNK = re.compile(r"(?:bytes )?(\d{1,19})-(\d{1,19})(?:/(?:\*|\d{1,19}))?")


@dataclass(frozen=True, slots=True)
class ByteRange:
    """Bytes `start` up to but not including `stop`."""

    start: int
    stop: int

    @property
    def length(self) -> int:
        return self.stop - self.start

    def content_range(self, size: int) -> str:
        """The Content-Range header of a 206 answer."""
        return f"bytes {self.start}-{self.stop - 1}/{size}"


def requested(header: str | None, size: int) -> list[ByteRange] | None:
    """The parts of `size` bytes that a Range header asks for, merged where they overlap; None for all of it.

    A unit other than bytes, or too many ranges, is ignored as RFC 9110 allows.  Raises RANGE_INVALID where
    nothing asked for exists, and for a range that ends before it starts: the conformance suite and resuming
    clients are better served by a refusal than by the whole content.
    """
    if header is None or len(header) > _HEADER_LENGTH:
        return None
    unit, equals, specs = header.partition("=")
    if not equals or unit.strip().lower() != "bytes":
        return None
    parts = specs.split(",")
    if len(parts) > MOST:
        return None
    found = [part for spec in parts if (one := spec.strip()) and (part := _one(one, size)) is not None]
    if not found:
        raise RegistryError(
            Code.RANGE_INVALID, f"the range {header[:80]!a} asks for nothing of the content's {size} bytes", size=size
        )
    return _merged(found)


def _one(spec: str, size: int) -> ByteRange | None:
    match = _SPEC.fullmatch(spec)
    if match is None or spec == "-":
        raise RegistryError(
            Code.RANGE_INVALID,
            f"the range {spec[:80]!a} cannot be read; '<first>-<last>', '<first>-' or '-<count>' is wanted",
            size=size,
        )
    first, last = match.groups()
    if not first:
        start, stop = max(size - int(last), 0), size
    else:
        start, stop = int(first), min(int(last) + 1, size) if last else size
    return ByteRange(start, stop) if start < stop else None


def _merged(ranges: list[ByteRange]) -> list[ByteRange]:
    """Overlapping or touching ranges become one, so that no byte is sent twice."""
    merged: list[ByteRange] = []
    for part in sorted(ranges, key=lambda part: part.start):
        if merged and part.start <= merged[-1].stop:
            merged[-1] = ByteRange(merged[-1].start, max(merged[-1].stop, part.stop))
        else:
            merged.append(part)
    return merged


def chunk(header: str, length: int | None) -> int:
    """Where a chunk begins, from its Content-Range (`0-1023`; `bytes 0-1023/*` is tolerated).

    `length` is the chunk's Content-Length in bytes, if known.  Raises RANGE_INVALID for a header that cannot be
    read, SIZE_INVALID where the two disagree.
    """
    match = _CHUNK.fullmatch(header.strip()) if len(header) <= _HEADER_LENGTH else None
    if match is None or (length is None and int(match[2]) < int(match[1])):
        raise RegistryError(
            Code.RANGE_INVALID,
            f"the Content-Range {header[:80]!a} cannot be read; '<first>-<last>' is wanted, in bytes",
            content_range=header[:80],
        )
    first, last = int(match[1]), int(match[2])
    if length is not None and last - first + 1 != length:
        raise RegistryError(
            Code.SIZE_INVALID,
            f"the Content-Range {first}-{last} stands for {max(last - first + 1, 0)} bytes, but {length} are sent",
            length=length,
        )
    return first
