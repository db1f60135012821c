"""Scopes as tokens spell them: `repository:acme/app:pull,push registry:catalog:*` (Docker's token specification).

A name may hold colons (a host and its port), so a scope is cut at its first and its last one.  What cannot be read is
left out: a client that asks for too much gets what there is.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from moorage.access.action import Action
from moorage.errors import RegistryError
from moorage.oci.names import RepositoryName

MOST: Final = 100
"""Scopes that one request may ask for; the others are left out."""

CATALOG: Final = "registry:catalog:*"
API: Final = "registry:api:*"
"""What a bearer token has to cover so that accounts, rules and repositories can be managed with it."""

_MEANING: Final[dict[str, frozenset[Action]]] = {
    "pull": frozenset({Action.PULL}),
    "push": frozenset({Action.PUSH, Action.OVERWRITE}),
    "delete": frozenset({Action.DELETE}),
    "*": frozenset(Action),
}
_NEEDED: Final = {
    Action.PULL: "pull",
    Action.PUSH: "pull,push",
    Action.OVERWRITE: "pull,push",
    Action.DELETE: "delete",
    Action.MANAGE: "*",
}


@dataclass(frozen=True, slots=True)
class Scopes:
    """What a bearer token covers: wire actions by repository, whether it may list the catalog, and use the API."""

    repositories: Mapping[RepositoryName, frozenset[str]]
    catalog: bool = False
    api: bool = False

    def on(self, repository: RepositoryName) -> frozenset[Action]:
        """What it leaves of an actor's actions on a repository."""
        wire = self.repositories.get(repository)
        return frozenset().union(*(_MEANING.get(word, frozenset()) for word in wire)) if wire else frozenset()

    @classmethod
    def parse(cls, texts: Iterable[str]) -> "Scopes":
        """From the values of `scope`, each of which may hold several separated by spaces."""
        repositories: dict[RepositoryName, frozenset[str]] = {}
        whole: set[str] = set()
        for scope in [one for text in texts for one in text.split(" ") if one][:MOST]:
            kind, _, rest = scope.partition(":")
            name, _, words = rest.rpartition(":")
            actions = frozenset(words.split(","))
            if kind.partition("(")[0] == "repository" and (repository := _parsed(name)) is not None:
                repositories[repository] = repositories.get(repository, frozenset()) | (actions & _MEANING.keys())
            elif kind == "registry" and "*" in actions:
                whole.add(name)
        return cls(repositories, "catalog" in whole, "api" in whole)

    @classmethod
    def of_claims(cls, access: Any) -> "Scopes":
        """From the `access` claim of a token."""
        entries = access if isinstance(access, list) else []
        texts = [
            f"{one.get('type')}:{one.get('name')}:{','.join(map(str, one.get('actions') or ()))}"
            for one in entries
            if isinstance(one, dict)
        ]
        return cls.parse(texts)

    def claims(self) -> list[dict[str, object]]:
        """As the `access` claim of a token."""
        entries: list[dict[str, object]] = [
            {"type": "repository", "name": name.value, "actions": sorted(words)}
            for name, words in self.repositories.items()
        ]
        whole = [name for name, has in (("catalog", self.catalog), ("api", self.api)) if has]
        entries += [{"type": "registry", "name": name, "actions": ["*"]} for name in whole]
        return entries


def granted(wanted: frozenset[str], actions: frozenset[Action]) -> frozenset[str]:
    """Those of the wire actions that an actor who may do `actions` can have."""
    whole = actions >= _MEANING["*"]
    words = {word for word in ("pull", "push", "delete") if actions & _MEANING[word]}
    if "*" in wanted:
        return frozenset({*words, "*"} if whole else words)
    return wanted & frozenset(words)


def needed(repository: RepositoryName, action: Action) -> str:
    """The scope that a challenge asks for."""
    return f"repository:{repository}:{_NEEDED[action]}"


def _parsed(name: str) -> RepositoryName | None:
    try:
        return RepositoryName.parse(name)
    except RegistryError:
        return None
