"""Refresh tokens: what a client keeps instead of a password, and can be told to forget.

Asked for by GET they are given only where `auth.refreshtokens` says so: docker asks at every login, and would then
store no password, which older programs that read its configuration do not expect.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from moorage.access.actor import Identity
from moorage.access.secrets import new_secret
from moorage.db import tokens
from moorage.db.engine import Database
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
        """A refresh token for whoever signed in with a password; whoever has a token keeps that instead."""
        if identity.actor.id is None or identity.token_id is not None:
            raise RegistryError(Code.UNAUTHORIZED, "a refresh token is given for an account's password only")
        secret, now = new_secret("refresh"), self.now()
        name = f"client {client[:80]}"
        await self.db.write(tokens.add, identity.actor.id, name, "refresh", secret.hash, None, now, now + _LIFE)
        return secret.text
