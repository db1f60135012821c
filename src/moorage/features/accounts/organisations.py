"""Organisations: made by administrators, ruled by their owners."""

from moorage.access import management
from moorage.access.actor import Actor, Identity
from moorage.access.permit import AdminPermit, OwnerPermit
from moorage.db import accounts
from moorage.db import organisations as rows
from moorage.db.accounts import Account
from moorage.db.engine import Tx
from moorage.errors import Code, RegistryError
from moorage.features.accounts.desk import Desk, find_account, parse_description, parse_visibility, taken, tell, unknown
from moorage.features.accounts.names import parse_account_name
from moorage.features.accounts.users import set_default
from moorage.features.accounts.views import MemberView, OrganisationView, Page, organisation_view

ROLES = ("owner", "member")


async def create(
    desk: Desk, permit: AdminPermit, name: str, owner: str | None, description: str = "", visibility: str = "private"
) -> OrganisationView:
    """A new organisation; without an `owner` it is the administrator's who makes it.

    Raises NAME_INVALID, REQUEST_INVALID, CONFLICT, ACCOUNT_UNKNOWN.
    """
    parse_account_name(name)
    parse_description(description)
    parse_visibility(visibility)
    return organisation_view(await desk.change(_create, permit.actor, name, owner, description, visibility))


async def page(desk: Desk, identity: Identity, after: str, most: int) -> Page[OrganisationView]:
    """All, for administrators; for others those that they are in.  Of either those that the credential is for."""
    management.signed_in(identity)
    found = await desk.db.scan(_page, identity, after, most + 1)
    return Page([organisation_view(one) for one in found[:most]], found[most - 1].name if len(found) > most else None)


async def show(desk: Desk, identity: Identity, name: str) -> OrganisationView:
    """For its members and administrators.  Raises ACCOUNT_UNKNOWN, DENIED."""
    management.signed_in(identity)
    management.reaches(identity, name)
    return organisation_view(await desk.db.scan(seen, identity.actor, name))


async def set_visibility(desk: Desk, permit: OwnerPermit, visibility: str) -> OrganisationView:
    """How visible repositories are that are made below its name from now on."""
    parse_visibility(visibility)
    changed = await desk.change(set_default, permit.actor.name, permit.owner, "organisation", visibility)
    return organisation_view(changed)


async def members(desk: Desk, identity: Identity, name: str, after: str, most: int) -> Page[MemberView]:
    """For members and administrators.  Raises ACCOUNT_UNKNOWN, DENIED."""
    management.signed_in(identity)
    management.reaches(identity, name)
    found = await desk.db.scan(_members, identity.actor, name, after, most + 1)
    return Page(found[:most], found[most - 1].name if len(found) > most else None)


async def put_member(desk: Desk, permit: OwnerPermit, user: str, role: str) -> MemberView:
    """Let a user in, or change their role.  Raises ACCOUNT_UNKNOWN; CONFLICT where it would leave no owner."""
    if role not in ROLES:
        raise RegistryError(Code.REQUEST_INVALID, f"there is no such role in an organisation: use {', '.join(ROLES)}")
    await desk.change(_put, permit.actor.name, permit.owner, user, role)
    return MemberView(user, role)


async def remove_member(desk: Desk, permit: OwnerPermit, user: str) -> None:
    """Take a user out of the organisation and its teams.  Raises ACCOUNT_UNKNOWN; CONFLICT for the last owner."""
    await desk.change(_remove, permit.actor.name, permit.owner, user)


def seen(tx: Tx, actor: Actor, name: str) -> Account:
    """The organisation, if the actor may know of it.  Raises ACCOUNT_UNKNOWN."""
    found = find_account(tx, name, "organisation")
    if not actor.admin and (actor.id is None or rows.role(tx, found.id, actor.id) is None):
        raise unknown("organisation", name)
    return found


def _create(tx: Tx, now: int, by: Actor, name: str, owner: str | None, description: str, visibility: str) -> Account:
    made = accounts.add(tx, name, "organisation", by.name, now, visibility=visibility, description=description)
    if made is None:
        raise taken(name)
    first = find_account(tx, owner, "user").id if owner is not None else by.id
    if first is not None:
        rows.put_member(tx, made.id, first, "owner", now)
    tell(tx, "organisation.created", by.name, now, name=name, owner=owner or by.name)
    return made


def _page(tx: Tx, identity: Identity, after: str, most: int) -> list[Account]:
    if identity.actor.admin and management.covers(identity, None):
        return accounts.page(tx, "organisation", after, most)
    mine = [one.name for one in rows.of(tx, identity.actor.id or 0) if one.name > after]
    seen_ = [name for name in mine if management.covers(identity, name)][:most]
    return [find_account(tx, name, "organisation") for name in seen_]


def _members(tx: Tx, actor: Actor, name: str, after: str, most: int) -> list[MemberView]:
    found = seen(tx, actor, name)
    return [MemberView(one.name, one.role) for one in rows.members_page(tx, found.id, after, most)]


def _put(tx: Tx, now: int, by: str, name: str, user: str, role: str) -> None:
    organisation = find_account(tx, name, "organisation")
    account = find_account(tx, user, "user")
    before = rows.role(tx, organisation.id, account.id)
    if before == "owner" and role != "owner":
        _check_owner(tx, organisation, account, now)
    rows.put_member(tx, organisation.id, account.id, role, now)
    tell(tx, "organisation.member", by, now, organisation=name, user=user, role=role, before=before)


def _remove(tx: Tx, now: int, by: str, name: str, user: str) -> None:
    organisation = find_account(tx, name, "organisation")
    account = find_account(tx, user, "user")
    role = rows.role(tx, organisation.id, account.id)
    if role is None:
        raise RegistryError(Code.ACCOUNT_UNKNOWN, f"{user} is no member of {name}")
    if role == "owner":
        _check_owner(tx, organisation, account, now)
    rows.remove_member(tx, organisation.id, account.id)
    tell(tx, "organisation.member-removed", by, now, organisation=name, user=user)


def _check_owner(tx: Tx, organisation: Account, account: Account, now: int) -> None:
    if not rows.has_other_owner(tx, organisation.id, account.id, now):
        raise RegistryError(
            Code.CONFLICT,
            f"{account.name} is the last owner of {organisation.name}; make somebody else an owner first",
        )
