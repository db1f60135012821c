"""What a credential is limited to: patterns of repositories, and actions there."""

import json
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from moorage.access.action import Action
from moorage.access.roles import actions_text, parse_actions
from moorage.oci.names import RepositoryName
from moorage.oci.pattern import Pattern

NOTHING: Final[frozenset[Action]] = frozenset()


@dataclass(frozen=True, slots=True)
class Scope:
    """Some actions on the repositories that a pattern matches."""

    pattern: Pattern
    actions: frozenset[Action]


@dataclass(frozen=True, slots=True)
class Limit:
    """The most a credential can do: the union of its scopes.  It grants nothing by itself."""

    scopes: tuple[Scope, ...]

    def on(self, repository: RepositoryName) -> frozenset[Action]:
        """What it leaves of an actor's actions on a repository."""
        return NOTHING.union(*(one.actions for one in self.scopes if one.pattern.matches(repository)))

    def rules(self, owner: str | None) -> bool:
        """Whether it lets everything of an owner be managed; of every owner, where that is None."""
        whole = {"**", f"{owner}/**"} if owner is not None else {"**"}
        return any(Action.MANAGE in one.actions and one.pattern.text in whole for one in self.scopes)

    def dump(self) -> str:
        """As rows keep it."""
        return json.dumps([[one.pattern.text, actions_text(one.actions)] for one in self.scopes])

    @classmethod
    def load(cls, text: str) -> "Limit":
        return cls.of((pattern, actions) for pattern, actions in json.loads(text))

    @classmethod
    def of(cls, pairs: Iterable[tuple[str, str]]) -> "Limit":
        """From patterns and what `parse_actions` reads.  Raises REQUEST_INVALID."""
        return cls(tuple(Scope(Pattern.parse(pattern), parse_actions(actions)) for pattern, actions in pairs))
