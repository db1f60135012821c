"""Robots: accounts for programs, called `<owner>.<name>`.  They get rules within their owner's repositories only."""

from typing import Final

from moorage.access.permit import OwnerPermit
from moorage.access.roles import actions_text, parse_actions
from moorage.access.secrets import new_secret
from moorage.core.registry import SECOND
from moorage.db import accounts, grants, tokens
from moorage.db.accounts import Account
from moorage.db.engine import Tx
from moorage.errors import Code, RegistryError
from moorage.features.accounts.desk import Desk, find_account, parse_description, taken, tell, unknown
from moorage.features.accounts.expiry import ends_at
from moorage.features.accounts.names import parse_robot_name
from moorage.features.accounts.tokens import issue
from moorage.features.accounts.views import NewToken, Page, RobotView, TokenView, robot_view
from moorage.oci.names import shown
from moorage.oci.pattern import Pattern

_LONGEST_GRACE: Final = 30 * 24 * 3600
_MOST_RULES: Final = 100

Rule = tuple[Pattern, str]
"""What it may do where: a pattern, and actions as rows keep them."""


async def create(
    desk: Desk,
    permit: OwnerPermit,
    name: str,
    rules: list[str],
    description: str = "",
    expires_in: int | None = None,
) -> NewToken:
    """A robot with its secret, which may do what the rules say (`pattern:actions` each), all at once or not at all.

    Raises NAME_INVALID, REQUEST_INVALID, ACCOUNT_UNKNOWN, CONFLICT.
    """
    whole = parse_robot_name(permit.owner, name)
    parsed = [_parse_rule(rule, permit.owner) for rule in rules[: _MOST_RULES + 1]]
    if len(parsed) > _MOST_RULES:
        raise RegistryError(Code.REQUEST_INVALID, f"{_MOST_RULES} rules at a time are the most")
    ends = ends_at(desk.now(), expires_in, desk.token_life)
    secret = new_secret("robot")
    made = await desk.change(_create, permit, whole, parse_description(description), parsed, secret.hash, ends)
    return NewToken(made, secret.text)


async def page(desk: Desk, permit: OwnerPermit, after: str, most: int) -> Page[RobotView]:
    found = await desk.db.scan(_page, permit.owner, after, most + 1)
    return Page([robot_view(one) for one in found[:most]], found[most - 1].name if len(found) > most else None)


async def show(desk: Desk, permit: OwnerPermit, name: str) -> RobotView:
    """Raises ACCOUNT_UNKNOWN, also for the robot of another."""
    return robot_view(await desk.db.scan(find, permit.owner, name))


async def rotate(desk: Desk, permit: OwnerPermit, name: str, grace: int = 0, expires_in: int | None = None) -> NewToken:
    """Another secret.  The one before stays good for `grace` seconds; older ones end at once.

    Raises ACCOUNT_UNKNOWN, REQUEST_INVALID; CONFLICT for a robot that is disabled, or whose owner is or has ended.
    """
    if not 0 <= grace <= _LONGEST_GRACE:
        raise RegistryError(Code.REQUEST_INVALID, f"the grace is 0 to {_LONGEST_GRACE} seconds")
    ends = ends_at(desk.now(), expires_in, desk.token_life)
    secret = new_secret("robot")
    return NewToken(await desk.change(_rotate, permit, name, secret.hash, grace * SECOND, ends), secret.text)


async def set_disabled(desk: Desk, permit: OwnerPermit, name: str, *, disabled: bool) -> RobotView:
    """Shut a robot out, or let it in again.  Raises ACCOUNT_UNKNOWN."""
    return robot_view(await desk.change(_disable, permit, name, disabled))


async def remove(desk: Desk, permit: OwnerPermit, name: str) -> None:
    """Take the robot away, with its secrets and rules.  Raises ACCOUNT_UNKNOWN."""
    await desk.change(_remove, permit, name)


def find(tx: Tx, owner: str, name: str) -> Account:
    """Raises ACCOUNT_UNKNOWN, also for the robot of another."""
    found = find_account(tx, name, "robot")
    if found.owner != owner:
        raise unknown("robot", name)
    return found


def _parse_rule(rule: str, owner: str) -> Rule:
    text, colon, actions = rule.partition(":")
    if not colon:
        raise RegistryError(
            Code.REQUEST_INVALID, f"the rule {shown(rule)} is not PATTERN:ACTIONS, as in {owner}/*:pull,push"
        )
    pattern = Pattern.parse(text)
    check_within(pattern, owner)
    return pattern, actions_text(parse_actions(actions))


def check_within(pattern: Pattern, owner: str) -> None:
    """Raise REQUEST_INVALID for a rule that a robot of the owner cannot have."""
    if pattern.owner != owner:
        raise RegistryError(
            Code.REQUEST_INVALID,
            f"a robot of {owner} acts within {owner}/ only, and the pattern '{pattern.text}' is not within",
        )


def _create(
    tx: Tx, now: int, permit: OwnerPermit, name: str, description: str, rules: list[Rule], hashed: str, ends: int | None
) -> TokenView:
    owner = find_account(tx, permit.owner, "organisation", "user")
    by = permit.actor.name
    made = accounts.add(tx, name, "robot", by, now, owner=owner.id, description=description)
    if made is None:
        raise taken(name)
    told = [f"{pattern.text}:{actions}" for pattern, actions in rules]
    tell(tx, "robot.created", by, now, name=name, owner=owner.name, rules=told)
    for pattern, actions in rules:
        grants.put(tx, f"account:{made.id}", pattern.owner, pattern.text, actions, by, now, None)
    return issue(tx, now, made, "1", "robot", hashed, None, ends)


def _page(tx: Tx, owner: str, after: str, most: int) -> list[Account]:
    find_account(tx, owner, "organisation", "user")
    return accounts.robots(tx, owner, after, most)


def _rotate(tx: Tx, now: int, permit: OwnerPermit, name: str, hashed: str, grace: int, ends: int | None) -> TokenView:
    robot = find(tx, permit.owner, name)
    if not robot.usable(now):
        raise RegistryError(
            Code.CONFLICT,
            f"{name} is disabled, or its owner is, or has expired; a new secret would be good for nothing",
        )
    present = tokens.of(tx, robot.id)
    kept = next((one for one in reversed(present) if one.usable(now)), None) if grace else None
    for one in present:
        if kept is not None and one.id == kept.id:
            tokens.shorten(tx, one.id, now + grace)
        else:
            tokens.remove(tx, one.id)
    number = str(max((int(one.name) for one in present if one.name.isdigit()), default=0) + 1)
    made = issue(tx, now, robot, number, "robot", hashed, None, ends)
    tell(tx, "robot.rotated", permit.actor.name, now, name=name, token=made.id, grace=grace // SECOND)
    return made


def _disable(tx: Tx, now: int, permit: OwnerPermit, name: str, disabled: bool) -> Account:
    robot = find(tx, permit.owner, name)
    accounts.set_disabled(tx, robot, now if disabled else None, now)
    tell(tx, "robot.disabled" if disabled else "robot.enabled", permit.actor.name, now, name=name)
    return find(tx, permit.owner, name)


def _remove(tx: Tx, now: int, permit: OwnerPermit, name: str) -> None:
    robot = find(tx, permit.owner, name)
    tokens.remove_of(tx, robot.id)
    grants.remove_subject(tx, f"account:{robot.id}")
    accounts.remove(tx, robot)
    tell(tx, "robot.deleted", permit.actor.name, now, name=name)
