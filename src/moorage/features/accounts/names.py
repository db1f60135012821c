"""Names of accounts: one component of a repository's name, because an account owns the repositories below its name.

Users, organisations and robots share one namespace.  The grammar is lower-case ASCII, so no two names look alike by
case or script.
"""

from typing import Final

from moorage.errors import Code, RegistryError
from moorage.oci.names import RepositoryName, shown

LONGEST: Final = 64

_ROOTS: Final = frozenset(
    {"v1", "v2", "api", "token", "auth", "service", "metrics"}
    | {"livez", "readyz", "startupz", "healthz", "robots.txt", "favicon.ico"}
)
"""What pages, the API and health answer at: a page of an account would collide with them."""

_SPOKEN_FOR: Final = frozenset({"anonymous", "anyone", "everyone", "operator", "system"})
"""Whom rules and history mean by these words."""


def parse_account_name(text: str) -> str:
    """The name for a new user or organisation.  Raises NAME_INVALID, saying which rule it breaks."""
    name = parse_part(text, "account")
    if name in _ROOTS or name in _SPOKEN_FOR:
        raise RegistryError(Code.NAME_INVALID, f"the account name '{name}' is reserved; choose another", name=name)
    return name


def parse_robot_name(owner: str, text: str) -> str:
    """The whole name of an owner's robot, `<owner>.<name>`, from that or its own, which has no dot.

    So the last dot of a robot's name tells whose it is.  Raises NAME_INVALID.
    """
    own = text.removeprefix(f"{owner}.")
    if "." in own:
        raise RegistryError(
            Code.NAME_INVALID, f"the robot name {shown(own)} is not valid: it can have no dot", name=own
        )
    return parse_part(f"{owner}.{parse_part(own, 'robot')}", "robot")


def parse_part(text: str, what: str) -> str:
    """One component.  Raises NAME_INVALID."""
    fault = None
    if len(text) > LONGEST:
        fault = f"it has {len(text)} characters; {LONGEST} are the most"
    elif "/" in text or not _is_name(text):
        fault = "use lower-case letters and digits, with single '.', '_', '__' or '-' between them"
    if fault:
        raise RegistryError(
            Code.NAME_INVALID, f"the {what} name {shown(text)} is not valid: {fault}", name=text[:LONGEST]
        )
    return text


def _is_name(text: str) -> bool:
    try:
        RepositoryName.parse(text)
    except RegistryError:
        return False
    return True
