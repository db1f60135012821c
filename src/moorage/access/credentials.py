"""From an Authorization header to an identity.

Basic   alice:password      a user's password       → argon2, in its own threads
        alice:mrgp_…        a token, by its hash     → one indexed read
Bearer  eyJ…                signed by us             → signature, then rows: does what it rests on still stand?
"""

import base64
import binascii
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Final

from moorage.access.actor import ANONYMOUS, ANYONE, EVERYONE, NOBODY, PASSWORD, Actor, Identity
from moorage.access.bearer import Bearer, Claims, refused
from moorage.access.limits import Limit
from moorage.access.passwords import Passwords
from moorage.access.secrets import is_secret, secret_hash
from moorage.db import accounts, tokens
from moorage.db.accounts import Account
from moorage.db.engine import Database, Tx
from moorage.db.tokens import Token
from moorage.errors import Code, RegistryError
from moorage.oci.names import shown

LONGEST: Final = 16 * 1024
"""Characters of an Authorization header that we look at."""

NAME_LENGTH: Final = 255
FOREVER: Final = float("inf")
_SECOND: Final = 1_000_000
_SIGN_IN: Final = frozenset({"personal", "robot"})
"""The kinds of token that stand for a password."""


@dataclass(frozen=True, slots=True)
class Login:
    """A name and what proves it."""

    name: str
    secret: str


@dataclass(frozen=True, slots=True)
class Credentials:
    """Proves identities from this registry's own accounts."""

    db: Database
    passwords: Passwords
    bearer: Bearer
    now: Callable[[], int]

    def version(self) -> object:
        """All it knows is in rows, whose changes the access generation tells of."""
        return None

    async def identify(self, header: str, peer: str, /) -> Identity:
        """Who an Authorization header is from.  Raises UNAUTHORIZED, saying what is wrong with it; TOOMANYREQUESTS."""
        scheme, _, rest = header.partition(" ")
        if len(header) > LONGEST:
            raise RegistryError(Code.UNAUTHORIZED, f"the Authorization header is longer than {LONGEST} characters")
        if scheme.lower() == "basic":
            return await self.sign_in(parse_basic(rest.strip()), peer)
        if scheme.lower() == "bearer":
            return await self._bearer(rest.strip())
        raise RegistryError(
            Code.UNAUTHORIZED, f"the authorization scheme {shown(scheme)} is not known here; use Basic or Bearer"
        )

    async def sign_in(self, login: Login, peer: str) -> Identity:
        """Who a name and its secret prove.  Raises UNAUTHORIZED, the same for whatever is wrong; TOOMANYREQUESTS.

        No number of wrong passwords stands in the way of a token.
        """
        if is_secret(login.secret):
            found = await self.db.read(_by_secret, secret_hash(login.secret), self.now())
            if found is None or found[0].name != login.name or found[1].kind not in _SIGN_IN:
                raise wrong(login.name)
            return await self.db.read(of_token, *found)
        account = await self.db.read(accounts.find, login.name[:NAME_LENGTH])
        if account is not None and (account.kind != "user" or not account.usable(self.now())):
            account = None
        fits = await self.passwords.fits(account.password if account else None, login.secret, login.name, peer)
        if account is None or not fits:
            raise wrong(login.name)
        return await self.db.read(_of_account, account)

    async def refresh(self, secret: str) -> Identity:
        """Who a refresh token is from.  Raises UNAUTHORIZED."""
        found = await self.db.read(_by_secret, secret_hash(secret), self.now()) if is_secret(secret) else None
        if found is None or found[1].kind != "refresh":
            raise RegistryError(Code.UNAUTHORIZED, "the refresh token is not good, or no longer; sign in again")
        return await self.db.read(of_token, *found)

    async def _bearer(self, text: str) -> Identity:
        claims = await self.bearer.read(text)
        if claims.account is None:
            if claims.name:
                raise refused("is not one of this registry's; sign in again")
            why = claims.credential if claims.credential != NOBODY.credential else ""
            return Identity(ANONYMOUS, "an anonymous token", asked=claims.scopes, until=claims.expires, unproved=why)
        identity = await self.db.read(_standing, claims, self.now())
        if identity is None:
            raise refused("was given for credentials that are no longer good; sign in again")
        return identity


def parse_basic(text: str) -> Login:
    """The name and secret of Basic credentials (RFC 7617); a secret may hold colons.  Raises UNAUTHORIZED."""
    try:
        decoded = base64.b64decode(text, validate=True).decode()
    except (binascii.Error, ValueError):
        raise RegistryError(Code.UNAUTHORIZED, "the Basic credentials are not base64 of UTF-8 text") from None
    name, colon, secret = decoded.partition(":")
    if not colon or "\0" in decoded:
        raise RegistryError(Code.UNAUTHORIZED, "the Basic credentials are not a name and a password with ':' between")
    return Login(name, secret)


def wrong(name: str) -> RegistryError:
    """What everybody hears whose name or secret is not right, whichever it is."""
    return RegistryError(
        Code.UNAUTHORIZED,
        "the user name or password is wrong, or the account may no longer sign in; an administrator can help",
        user=shown(name[:NAME_LENGTH]),
    )


def actor_of(tx: Tx, account: Account) -> Actor:
    """The account as an actor, with whom grants may name to mean it."""
    teams = [f"team:{identity}" for identity in accounts.team_ids(tx, account.id)]
    subjects = (f"account:{account.id}", *teams, EVERYONE, ANYONE)
    if account.kind == "robot":
        return Actor(account.name, "robot", account.id, False, subjects, frozenset(), account.owner)
    owned = frozenset({account.name, *accounts.organisations_owned(tx, account.id)})
    return Actor(account.name, "user", account.id, account.admin, subjects, owned)


def _of_account(tx: Tx, account: Account) -> Identity:
    until = account.expires_at / _SECOND if account.expires_at is not None else FOREVER
    return Identity(actor_of(tx, account), PASSWORD, until=until, credentials_at=account.credentials_at)


def of_token(tx: Tx, account: Account, token: Token) -> Identity:
    """The identity that a token of the account proves."""
    ends = [end / _SECOND for end in (account.expires_at, token.expires_at) if end is not None]
    limit = Limit.load(token.scopes) if token.scopes is not None else None
    told = "a refresh token" if token.kind == "refresh" else f"the token '{token.name}'"
    return Identity(actor_of(tx, account), told, limit, None, token_id=token.id, until=min(ends, default=FOREVER))


def _by_secret(tx: Tx, kept: str, now: int) -> tuple[Account, Token] | None:
    token = tokens.by_hash(tx, kept)
    account = accounts.by_id(tx, token.account) if token else None
    if token is None or account is None or not token.usable(now) or not account.usable(now):
        return None
    return account, token


def _standing(tx: Tx, claims: Claims, now: int) -> Identity | None:
    """Whom a bearer token proves, if the account and the credential it was given for still stand."""
    account = accounts.by_id(tx, claims.account or 0)
    if account is None or account.name != claims.name or not account.usable(now):
        return None
    renewable = 0.0
    if claims.token is None:
        if claims.credentials_at != account.credentials_at:
            return None
        identity = _of_account(tx, account)
    else:
        token = tokens.find(tx, claims.token)
        if token is None or token.account != account.id or not token.usable(now):
            return None
        identity = of_token(tx, account, token)
        renewable = identity.until if token.kind == "refresh" else 0.0
    return replace(
        identity,
        credential=claims.credential,
        asked=claims.scopes,
        until=min(identity.until, claims.expires),
        renewable=renewable,
    )
