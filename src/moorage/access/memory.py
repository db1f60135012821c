"""What has been decided, for as long as nothing that it rests on has changed.

Every write that can change a decision raises the access generation (`moorage.db.generation`); whoever sees another
generation begins a new memory.  What was being decided meanwhile is remembered in the old one, and goes with it.
"""

from typing import Final

from moorage.access.actor import NOBODY, Identity
from moorage.access.certificates import Certificate
from moorage.access.permit import Permit
from moorage.oci.names import RepositoryName

_MOST: Final = 32 * 1024 * 1024
"""About how many bytes are remembered; behind that all are forgotten, which only costs time."""

_IDENTITY: Final = 1024
_PERMIT: Final = 512
"""About what one takes, an identity besides its header and what that says."""


class Memory:
    """Decisions of one access generation."""

    __slots__ = ("_identities", "_permits", "_weight", "generation")

    def __init__(self, generation: object) -> None:
        self.generation = generation
        self._forget()

    def _forget(self) -> None:
        self._weight = 0
        self._identities: dict[str | Certificate, Identity] = {}
        self._permits: dict[Identity, dict[str, Permit]] = {NOBODY: {}}

    def identity(self, credentials: str | Certificate, now: float) -> Identity | None:
        """Whom a header or a certificate proved, until that expires; `now` in seconds since the epoch."""
        found = self._identities.get(credentials)
        return found if found is not None and found.until > now else None

    def remember_identity(self, credentials: str | Certificate, identity: Identity) -> None:
        """One token can be written in many ways, with blanks before it: what is long weighs more."""
        self._make_room(_IDENTITY + (2 * len(credentials) if isinstance(credentials, str) else 0))
        self._permits.pop(self._identities.get(credentials, identity), None)
        self._identities[credentials] = identity
        self._permits[identity] = {}

    def permit(self, identity: Identity, repository: RepositoryName) -> Permit | None:
        found = self._permits.get(identity)
        return found.get(repository.value) if found is not None else None

    def remember_permit(self, identity: Identity, permit: Permit) -> None:
        """Nothing for an identity that is itself not remembered: nobody would come with it again."""
        self._make_room(_PERMIT)
        if identity in self._permits:
            self._permits[identity][permit.repository.value] = permit

    def _make_room(self, weight: int) -> None:
        if self._weight + weight > _MOST:
            self._forget()
        self._weight += weight
