"""Which passwords nobody should have: those that whoever guesses tries first."""

import threading
from typing import Final

from moorage.errors import Code, RegistryError

SHORTEST: Final = 10
LONGEST: Final = 1024
"""Characters; more would only be work for us."""

_GUESSES: Final = 10**8
"""Fewer are refused: what a slow, patient search finds ("Summer2026!", a common word with a number behind it)."""

_PIECE: Final = 16
"""Characters of the beginning and of the end that are looked at.  An estimate's cost grows much faster than its text:
72 hostile characters take two seconds."""

_OURS: Final = ("moorage", "registry", "container", "docker", "password", "admin")
_OWN: Final = 5
"""Characters that have to be left of a password without our words and the account's name."""

_one_at_a_time: Final = threading.Lock()
"""The estimate keeps the words that it is told in a global."""


def check_strength(password: str, name: str) -> None:
    """Raise REQUEST_INVALID for a password of the account `name` that is too short, too long or easy to guess.

    It takes some milliseconds; the lists of words are imported when first asked.
    """
    if not SHORTEST <= len(password) <= LONGEST:
        raise RegistryError(Code.REQUEST_INVALID, f"a password has {SHORTEST} to {LONGEST} characters; choose another")
    if "\0" in password:
        raise RegistryError(Code.REQUEST_INVALID, "a password cannot hold a NUL character; choose another")
    words = [word for word in (name.lower(), *_OURS) if len(word) > 2]
    if _few_of_its_own(password, words) or all(_easy(piece, words) for piece in _pieces(password)):
        raise RegistryError(
            Code.REQUEST_INVALID,
            "the password is one of those that are guessed first: a common one, a pattern, a date, or made of the "
            "account's name; choose another, such as four unrelated words",
        )


def _few_of_its_own(password: str, words: list[str]) -> bool:
    rest = password.lower()
    for word in words:
        rest = rest.replace(word, "")
    return len(rest) < _OWN


def _pieces(password: str) -> list[str]:
    return [password] if len(password) <= _PIECE else [password[:_PIECE], password[-_PIECE:]]


def _easy(text: str, words: list[str]) -> bool:
    from zxcvbn import zxcvbn

    with _one_at_a_time:
        return bool(zxcvbn(text, user_inputs=words)["guesses"] < _GUESSES)
