"""Users: made by administrators, never deleted: history keeps their names, so nobody else may ever get one."""

from moorage.access import management
from moorage.access.actor import Actor, Identity
from moorage.access.first import ADMIN, forget_first_password
from moorage.access.permit import AdminPermit
from moorage.db import accounts, organisations, teams, tokens
from moorage.db.accounts import Account
from moorage.db.engine import Tx
from moorage.errors import Code, RegistryError
from moorage.features.accounts.desk import Desk, find_account, parse_visibility, taken, tell, unknown
from moorage.features.accounts.expiry import ends_at
from moorage.features.accounts.names import parse_account_name
from moorage.features.accounts.views import Me, MemberView, Page, UserView, user_view


async def create(
    desk: Desk,
    permit: AdminPermit,
    name: str,
    password: str | None,
    *,
    admin: bool = False,
    expires_in: int | None = None,
) -> UserView:
    """A new user; without a password one who cannot sign in yet.  Raises NAME_INVALID, REQUEST_INVALID, CONFLICT."""
    parse_account_name(name)
    ends = ends_at(desk.now(), expires_in)
    kept = await desk.passwords.hash(password, name) if password is not None else None
    return user_view(await desk.change(add, permit.actor.name, name, kept, admin, ends), desk.now())


async def page(desk: Desk, permit: AdminPermit, after: str, most: int) -> Page[UserView]:
    del permit
    found = await desk.db.scan(accounts.page, "user", after, most + 1)
    shown = [user_view(one, desk.now()) for one in found[:most]]
    return Page(shown, found[most - 1].name if len(found) > most else None)


async def show(desk: Desk, identity: Identity, name: str) -> UserView:
    """For administrators and the user; for others there is no such user.  Raises ACCOUNT_UNKNOWN, DENIED."""
    management.signed_in(identity)
    if not identity.actor.admin and identity.actor.name != name:
        raise unknown("user", name)
    management.reaches(identity, name)
    return user_view(await desk.db.scan(find_account, name, "user"), desk.now())


async def me(desk: Desk, identity: Identity) -> Me:
    """Whom the credentials prove, and where they belong as far as that is their business.  Raises UNAUTHORIZED."""
    management.signed_in(identity)
    return await desk.db.scan(_me, identity)


async def set_disabled(desk: Desk, permit: AdminPermit, name: str, *, disabled: bool) -> UserView:
    """Shut a user out, robots and tokens included, or let them in again.

    Also the last owner of an organisation: who has to be out is out, and administrators give it another one.

    Raises ACCOUNT_UNKNOWN; CONFLICT for oneself and for the last administrator.
    """
    return user_view(await desk.change(_disable, permit.actor, name, disabled), desk.now())


async def set_admin(desk: Desk, permit: AdminPermit, name: str, *, admin: bool) -> UserView:
    """Make an administrator of a user, or a user of an administrator.

    Raises ACCOUNT_UNKNOWN; CONFLICT for oneself and for the last administrator.
    """
    return user_view(await desk.change(_admin, permit.actor, name, admin), desk.now())


async def set_end(desk: Desk, permit: AdminPermit, name: str, expires_in: int) -> UserView:
    """When a user's account ends, in seconds from now; 0 for no end.

    Raises ACCOUNT_UNKNOWN, REQUEST_INVALID; CONFLICT for an end of the last administrator.
    """
    ends = ends_at(desk.now(), expires_in or None)
    return user_view(await desk.change(_end, permit.actor.name, name, ends), desk.now())


async def set_visibility(desk: Desk, identity: Identity, name: str, visibility: str) -> UserView:
    """How visible repositories are that are made below the user's name from now on."""
    permit = management.owner(identity, name)
    changed = await desk.change(set_default, permit.actor.name, name, "user", parse_visibility(visibility))
    return user_view(changed, desk.now())


async def set_password(desk: Desk, identity: Identity, name: str, old: str | None, new: str) -> None:
    """Another password; what the old one got, bearer and refresh tokens, is void.

    One's own needs the old one, with as few guesses as at a sign-in; an administrator may set another's.
    Raises DENIED, REQUEST_INVALID, ACCOUNT_UNKNOWN, TOOMANYREQUESTS.
    """
    management.signed_in(identity)
    if identity.actor.name == name:
        management.personal(identity, name)
        account = await desk.db.scan(find_account, name, "user")
        if not await desk.passwords.fits(account.password, old or "", name, f"signed in as {name}"):
            raise RegistryError(Code.DENIED, "the old password is wrong; without it only an administrator can help")
    else:
        management.administrator(identity)
        account = await desk.db.scan(find_account, name, "user")
    kept = await desk.passwords.hash(new, name)
    await desk.change(replace_password, identity.actor.name, account, kept)
    if name == ADMIN:
        forget_first_password(desk.data)


def add(tx: Tx, now: int, by: str, name: str, kept: str | None, admin: bool, ends: int | None) -> Account:
    """The row of a new user, and its event.  Raises CONFLICT."""
    made = accounts.add(tx, name, "user", by, now, admin=admin, expires_at=ends, password=kept)
    if made is None:
        raise taken(name)
    tell(tx, "account.created", by, now, name=name, admin=admin)
    return made


def replace_password(tx: Tx, now: int, by: str, account: Account, kept: str) -> None:
    """Raises CONFLICT where it has been changed since `account` was read."""
    present = find_account(tx, account.name, "user")
    if present.password != account.password:
        raise RegistryError(Code.CONFLICT, "the password has just been changed by somebody else; look again")
    accounts.set_password(tx, present, kept, now)
    tokens.remove_of(tx, present.id, only_refresh=True)
    tell(tx, "account.password", by, now, name=account.name)


def set_default(tx: Tx, now: int, by: str, name: str, kind: str, visibility: str) -> Account:
    account = find_account(tx, name, kind)
    accounts.set_visibility(tx, account, visibility)
    tell(tx, "account.visibility", by, now, name=name, visibility=visibility)
    return find_account(tx, name, kind)


def _disable(tx: Tx, now: int, by: Actor, name: str, disabled: bool) -> Account:
    account = find_account(tx, name, "user")
    if disabled:
        _check_others(tx, now, by, account, "disable")
    accounts.set_disabled(tx, account, now if disabled else None, now)
    tell(tx, "account.disabled" if disabled else "account.enabled", by.name, now, name=name)
    return find_account(tx, name, "user")


def _admin(tx: Tx, now: int, by: Actor, name: str, admin: bool) -> Account:
    account = find_account(tx, name, "user")
    if not admin:
        _check_others(tx, now, by, account, "demote")
    accounts.set_admin(tx, account, admin)
    tell(tx, "account.admin", by.name, now, name=name, admin=admin)
    return find_account(tx, name, "user")


def _end(tx: Tx, now: int, by: str, name: str, ends: int | None) -> Account:
    account = find_account(tx, name, "user")
    if ends is not None and accounts.administrators(tx, now) == [account.id]:
        raise RegistryError(Code.CONFLICT, f"{name} is the last administrator, who needs an account without an end")
    accounts.set_end(tx, account, ends, now)
    tell(tx, "account.end", by, now, name=name, ends=ends is not None)
    return find_account(tx, name, "user")


def _check_others(tx: Tx, now: int, by: Actor, account: Account, doing: str) -> None:
    if by.id == account.id:
        raise RegistryError(Code.CONFLICT, f"you cannot {doing} yourself; another administrator can")
    if accounts.administrators(tx, now) == [account.id]:
        raise RegistryError(
            Code.CONFLICT, f"{account.name} is the last administrator; make another one first, then {doing} this one"
        )


def _me(tx: Tx, identity: Identity) -> Me:
    actor = identity.actor
    in_ = organisations.of(tx, actor.id) if actor.id is not None else []
    of = teams.of(tx, actor.id) if actor.id is not None else []
    return Me(
        actor.name,
        actor.kind,
        actor.admin,
        identity.credential,
        [MemberView(one.name, one.role) for one in in_ if management.covers(identity, one.name)],
        [f"{one.organisation}/{one.name}" for one in of if management.covers(identity, one.organisation)],
    )
