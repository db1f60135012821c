"""Passwords: argon2id, a few at a time, so that a flood of logins can take neither memory nor pulls' CPU."""

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Final, TypeVar, TypeVarTuple

from moorage.errors import Code, RegistryError

if TYPE_CHECKING:
    from argon2 import PasswordHasher

T = TypeVar("T")
Ts = TypeVarTuple("Ts")

SHORTEST: Final = 10
LONGEST: Final = 1024
"""Characters; more would only be work for us."""

_THREADS: Final = 2
_WAITING: Final = 32
"""Checks that may wait for a thread: at some 25 ms each, nobody waits for a second."""

_MEMORY_KIB: Final = 19 * 1024
"""With two passes, what OWASP recommends for a server."""


class Passwords:
    """Hashes and checks.  Imports argon2 when first asked."""

    def __init__(self) -> None:
        self._threads = ThreadPoolExecutor(_THREADS, "moorage-password")
        self._waiting = 0
        self._hasher: PasswordHasher | None = None
        self._nobodys = ""

    async def hash(self, password: str) -> str:
        """The text to keep.  Raises REQUEST_INVALID for a password nobody should have, TOOMANYREQUESTS."""
        check_strength(password)
        return await self.run(self.hash_now, password)

    async def fits(self, kept: str | None, password: str) -> bool:
        """Whether it is the password of `kept`; takes as long where there is none.  Raises TOOMANYREQUESTS."""
        if len(password) > LONGEST:
            return False
        return await self.run(self._fits, kept, password)

    def hash_now(self, password: str) -> str:
        return self._argon2().hash(password)

    def close(self) -> None:
        self._threads.shutdown(wait=False, cancel_futures=True)

    async def run(self, work: Callable[[*Ts], T], *args: *Ts) -> T:
        """Do slow work on a password where such work is bounded.  Raises TOOMANYREQUESTS."""
        if self._waiting >= _WAITING:
            raise RegistryError(Code.TOOMANYREQUESTS, "too many sign-ins are being checked; try again in a few seconds")
        self._waiting += 1
        try:
            return await asyncio.get_running_loop().run_in_executor(self._threads, work, *args)
        finally:
            self._waiting -= 1

    def _fits(self, kept: str | None, password: str) -> bool:
        from argon2.exceptions import InvalidHashError, VerificationError

        hasher = self._argon2()
        if not self._nobodys:
            self._nobodys = hasher.hash("nobody's")
        try:
            return hasher.verify(kept or self._nobodys, password) and kept is not None
        except (VerificationError, InvalidHashError):
            return False

    def _argon2(self) -> "PasswordHasher":
        if self._hasher is None:
            from argon2 import PasswordHasher

            self._hasher = PasswordHasher(time_cost=2, memory_cost=_MEMORY_KIB, parallelism=1)
        return self._hasher


def check_strength(password: str) -> None:
    """Raise REQUEST_INVALID for a password that is too short, too long, or one of the first that anybody tries."""
    if not SHORTEST <= len(password) <= LONGEST:
        raise RegistryError(Code.REQUEST_INVALID, f"a password has {SHORTEST} to {LONGEST} characters; choose another")
    if "\0" in password:
        raise RegistryError(Code.REQUEST_INVALID, "a password cannot hold a NUL character; choose another")
