"""Transfer-Encoding: chunked, read exactly to its last byte (RFC 9112, section 7.1).

We frame bodies ourselves, so that it is always known where a message ends and the next begins; anything but
the plain form is refused, because a proxy in front may read it differently.
"""

import re
from collections.abc import Sequence
from typing import Final

from moorage.errors import Code, RegistryError

_LINE: Final = 256
"""The longest line with a chunk's size, in bytes."""
_TRAILER: Final = 8192
"""The most bytes of trailer fields; they are checked and dropped."""
_SIZE: Final = re.compile(rb"([0-9A-Fa-f]{1,15})(?:;[\t\x20-\x7e\x80-\xff]*)?")
_FIELD: Final = re.compile(rb"[!#$%&'*+.^_`|~0-9A-Za-z-]+:[\t\x20-\x7e\x80-\xff]*")

_END: Final = 2
"""The CRLF that closes a chunk."""
_LARGE: Final = 8192
"""Chunks of this size and more are worth foretelling."""
_ASIDE: Final = 512
"""The most bytes of framing that are foretold."""

Span = tuple[int, int]


class Chunks:
    """Takes a chunked body apart."""

    __slots__ = ("_aside", "_left", "_line", "_same", "_trailer", "ended")

    def __init__(self) -> None:
        self.ended = False
        self._left = 0
        """Bytes still to come of this chunk, its closing CRLF included."""
        self._line = b""
        """The beginning of a line that is not complete."""
        self._same = (b"", 0)
        """The last line with a size, and what `_left` was after it: clients send chunks of one size."""
        self._aside = bytearray()
        """Where framing is received that was foretold."""
        self._trailer: int | None = None
        """Bytes of trailer fields so far, once the last chunk is seen."""

    def feed(self, data: bytes, into: bytearray | None) -> bytes:
        """Append the content to `into` (None drops it); gives what follows the body once `ended`.

        Raises REQUEST_INVALID.
        """
        spans, at = self._spans(data, 0, len(data))
        if into is not None:
            view = memoryview(data)
            for start, stop in spans:
                into += view[start:stop]
        return data[at:]

    def squeeze(self, buffer: bytearray, start: int, stop: int) -> tuple[int, bytes]:
        """Leave of `buffer[start:stop]` only the content, moved to `start`; gives its end, and what follows the body.

        Raises REQUEST_INVALID.
        """
        spans, at = self._spans(buffer, start, stop)
        rest = bytes(buffer[at:stop])
        with memoryview(buffer) as view:
            for first, last in spans:
                end = start + last - first
                view[start:end] = view[first:last]
                start = end
        return start, rest

    def foretell(self, buffer: bytearray, start: int, stop: int) -> list[memoryview]:
        """Where to receive large chunks like the last one: content by content in `buffer[start:stop]`, framing aside.

        Empty where nothing can be foretold.  It saves moving the content; `settle` says what has come of it.
        """
        line, left = self._same
        first, content = self._left - _END, left - _END
        stop -= _ASIDE  # all that was to be framing may be content
        if first <= 0 or content < _LARGE or start + first >= stop:
            return []
        if not self._aside:
            self._aside = bytearray(_ASIDE)
        view, aside = memoryview(buffer), memoryview(self._aside)
        spaces, at, used, frame = [view[start : start + first]], start + first, 0, _END + len(line)
        while at < stop and used + frame <= _ASIDE:
            spaces += aside[used : used + frame], view[at : min(at + content, stop)]
            at, used = at + content, used + frame
        return spaces

    def settle(self, spaces: Sequence[memoryview], count: int, buffer: bytearray, start: int) -> tuple[int, bytes]:
        """What `squeeze` gives, when `count` bytes have come into the foretold `spaces`.  Raises REQUEST_INVALID."""
        line, left = self._same
        first, frame = len(spaces[0]), b"\r\n" + line
        whole, part = divmod(max(0, count - first), len(frame) + left - _END)
        begun = min(part, len(frame))
        framing = whole * len(frame) + begun
        if self._aside[:framing] != (frame * (whole + 1))[:framing]:
            into = bytearray()
            rest = self.feed(b"".join(spaces)[:count], into)
            buffer[start : start + len(into)] = into
            return start + len(into), rest
        if count <= first:
            self._left -= count
        else:
            self._left = _END
            self.feed(frame[:begun], None)
            self._left -= part - begun
        return start + count - framing, b""

    def _spans(self, data: bytes | bytearray, at: int, stop: int) -> tuple[list[Span], int]:
        """Where content lies in `data[at:stop]`, and how far that belongs to the body."""
        spans: list[Span] = []
        while at < stop and not self.ended:
            left = self._left
            if not left:
                at = self._read_line(data, at, stop)
                continue
            end = min(stop, at + left)
            content = min(end, at + left - 2)
            if content > at:
                spans.append((at, content))
            else:
                content = at
            if end > content and not b"\r\n".startswith(data[content:end], content - at - left):
                raise _junk()
            self._left = left - (end - at)
            at = end
        return spans, at

    def _read_line(self, data: bytes | bytearray, at: int, stop: int) -> int:
        end = data.find(b"\n", at, stop)
        after = stop if end < 0 else end + 1
        size, left = self._same
        if data[at:after] == size and not self._line and self._trailer is None:
            self._left = left
            return after
        if len(self._line) + after - at > (_LINE if self._trailer is None else _TRAILER):
            raise _junk()
        line = self._line + bytes(data[at:after])
        if end < 0:
            self._line = line
        else:
            self._line = b""
            self._complete(line)
        return after

    def _complete(self, line: bytes) -> None:
        if not line.endswith(b"\r\n"):
            raise _junk()
        text = line[:-2]
        if self._trailer is None:
            size = _SIZE.fullmatch(text)
            if size is None:
                raise _junk()
            length = int(size[1], 16)
            if length:
                self._left = length + 2
                self._same = (line, length + 2)
            else:
                self._trailer = 0
        elif not text:
            self.ended = True
        else:
            self._trailer += len(line)
            if self._trailer > _TRAILER or not _FIELD.fullmatch(text):
                raise _junk()


def _junk() -> RegistryError:
    return RegistryError(Code.REQUEST_INVALID, "the chunked body is malformed")
