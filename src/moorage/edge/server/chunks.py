"""Transfer-Encoding: chunked, read exactly to its last byte (RFC 9112, section 7.1).

We frame bodies ourselves, so that it is always known where a message ends and the next begins; anything but
the plain form is refused, because a proxy in front may read it differently.
"""

import re
from typing import Final

from moorage.errors import Code, RegistryError

_LINE: Final = 256
"""The longest line with a chunk's size, in bytes."""
_TRAILER: Final = 8192
"""The most bytes of trailer fields; they are checked and dropped."""
_SIZE: Final = re.compile(rb"([0-9A-Fa-f]{1,15})(?:;[\t\x20-\x7e\x80-\xff]*)?")
_FIELD: Final = re.compile(rb"[!#$%&'*+.^_`|~0-9A-Za-z-]+:[\t\x20-\x7e\x80-\xff]*")


class Chunks:
    """Takes a chunked body apart."""

    __slots__ = ("_fresh", "_left", "_line", "_trailer", "ended")

    def __init__(self) -> None:
        self.ended = False
        self._left = 0
        """Bytes still to come of this chunk, its closing CRLF included."""
        self._line = b""
        """The beginning of a line that is not complete."""
        self._fresh = True
        self._trailer: int | None = None
        """Bytes of trailer fields so far, once the last chunk is seen."""

    def feed(self, data: bytes, into: bytearray | None) -> bytes:
        """Append the content to `into` (None drops it); gives what follows the body once `ended`.

        Raises REQUEST_INVALID.
        """
        at = 0
        view = memoryview(data)
        while at < len(data) and not self.ended:
            if self._left:
                at += self._content(view[at : at + self._left], into)
                continue
            end = data.find(b"\n", at)
            line = self._line + (data[at:] if end < 0 else data[at : end + 1])
            if len(line) > (_LINE if self._trailer is None else _TRAILER):
                raise _junk()
            at = len(data) if end < 0 else end + 1
            if end < 0:
                self._line = line
            else:
                self._line = b""
                self._complete(line)
        return data[at:]

    def _content(self, piece: memoryview, into: bytearray | None) -> int:
        """Take a part of a chunk; its last two bytes must be CRLF."""
        content = max(0, self._left - 2)
        if into is not None:
            into += piece[:content]
        ending = bytes(piece[content:])
        if not b"\r\n"[max(0, 2 - self._left) :].startswith(ending):
            raise _junk()
        self._left -= len(piece)
        return len(piece)

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
