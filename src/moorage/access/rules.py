"""Who may do what: the one place that makes permits."""

from functools import lru_cache
from typing import Final, Protocol

from moorage.access.actor import ANONYMOUS, Actor
from moorage.access.permit import SEAL, Action, CatalogPermit, Permit
from moorage.oci.names import RepositoryName

_EVERYTHING: Final = frozenset(Action)


class Rules(Protocol):
    """Decides.  Every decision is a permit or a refusal that says why."""

    def permit(self, actor: Actor, repository: RepositoryName, action: Action, /) -> Permit:
        """A permit that includes `action`.  Raises UNAUTHORIZED, DENIED or NAME_UNKNOWN."""
        ...

    def permit_catalog(self, actor: Actor, /) -> CatalogPermit:
        """A permit to list repositories.  Raises UNAUTHORIZED or DENIED."""
        ...

    def visible(self, actor: Actor, repository: RepositoryName, /) -> bool:
        """Whether the actor may know of the repository: what lists and searches show."""
        ...


class OpenRules:
    """Whoever reaches the registry may do everything: for laboratories (`--open`)."""

    def permit(self, actor: Actor, repository: RepositoryName, _action: Action, /) -> Permit:
        return _everything(actor, repository)

    def permit_catalog(self, actor: Actor, /) -> CatalogPermit:
        return CatalogPermit(actor, SEAL)

    def visible(self, _actor: Actor, _repository: RepositoryName, /) -> bool:
        return True


@lru_cache(maxsize=8192)
def _everything(actor: Actor, repository: RepositoryName) -> Permit:
    return Permit(actor, repository, _EVERYTHING, SEAL)


def authenticate() -> Actor:
    """Who is asking.  There are no accounts yet, so nobody can be told from anybody else."""
    return ANONYMOUS


_: type[Rules] = OpenRules
