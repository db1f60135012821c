"""The one function that decides who may do what.  Pure: facts in, reasons out.

    visibility ──┐
    ownership ───┼──> reasons, each with the actions it gives ──> their union ──> cut down to the credential's limits
    grants ──────┘

Nothing is forbidden by a rule: what no reason gives is denied.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from moorage.access.action import Action
from moorage.access.actor import Actor, Identity
from moorage.access.limits import NOTHING
from moorage.access.roles import role_of
from moorage.oci.names import RepositoryName
from moorage.oci.pattern import Pattern

EVERYTHING: Final = frozenset(Action)
VISIBILITIES: Final = ("private", "internal", "public")


@dataclass(frozen=True, slots=True)
class Grant:
    """A subject may do actions on the repositories that a pattern matches; until `expires_at`, in microseconds."""

    subject: str
    pattern: Pattern
    actions: frozenset[Action]
    expires_at: int | None = None
    called: str = ""
    """How people know the subject, where somebody is to read it."""

    def applies(self, actor: Actor, repository: RepositoryName, now: int) -> bool:
        return (
            self.subject in actor.subjects
            and (actor.within is None or actor.within == repository.owner)
            and (self.expires_at is None or now < self.expires_at)
            and self.pattern.matches(repository)
        )


@dataclass(frozen=True, slots=True)
class Reason:
    """Something that gives an actor actions: a fact in words, or a grant."""

    what: str | Grant
    actions: frozenset[Action]

    @property
    def why(self) -> str:
        """The reason in words."""
        one = self.what
        if isinstance(one, str):
            return one
        return f"{one.called or one.subject} has {role_of(one.actions)} on {one.pattern.text}"


def reasons(
    actor: Actor, repository: RepositoryName, visibility: str | None, grants: Iterable[Grant], now: int
) -> list[Reason]:
    """Every reason that gives the actor something on the repository; `visibility` is None where it does not exist."""
    found = []
    if actor.admin:
        found.append(Reason(f"{actor.name} is an administrator", EVERYTHING))
    if actor.everywhere:
        found.append(Reason(f"{actor.name} has {role_of(actor.everywhere)} everywhere", actor.everywhere))
    if repository.owner in actor.owned:
        found.append(Reason(f"{actor.name} owns {repository.owner}", EVERYTHING))
    if visibility == "public":
        found.append(Reason("the repository is public", frozenset({Action.PULL})))
    if visibility == "internal" and actor.signed_in:
        found.append(Reason("the repository is internal: whoever is signed in may pull", frozenset({Action.PULL})))
    found += [Reason(one, one.actions) for one in grants if one.applies(actor, repository, now)]
    return found


def decide(
    identity: Identity, repository: RepositoryName, visibility: str | None, grants: Iterable[Grant], now: int
) -> frozenset[Action]:
    """What the actor may do on the repository with this credential, whatever its bearer token asked for."""
    if identity.vouched:
        return identity.asked.on(repository) if identity.asked is not None else NOTHING
    found = reasons(identity.actor, repository, visibility, grants, now)
    actions = NOTHING.union(*(one.actions for one in found))
    return actions if identity.limit is None else actions & identity.limit.on(repository)
