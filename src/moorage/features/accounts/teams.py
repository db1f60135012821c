"""Teams: members of an organisation whom rules name together."""

from moorage.access import management
from moorage.access.actor import Actor, Identity
from moorage.access.permit import OwnerPermit
from moorage.db import grants
from moorage.db import organisations as members
from moorage.db import teams as rows
from moorage.db.engine import Tx
from moorage.db.teams import Team
from moorage.errors import Code, RegistryError
from moorage.features.accounts.desk import Desk, find_account, tell, unknown
from moorage.features.accounts.names import parse_part
from moorage.features.accounts.organisations import seen
from moorage.features.accounts.views import Page, TeamView


async def create(desk: Desk, permit: OwnerPermit, name: str) -> TeamView:
    """Raises NAME_INVALID, ACCOUNT_UNKNOWN, CONFLICT."""
    await desk.change(_create, permit.actor.name, permit.owner, parse_part(name, "team"))
    return TeamView(permit.owner, name)


async def page(desk: Desk, identity: Identity, organisation: str, after: str, most: int) -> Page[TeamView]:
    """For members of the organisation and administrators.  Raises ACCOUNT_UNKNOWN, DENIED."""
    management.signed_in(identity)
    management.reaches(identity, organisation)
    found = await desk.db.scan(_page, identity.actor, organisation, after, most + 1)
    entries = [TeamView(one.organisation, one.name) for one in found[:most]]
    return Page(entries, found[most - 1].name if len(found) > most else None)


async def remove(desk: Desk, permit: OwnerPermit, name: str) -> None:
    """Take the team away, and with it what it was granted.  Raises ACCOUNT_UNKNOWN."""
    await desk.change(_remove, permit.actor.name, permit.owner, name)


async def members_page(
    desk: Desk, identity: Identity, organisation: str, team: str, after: str, most: int
) -> Page[str]:
    """For members of the organisation and administrators.  Raises ACCOUNT_UNKNOWN, DENIED."""
    management.signed_in(identity)
    management.reaches(identity, organisation)
    found = await desk.db.scan(_members, identity.actor, organisation, team, after, most + 1)
    return Page(found[:most], found[most - 1] if len(found) > most else None)


async def add_member(desk: Desk, permit: OwnerPermit, team: str, user: str) -> None:
    """Put a user into a team, and into its organisation where they are not in yet.  Raises ACCOUNT_UNKNOWN."""
    await desk.change(_add_member, permit.actor.name, permit.owner, team, user)


async def remove_member(desk: Desk, permit: OwnerPermit, team: str, user: str) -> None:
    """Take a user out of a team; in the organisation they stay.  Raises ACCOUNT_UNKNOWN."""
    await desk.change(_remove_member, permit.actor.name, permit.owner, team, user)


def find(tx: Tx, organisation: str, name: str) -> Team:
    """Raises ACCOUNT_UNKNOWN."""
    found = rows.find(tx, organisation, name)
    if found is None:
        raise unknown("team", f"{organisation}/{name}")
    return found


def _create(tx: Tx, now: int, by: str, organisation: str, name: str) -> None:
    account = find_account(tx, organisation, "organisation")
    if not rows.add(tx, account.id, name, now):
        raise RegistryError(Code.CONFLICT, f"there is a team {name} in {organisation} already")
    tell(tx, "team.created", by, now, organisation=organisation, team=name)


def _page(tx: Tx, actor: Actor, organisation: str, after: str, most: int) -> list[Team]:
    seen(tx, actor, organisation)
    return rows.page(tx, organisation, after, most)


def _remove(tx: Tx, now: int, by: str, organisation: str, name: str) -> None:
    team = find(tx, organisation, name)
    grants.remove_subject(tx, team.subject)
    rows.remove(tx, team)
    tell(tx, "team.deleted", by, now, organisation=organisation, team=name)


def _members(tx: Tx, actor: Actor, organisation: str, team: str, after: str, most: int) -> list[str]:
    seen(tx, actor, organisation)
    return rows.members_page(tx, find(tx, organisation, team), after, most)


def _add_member(tx: Tx, now: int, by: str, organisation: str, name: str, user: str) -> None:
    team = find(tx, organisation, name)
    account = find_account(tx, user, "user")
    whole = find_account(tx, organisation, "organisation")
    if members.role(tx, whole.id, account.id) is None:
        members.put_member(tx, whole.id, account.id, "member", now)
        tell(tx, "organisation.member", by, now, organisation=organisation, user=user, role="member", before=None)
    if rows.add_member(tx, team, account.id, now):
        tell(tx, "team.member", by, now, organisation=organisation, team=name, user=user)


def _remove_member(tx: Tx, now: int, by: str, organisation: str, name: str, user: str) -> None:
    team = find(tx, organisation, name)
    account = find_account(tx, user, "user")
    if not rows.remove_member(tx, team, account.id):
        raise RegistryError(Code.ACCOUNT_UNKNOWN, f"{user} is not in the team {organisation}/{name}")
    tell(tx, "team.member-removed", by, now, organisation=organisation, team=name, user=user)
