"""Tokens: what programs sign in with in place of a password.  Kept as a hash, shown once, limited as one likes."""

from typing import Final

from moorage.access import management
from moorage.access.actor import Identity
from moorage.access.credentials import FOREVER
from moorage.access.limits import Limit
from moorage.access.permit import PersonalPermit
from moorage.access.secrets import new_secret
from moorage.core.registry import SECOND
from moorage.db import tokens
from moorage.db.accounts import Account
from moorage.db.engine import Tx
from moorage.errors import Code, RegistryError
from moorage.features.accounts.desk import Desk, find_account, tell, unknown
from moorage.features.accounts.expiry import ends_at
from moorage.features.accounts.views import NewToken, Page, TokenView, token_view
from moorage.oci.names import shown

_MOST: Final = 100
"""Tokens of one account, the expired ones not counted, and scopes of one token."""

_LONGEST_NAME: Final = 64

Scopes = list[str]
"""`pattern:actions` each, as in `acme/*:pull,push`."""


async def create(
    desk: Desk, permit: PersonalPermit, name: str, scopes: Scopes, expires_in: int | None = None
) -> NewToken:
    """A token of the permit's account, limited to the scopes; without any it may do whatever its account may.

    It ends no later than what it is made with.  Raises REQUEST_INVALID, NAME_INVALID, CONFLICT where there is one of
    that name.
    """
    _check_name(name)
    limit = parse_scopes(scopes)
    ends = _ends(desk, permit, expires_in)
    secret = new_secret("personal")
    view = await desk.change(_create, permit, name, secret.hash, limit, ends)
    return NewToken(view, secret.text)


async def page(desk: Desk, identity: Identity, name: str) -> Page[TokenView]:
    """All tokens of an account, for itself, its owners and administrators.  Raises ACCOUNT_UNKNOWN, DENIED."""
    management.signed_in(identity)
    return Page(await desk.db.scan(_list, identity, name, desk.now()), None)


async def revoke(desk: Desk, identity: Identity, name: str, token: int) -> None:
    """End a token, and the bearer tokens it got.  For whoever may list it; a token can always end itself.

    Raises ACCOUNT_UNKNOWN, also for the token of another account, and DENIED.
    """
    management.signed_in(identity)
    await desk.change(_revoke, identity, name, token)


def parse_scopes(scopes: Scopes) -> str | None:
    """As rows keep them.  Raises REQUEST_INVALID or NAME_INVALID."""
    if len(scopes) > _MOST:
        raise RegistryError(Code.REQUEST_INVALID, f"{_MOST} scopes of one token are the most")
    pairs = []
    for scope in scopes:
        pattern, colon, actions = scope.partition(":")
        if not colon or not actions:
            raise RegistryError(
                Code.REQUEST_INVALID, f"the scope {shown(scope)} is not PATTERN:ACTIONS, as in acme/*:pull,push"
            )
        pairs.append((pattern, actions))
    return Limit.of(pairs).dump() if pairs else None


def issue(
    tx: Tx, now: int, account: Account, name: str, kind: str, hashed: str, limit: str | None, ends: int | None
) -> TokenView:
    """The row of a new token.  Raises LookupError if it is not there afterwards."""
    made = tokens.find(tx, tokens.add(tx, account.id, name, kind, hashed, limit, now, ends))
    if made is None:
        raise LookupError("a new token is not there")
    return token_view(made, account.name, now)


def _ends(desk: Desk, permit: PersonalPermit, expires_in: int | None) -> int | None:
    """When a new token ends: where nothing is asked for, with what it is made with.  Raises REQUEST_INVALID."""
    now = desk.now()
    ends = ends_at(now, expires_in, desk.token_life)
    if permit.lends == FOREVER or (ends is not None and ends <= permit.lends * SECOND):
        return ends
    left = int(permit.lends - now / SECOND)
    if expires_in is not None or left < 1:
        raise RegistryError(
            Code.REQUEST_INVALID,
            f"a token ends no later than what it is made with, and that ends in {max(left, 0)} seconds; ask for less, "
            "or sign in with what lasts longer",
            most=max(left, 0),
        )
    return round(permit.lends * SECOND)


def _check_name(name: str) -> None:
    if not 0 < len(name) <= _LONGEST_NAME or not name.isprintable() or name != name.strip():
        raise RegistryError(
            Code.REQUEST_INVALID, f"a token's name is 1 to {_LONGEST_NAME} printable characters, as in 'laptop'"
        )


def _create(
    tx: Tx, now: int, permit: PersonalPermit, name: str, hashed: str, limit: str | None, ends: int | None
) -> TokenView:
    account = find_account(tx, permit.name, "user")
    present = tokens.of(tx, account.id)
    if any(one.name == name and one.usable(now) for one in present):
        raise RegistryError(Code.CONFLICT, f"there is a token {shown(name)} already; revoke it, or choose another name")
    if sum(one.usable(now) for one in present) >= _MOST:
        raise RegistryError(Code.CONFLICT, f"{account.name} has {_MOST} tokens already; revoke one first")
    for one in present:
        if one.name == name:
            tokens.remove(tx, one.id)
    made = issue(tx, now, account, name, "personal", hashed, limit, ends)
    tell(
        tx, "token.created", permit.actor.name, now, account=account.name, token=made.id, name=name, scopes=made.scopes
    )
    return made


def _list(tx: Tx, identity: Identity, name: str, now: int) -> list[TokenView]:
    account = _holder(tx, identity, name)
    return [token_view(one, account.name, now) for one in tokens.of(tx, account.id)]


def _revoke(tx: Tx, now: int, identity: Identity, name: str, token: int) -> None:
    account = _holder(tx, identity, name, token)
    found = tokens.find(tx, token)
    if found is None or found.account != account.id or found.kind not in {"personal", "robot"}:
        raise unknown("token", token)
    tokens.remove(tx, found.id)
    tell(tx, "token.revoked", identity.actor.name, now, account=account.name, token=found.id, name=found.name)


def _holder(tx: Tx, identity: Identity, name: str, token: int | None = None) -> Account:
    """The account whose tokens they are, if they are any business of the actor's and of this credential's."""
    account = find_account(tx, name, "user", "robot")
    actor = identity.actor
    mine = actor.id == account.id or (account.owner is not None and account.owner in actor.owned)
    whose = account.owner or account.name
    if not mine and not (actor.admin and management.covers(identity, whose)):
        raise unknown("user", name)
    if token is None or token != identity.token_id:
        management.reaches(identity, whose)
    return account
