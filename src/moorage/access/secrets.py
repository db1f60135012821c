"""Secrets we hand out: recognisable, checkable without a look-up, kept as a hash only.

    mrgp_ 32 characters of chance, then 6 of checksum
       └─ p: personal, r: robot, o: offline, which is a refresh token, i: invitation

The prefix lets scanners of source code find what leaked, the checksum lets them, and us, tell it from noise.
"""

import hashlib
import re
import secrets
import zlib
from dataclasses import dataclass
from typing import Final, Literal

TokenKind = Literal["personal", "robot", "refresh", "invitation"]

_LETTERS: Final = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
_PREFIXES: Final[dict[TokenKind, str]] = {
    "personal": "mrgp_",
    "robot": "mrgr_",
    "refresh": "mrgo_",
    "invitation": "mrgi_",
}
_CHANCE: Final = 32
"""Characters of 62: 190 bits, so that a fast hash is enough."""

_SHAPE: Final = re.compile(rf"mrg[proi]_[0-9A-Za-z]{{{_CHANCE}}}([0-9A-Za-z]{{6}})")


@dataclass(frozen=True, slots=True)
class Secret:
    """A fresh secret: `text` is shown once, `hash` is kept."""

    text: str
    hash: str


def new_secret(kind: TokenKind) -> Secret:
    body = _PREFIXES[kind] + "".join(secrets.choice(_LETTERS) for _ in range(_CHANCE))
    text = body + _checksum(body)
    return Secret(text, secret_hash(text))


def is_secret(text: str) -> bool:
    """Whether the text is one of ours, by its looks and checksum: whoever says no may save the look-up."""
    found = _SHAPE.fullmatch(text)
    return found is not None and secrets.compare_digest(_checksum(text[: -len(found[1])]), found[1])


def secret_hash(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def _checksum(body: str) -> str:
    number = zlib.crc32(body.encode())
    letters = ""
    for _ in range(6):
        number, digit = divmod(number, len(_LETTERS))
        letters = _LETTERS[digit] + letters
    return letters
