"""Bearer tokens: signed proof of who somebody is, and of the scopes they asked for (Docker's token specification).

A token proves an actor and caps what it may do; what it may do is decided from rows when it is used.
"""

import secrets
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

from moorage.access.keys import ALGORITHM, LONGEST_TOKEN, KeyRing
from moorage.access.scopes import Scopes
from moorage.errors import Code, RegistryError

LONGEST: Final = 16 * 1024
"""Characters of a token that we look at."""

_LEEWAY: Final = 60
"""Seconds that clocks may differ."""

ISSUER: Final = "moorage"


@dataclass(frozen=True, slots=True)
class Claims:
    """What a token of ours says.  `account` and `token` are ids of rows.

    `credentials_at` is the account's of when the token was given: where that is another by now, the token is void.
    """

    name: str
    account: int | None
    token: int | None
    credential: str
    scopes: Scopes
    credentials_at: int | None
    expires: int


@dataclass(frozen=True, slots=True)
class Bearer:
    """Mints and reads the bearer tokens of one registry, which is called `service`."""

    keys: KeyRing
    service: str
    seconds: int
    now: Callable[[], int]

    async def mint(
        self,
        name: str,
        account: int | None,
        token: int | None,
        credential: str,
        scopes: Scopes,
        credentials_at: int | None = None,
    ) -> str:
        """A token for the scopes; `name` is empty for nobody.

        It rests on the account's credentials as they were at `credentials_at`, in microseconds: what was changed since,
        while a password was hashed, say, makes it void.
        """
        import jwt

        key = await self.keys.signing()
        at = self.now() // 1_000_000
        claims = {
            "iss": ISSUER,
            "sub": name,
            "aud": self.service,
            "iat": at,
            "nbf": at - _LEEWAY,
            "exp": at + min(self.seconds, LONGEST_TOKEN),
            "jti": secrets.token_urlsafe(12),
            "access": scopes.claims(),
            "moorage": {"account": account, "token": token, "credential": credential, "since": credentials_at},
        }
        return jwt.encode(claims, key.private, ALGORITHM, headers={"kid": key.id})

    async def read(self, text: str) -> Claims:
        """What a token says, if we signed it, for this registry, and it is still good.  Raises UNAUTHORIZED."""
        import jwt

        if len(text) > LONGEST:
            raise refused("is too long to be one of this registry's")
        try:
            header = jwt.get_unverified_header(text)
            identity = header.get("kid")
            key = await self.keys.find(identity) if isinstance(identity, str) else None
            if key is None or header.get("alg") != ALGORITHM:
                raise refused("was not signed by this registry; sign in again")
            claims = jwt.decode(
                text,
                key.private.public_key(),
                [ALGORITHM],
                issuer=ISSUER,
                audience=self.service,
                leeway=_LEEWAY,
                options={"require": ["exp", "iat", "nbf", "aud", "iss", "sub"]},
            )
        except jwt.ExpiredSignatureError:
            raise refused("has expired; ask for a new one, or sign in again") from None
        except (jwt.PyJWTError, ValueError, TypeError, RecursionError):
            raise refused("is not one of this registry's; sign in again") from None
        return _claims(claims)


def _claims(claims: dict[str, Any]) -> Claims:
    ours = claims.get("moorage")
    if not isinstance(ours, dict):
        raise refused("is not one of this registry's; sign in again")
    return Claims(
        claims["sub"],
        ours["account"],
        ours["token"],
        ours["credential"],
        Scopes.of_claims(claims.get("access")),
        ours.get("since"),
        claims["exp"],
    )


def refused(why: str) -> RegistryError:
    """A bearer token that proves nothing."""
    return RegistryError(Code.UNAUTHORIZED, f"the bearer token {why}", error="invalid_token")
