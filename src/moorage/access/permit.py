"""Permits: proof that somebody decided.

Core verbs, and deeds on accounts, take a permit instead of checking anything, so that a forgotten check is a missing
argument.  Only the rules in this package make them.
"""

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Final, final

from moorage.access.action import Action
from moorage.access.actor import Actor
from moorage.errors import Code, RegistryError
from moorage.oci.names import RepositoryName
from moorage.oci.pattern import Pattern


class _Seal:
    """Held by this package alone."""


SEAL: Final = _Seal()


@final
@dataclass(frozen=True, slots=True)
class Permit:
    """Proof that `actor` may do `actions` in `repository`.  Made by `moorage.access.rules` only."""

    actor: Actor
    repository: RepositoryName
    actions: frozenset[Action]
    seal: _Seal

    def __post_init__(self) -> None:
        if self.seal is not SEAL:
            raise TypeError("a permit is made by moorage.access.rules")

    def may(self, action: Action) -> bool:
        return action in self.actions

    def require(self, action: Action) -> None:
        """What each core verb asks first.  Raises DENIED: somebody passed a permit for something else."""
        if action not in self.actions:
            raise RegistryError(
                Code.DENIED,
                f"{self.actor.name} may not {action.value} in {self.repository}",
                actor=self.actor.name,
                action=action.value,
                repository=self.repository.value,
            )


@final
@dataclass(frozen=True, slots=True)
class CatalogPermit:
    """Proof that `actor` may list repositories, and which: a list is what is `left` of the names.

    Made by `moorage.access.rules` only.
    """

    actor: Actor
    visible: Callable[[Sequence[RepositoryName]], Awaitable[list[RepositoryName]]] | None
    """Of some repositories, those that the actor may know of; None where that is all."""
    seal: _Seal

    async def left(self, names: list[str]) -> list[str]:
        """What `visible` leaves of names that are in the catalog."""
        if self.visible is None:
            return names
        return [one.value for one in await self.visible([RepositoryName.parse(name) for name in names])]

    def __post_init__(self) -> None:
        if self.seal is not SEAL:
            raise TypeError("a permit is made by moorage.access.rules")


class _Sealed:
    """A permit of `moorage.access.management`; what it is good for, its class says."""

    seal: _Seal

    def __post_init__(self) -> None:
        if self.seal is not SEAL:
            raise TypeError("a permit is made by moorage.access.management")


@final
@dataclass(frozen=True)
class AdminPermit(_Sealed):
    """Proof that `actor` may do what only administrators may."""

    actor: Actor
    seal: _Seal


@final
@dataclass(frozen=True)
class OwnerPermit(_Sealed):
    """Proof that `actor` may rule what belongs to the account called `owner`: its teams, robots and grants."""

    actor: Actor
    owner: str
    seal: _Seal


@final
@dataclass(frozen=True)
class PersonalPermit(_Sealed):
    """Proof that `actor` may use what is the account `name`'s own: its tokens.

    None that it makes lives beyond `lends`, in seconds since the epoch.
    """

    actor: Actor
    name: str
    lends: float
    seal: _Seal


@final
@dataclass(frozen=True)
class GrantPermit(_Sealed):
    """Proof that `actor` may say who may do what on the repositories that `pattern` matches."""

    actor: Actor
    pattern: Pattern
    seal: _Seal
