"""Chunked bodies: where large chunks like the last one are foretold, and received content by content."""

import random

import pytest

from moorage.edge.server.chunks import Chunks
from moorage.errors import RegistryError

KIB = 1024
BUFFER = 128 * KIB
BEHIND = b"GET /next HTTP/1.1\r\n\r\n"


def framed(sizes: list[int]) -> tuple[bytes, bytes]:
    """Content in chunks of these sizes, and as it is sent, with what follows."""
    pieces = [random.randbytes(size) for size in sizes]
    sent = b"".join(b"%x\r\n%b\r\n" % (len(piece), piece) for piece in pieces)
    return b"".join(pieces), sent + b"0\r\n\r\n" + BEHIND


def scatter(data: bytes, spaces: list[memoryview]) -> int:
    """As readv does it."""
    at = 0
    for space in spaces:
        part = data[at : at + len(space)]
        space[: len(part)] = part
        at += len(part)
    return at


def received(sent: bytes, most: list[int]) -> tuple[bytes, bytes, int]:
    """What is understood of it, what follows, and how often a foretelling was followed; `most` come at a time."""
    chunks, buffer, content, rest, foretold, at = Chunks(), bytearray(BUFFER), b"", b"", 0, 0
    filled, turn = 0, 0
    while not chunks.ended:
        if BUFFER - filled < KIB:
            content, filled = content + buffer[:filled], 0
        come = sent[at : at + most[turn % len(most)]]
        assert come, "the end was not seen"
        turn += 1
        if spaces := chunks.foretell(buffer, filled, BUFFER):
            count = scatter(come, spaces)
            filled, rest = chunks.settle(spaces, count, buffer, filled)
            foretold += 1
        else:
            count = min(len(come), BUFFER - filled)
            buffer[filled : filled + count] = come[:count]
            filled, rest = chunks.squeeze(buffer, filled, filled + count)
        assert filled <= BUFFER
        at += count
    return content + buffer[:filled], rest + sent[at:], foretold


@pytest.mark.parametrize("seed", range(60))
def test_content_and_end_are_the_same_however_the_foretelling_turns_out(seed: int) -> None:
    random.seed(seed)
    usual = random.choice([8 * KIB, 16 * KIB, 32 * KIB, 40_000, 200 * KIB])
    others = [1, 2, 7, usual - 1, usual + 1, 2 * usual, 300 * KIB]
    sizes = [usual if random.random() < 0.9 else random.choice(others) for _ in range(40)]
    most = [random.choice([1, 2, 3, 5, 9, usual, usual + 7, usual + 8, BUFFER, BUFFER]) for _ in range(50)]
    content, sent = framed(sizes)
    understood, rest, foretold = received(sent, most)
    assert understood == content
    assert rest == BEHIND
    assert foretold > 3


@pytest.mark.parametrize("ending", [b"xx4000\r\n", b"\r\n4000\rx", b"\r\nz000\r\n", b"\r\n4000x\n"])
def test_framing_that_is_not_what_was_foretold_is_read_as_strictly_as_any(ending: bytes) -> None:
    good = b"4000\r\n" + bytes(16 * KIB)
    with pytest.raises(RegistryError, match="malformed"):
        received(good + b"\r\n" + good + ending + bytes(64 * KIB), [10, 100 * KIB])


def test_as_much_content_as_was_foretold_for_framing_still_fits() -> None:
    content, sent = framed([8 * KIB, 8 * KIB, 500 * KIB])
    assert received(sent, [BUFFER])[:2] == (content, BEHIND)
