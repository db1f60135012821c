"""What has been decided, for as long as nothing that it rests on has changed.

Every write that can change a decision raises the access generation (`moorage.db.generation`); whoever sees another
generation begins a new memory.  What was being decided meanwhile is remembered in the old one, and goes with it.
"""

from typing import Final

from moorage.access.actor import Identity
from moorage.access.certificates import Certificate
from moorage.access.permit import Permit
from moorage.oci.names import RepositoryName

_MOST: Final = 16_384
"""Entries of either kind; behind that all are forgotten, which only costs time."""

_LONGEST: Final = 2048
"""Characters of a header that is remembered: one token can be written in endlessly many ways, with blanks before it."""

_CHARACTERS: Final = 8 * 1024 * 1024
"""The same as `_MOST`, of all headers together."""


class Memory:
    """Decisions of one access generation."""

    __slots__ = ("_characters", "_identities", "_permits", "generation")

    def __init__(self, generation: object) -> None:
        self.generation = generation
        self._identities: dict[str | Certificate, Identity] = {}
        self._characters = 0
        self._permits: dict[tuple[Identity, str], Permit] = {}

    def identity(self, credentials: str | Certificate, now: float) -> Identity | None:
        """Whom a header or a certificate proved, until that expires; `now` in seconds since the epoch."""
        found = self._identities.get(credentials)
        return found if found is not None and found.until > now else None

    def remember_identity(self, credentials: str | Certificate, identity: Identity) -> None:
        length = len(credentials) if isinstance(credentials, str) else 0
        if length > _LONGEST:
            return
        if len(self._identities) >= _MOST or self._characters + length > _CHARACTERS:
            self._identities.clear()
            self._permits.clear()
            self._characters = 0
        self._identities[credentials] = identity
        self._characters += length

    def permit(self, identity: Identity, repository: RepositoryName) -> Permit | None:
        return self._permits.get((identity, repository.value))

    def remember_permit(self, identity: Identity, permit: Permit) -> None:
        if len(self._permits) >= _MOST:
            self._permits.clear()
        self._permits[identity, permit.repository.value] = permit
