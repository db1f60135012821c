"""Repository names, tags and references: parsed once at the edge, then never a bare string again."""

import re
from dataclasses import dataclass
from functools import lru_cache
from typing import Final

from moorage.errors import Code, RegistryError
from moorage.oci.digest import Digest

NAME_LENGTH: Final = 255
"""Longest repository name, in characters."""

LIBRARY: Final = "library"
"""The owner of names that have a single component."""

_COMPONENT = r"[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*"
_NAME = re.compile(rf"{_COMPONENT}(?:/{_COMPONENT})*")
_TAG = re.compile(r"[a-zA-Z0-9_][a-zA-Z0-9._-]{0,127}")


@dataclass(frozen=True, slots=True)
class RepositoryName:
    """A repository's name, as in `acme/team/app` (distribution-spec, "Pulling manifests")."""

    value: str

    @staticmethod
    @lru_cache(maxsize=8192)
    def parse(text: str) -> "RepositoryName":
        """Take a name as it stands in a path.  Raises NAME_INVALID, saying which rule it breaks."""
        if len(text) > NAME_LENGTH:
            raise RegistryError(
                Code.NAME_INVALID,
                f"the repository name has {len(text)} characters; {NAME_LENGTH} are the most",
                name=text[:NAME_LENGTH],
            )
        if not _NAME.fullmatch(text):
            raise RegistryError(
                Code.NAME_INVALID,
                f"the repository name {shown(text)} is not valid: use lower-case letters and digits, joined by "
                "'.', '_', '__' or '-', and '/' between components",
                name=text,
            )
        return RepositoryName(text)

    @property
    def owner(self) -> str:
        """The first component of several; a name of one component belongs to `library`."""
        first, slash, _ = self.value.partition("/")
        return first if slash else LIBRARY

    def __str__(self) -> str:
        return self.value


@dataclass(frozen=True, slots=True)
class Tag:
    """A human-readable name for one manifest of a repository; it may move."""

    value: str

    @staticmethod
    @lru_cache(maxsize=8192)
    def parse(text: str) -> "Tag":
        """Take a tag as it stands in a path or query.  Raises TAG_INVALID."""
        if not _TAG.fullmatch(text):
            raise RegistryError(
                Code.TAG_INVALID,
                f"the tag {shown(text)} is not valid: up to 128 letters, digits, '_', '.' and '-', "
                "the first of them a letter, digit or '_'",
                tag=text[:NAME_LENGTH],
            )
        return Tag(text)

    def __str__(self) -> str:
        return self.value


Reference = Tag | Digest
"""What stands behind `/manifests/`: a tag or a digest."""


def parse_reference(text: str) -> Reference:
    """A colon makes it a digest, anything else a tag.  Raises DIGEST_INVALID or TAG_INVALID."""
    return Digest.parse(text) if ":" in text else Tag.parse(text)


def shown(text: str) -> str:
    """Hostile text, safe to print: control and direction characters escaped, length bounded."""
    short = text if len(text) <= 80 else text[:77] + "..."
    return ascii(short)
