"""Patterns of repository names: `acme/app`, `acme/*`, `acme/web-**`, `**`."""

import re
from dataclasses import dataclass
from functools import lru_cache
from typing import Final

from moorage.errors import Code, RegistryError
from moorage.oci.names import LIBRARY, NAME_LENGTH, RepositoryName, shown

_GRAMMAR: Final = re.compile(r"[a-z0-9*._/-]+")

WILD: Final = "*"
"""The owner of a pattern whose first component is not one name."""


@dataclass(frozen=True, slots=True)
class Pattern:
    """`*` stands for any characters within one component, `**`, at the end only, for anything at all.

    A name of one component is matched as it stands and as `library/<name>`, for `library` owns it.
    """

    text: str

    @staticmethod
    @lru_cache(maxsize=8192)
    def parse(text: str) -> "Pattern":
        """Raises NAME_INVALID, saying what is wrong."""
        fault = None
        if not text or len(text) > NAME_LENGTH:
            fault = f"it must have 1 to {NAME_LENGTH} characters"
        elif not _GRAMMAR.fullmatch(text):
            fault = "it may have lower-case letters, digits, '.', '_', '-', '/' and '*'"
        elif "***" in text or "**" in text[:-2]:
            fault = "'**' can only be its end"
        elif text.startswith("/") or "//" in text or text.endswith("/"):
            fault = "no component may be empty"
        if fault:
            raise RegistryError(
                Code.NAME_INVALID,
                f"the pattern {shown(text)} is not valid: {fault}; write a repository, 'acme/*' or 'acme/web-**'",
            )
        return Pattern(text)

    @property
    def owner(self) -> str:
        """The first component, if the pattern can match repositories of one owner only; else `*`."""
        first, slash, _ = self.text.partition("/")
        return first if slash and "*" not in first else WILD if "*" in first else RepositoryName(first).owner

    def matches(self, repository: RepositoryName) -> bool:
        name = repository.value
        if self.text == name:
            return True
        expression = _expression(self.text)
        if expression.fullmatch(name):
            return True
        return "/" not in name and expression.fullmatch(f"{LIBRARY}/{name}") is not None


@lru_cache(maxsize=8192)
def _expression(text: str) -> re.Pattern[str]:
    """Linear in the name: what a star skipped is never given back, since the nearest match is always good enough."""
    body, rest = (text[:-2], ".*") if text.endswith("**") else (text, "")
    first, *others = body.split("*")
    if not others:
        return re.compile(re.escape(first) + rest)
    *between, last = others
    atoms = "".join(rf"(?>[^/]*?{re.escape(one)})" for one in between if one)
    tail = rf"[^/]*{re.escape(last)}" if not rest else rf"(?>[^/]*?{re.escape(last)}){rest}"
    return re.compile(re.escape(first) + atoms + tail)
