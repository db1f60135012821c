"""Readings of short texts that are sent again and again: an address that many pull from, a query of several parts."""

from collections.abc import Callable
from functools import lru_cache, wraps
from typing import Final, TypeVar

Text = TypeVar("Text", str, bytes)
Read = TypeVar("Read")

SHORT: Final = 512
"""Longer texts are read anew each time: nobody fills our memory with them."""


def recalled(most: int) -> Callable[[Callable[[Text], Read]], Callable[[Text], Read]]:
    """Remember what a pure function made of the last `most` short texts; what it raises is not remembered."""

    def decorate(read: Callable[[Text], Read]) -> Callable[[Text], Read]:
        kept = lru_cache(maxsize=most)(read)

        @wraps(read)
        def recall(text: Text) -> Read:
            return kept(text) if len(text) <= SHORT else read(text)

        return recall

    return decorate
