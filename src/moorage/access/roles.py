"""Roles: names for bundles of actions, so that people need not spell them out."""

from functools import lru_cache
from typing import Final

from moorage.access.action import Action
from moorage.errors import Code, RegistryError
from moorage.oci.names import shown

ROLES: Final = {
    "reader": frozenset({Action.PULL}),
    "writer": frozenset({Action.PULL, Action.PUSH, Action.OVERWRITE}),
    "maintainer": frozenset({Action.PULL, Action.PUSH, Action.OVERWRITE, Action.DELETE}),
    "owner": frozenset(Action),
}


@lru_cache(maxsize=1024)
def parse_actions(text: str) -> frozenset[Action]:
    """Actions and roles separated by commas, such as `pull,push` or `writer`.  Raises REQUEST_INVALID."""
    found: frozenset[Action] = frozenset()
    for word in (part.strip() for part in text.split(",")):
        if word in ROLES:
            found |= ROLES[word]
        elif word in _ACTIONS:
            found |= {_ACTIONS[word]}
        else:
            raise RegistryError(
                Code.REQUEST_INVALID,
                f"there is no action or role {shown(word)}: use {', '.join(_ACTIONS)}, or one of {', '.join(ROLES)}",
            )
    return found


def actions_text(actions: frozenset[Action]) -> str:
    """The actions as `parse_actions` reads them, in their usual order."""
    return ",".join(one.value for one in Action if one in actions)


def role_of(actions: frozenset[Action]) -> str:
    """The role that is just these actions, or their names."""
    return next((name for name, bundle in ROLES.items() if bundle == actions), actions_text(actions))


_ACTIONS: Final = {one.value: one for one in Action}
