"""Sign-up: accounts that people make for themselves, where `accounts.signup` lets them.

invite   an administrator makes the account and gets a secret to hand over; with it, once, its password is chosen
open     anyone makes one (invitations are good as well)
"""

from typing import Final

from moorage.access.permit import AdminPermit
from moorage.access.secrets import is_secret, new_secret, secret_hash
from moorage.db import accounts, grants, repositories, tokens
from moorage.db.engine import Tx
from moorage.errors import Code, RegistryError
from moorage.features.accounts import users
from moorage.features.accounts.desk import Desk, taken, tell
from moorage.features.accounts.names import parse_account_name
from moorage.features.accounts.views import UserView, user_view
from moorage.oci.names import LIBRARY

_LIFE: Final = 7 * 24 * 3600 * 1_000_000
"""Microseconds that an invitation is good for."""


async def invite(desk: Desk, permit: AdminPermit, name: str) -> str:
    """A new user without a password, and the secret to choose one with.  Raises what `users.create` does, DENIED."""
    if desk.signup == "off":
        raise RegistryError(
            Code.DENIED,
            "nobody is invited here: accounts.signup is off; set it to invite, or add the user with a password",
        )
    parse_account_name(name)
    secret = new_secret("invitation")
    await desk.change(_invite, permit.actor.name, name, secret.hash)
    return secret.text


async def accept(desk: Desk, invitation: str, password: str) -> UserView:
    """Choose the password of the account that one was invited to.  Raises DENIED, the same whatever is wrong."""
    if desk.signup == "off":
        raise _off()
    if not is_secret(invitation):
        raise _no_good()
    invited = await desk.db.read(_check, secret_hash(invitation), desk.now())
    kept = await desk.passwords.hash(password, invited.name)
    return user_view(await desk.change(_accept, secret_hash(invitation), kept), desk.now())


async def sign_up(desk: Desk, name: str, password: str) -> UserView:
    """A new account for whoever asks.  Raises DENIED where that is not for everybody, and what `users.create` does."""
    if desk.signup != "open":
        raise _off()
    parse_account_name(name)
    kept = await desk.passwords.hash(password, name)
    return user_view(await desk.change(_sign_up, name, kept), desk.now())


def _invite(tx: Tx, now: int, by: str, name: str, hashed: str) -> None:
    account = users.add(tx, now, by, name, None, False, None)
    tokens.add(tx, account.id, "invitation", "invitation", hashed, None, now, now + _LIFE)
    tell(tx, "account.invited", by, now, name=name)


def _accept(tx: Tx, now: int, hashed: str, kept: str) -> accounts.Account:
    account = _check(tx, hashed, now)
    accounts.set_password(tx, account, kept, now)
    tokens.remove_of(tx, account.id, only_refresh=True)
    tell(tx, "account.password", account.name, now, name=account.name)
    return account


def _sign_up(tx: Tx, now: int, name: str, kept: str) -> accounts.Account:
    """A name that reads like a robot of somebody's would be taken for one, so only administrators give it.

    So do they a name below which there is something already: whoever has it owns that.
    """
    if name == LIBRARY or repositories.any_of(tx, name) or grants.page(tx, name, 0, 1):
        raise taken(name)
    owner, dot, _ = name.partition(".")
    while dot:
        if accounts.find(tx, owner) is not None:
            raise RegistryError(Code.DENIED, f"the name '{name}' looks like a robot of {owner}'s; choose another")
        following, dot, _ = name[len(owner) + 1 :].partition(".")
        owner = f"{owner}.{following}"
    return users.add(tx, now, name, name, kept, False, None)


def _check(tx: Tx, hashed: str, now: int) -> accounts.Account:
    token = tokens.by_hash(tx, hashed)
    account = accounts.by_id(tx, token.account) if token is not None else None
    if token is None or account is None or token.kind != "invitation":
        raise _no_good()
    if not token.usable(now) or not account.usable(now):
        raise _no_good()
    return account


def _off() -> RegistryError:
    return RegistryError(
        Code.DENIED, "nobody makes an account for themselves here (accounts.signup); an administrator can make you one"
    )


def _no_good() -> RegistryError:
    return RegistryError(Code.DENIED, "the invitation is not good, or no longer; ask an administrator for another one")
