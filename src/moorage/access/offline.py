"""Refresh tokens: what a client keeps instead of a password, and can be told to forget.

Asked for by GET they are given only where `auth.refreshtokens` says so: docker asks at every login, and would then
store no password, which older programs that read its configuration do not expect.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from moorage.access.actor import Identity
from moorage.access.secrets import new_secret
from moorage.db import accounts, tokens
from moorage.db.engine import Database, Tx
from moorage.errors import Code, RegistryError

_LIFE: Final = 90 * 24 * 3600 * 1_000_000
"""Microseconds after which somebody has to sign in again."""


@dataclass(frozen=True, slots=True)
class Offline:
    """Issues refresh tokens; `asked_for` says whether a GET may have one."""

    db: Database
    now: Callable[[], int]
    asked_for: bool = False

    async def issue(self, identity: Identity, client: str) -> str:
        """A refresh token for whoever signed in with a password; whoever has a token keeps that instead.

        Raises UNAUTHORIZED also where that password has been changed since it was looked at.
        """
        if identity.actor.id is None or identity.token_id is not None:
            raise RegistryError(Code.UNAUTHORIZED, "a refresh token is given for an account's password only")
        secret = new_secret("refresh")
        name, since = f"client {client[:80]}", identity.credentials_at
        await self.db.write(_add, identity.actor.id, name, secret.hash, since, self.now())
        return secret.text


def _add(tx: Tx, account: int, name: str, kept: str, since: int | None, now: int) -> None:
    standing = accounts.by_id(tx, account)
    if standing is None or since != standing.credentials_at:
        raise RegistryError(Code.UNAUTHORIZED, "the password was changed meanwhile; sign in again")
    tokens.add(tx, account, name, "refresh", kept, None, now, now + _LIFE)
