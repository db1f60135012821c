"""Passwords: argon2id, a few at a time, so that a flood of sign-ins can take neither memory nor pulls' CPU.

Every check of a password goes through here, and so past `moorage.access.lockout`: whoever has guessed too often is
refused before any work is done.
"""

import asyncio
from collections.abc import AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Final, TypeVar, TypeVarTuple

from moorage.access.lockout import Lockout
from moorage.access.network import network
from moorage.access.notes import Notes
from moorage.access.strength import LONGEST, check_strength
from moorage.errors import Code, RegistryError
from moorage.oci.names import shown
from moorage.telemetry import metrics

if TYPE_CHECKING:
    from argon2 import PasswordHasher

T = TypeVar("T")
Ts = TypeVarTuple("Ts")

_THREADS: Final = 2
_WAITING: Final = 32
"""Checks that may wait for a thread: at some 25 ms each, nobody waits for a second."""

_MEMORY_KIB: Final = 19 * 1024
"""With two passes, what OWASP recommends for a server."""


_NAME: Final = 255
"""Characters of a claimed name that are kept: no account's is longer."""

_REFUSED: Final = metrics.counter(
    "registry_sign_ins_refused", "Passwords that were not looked at, by what there was too much of.", ("cause",)
)


class Passwords:
    """Hashes and checks.  Imports argon2 when first asked."""

    def __init__(self, lockout: Lockout | None = None) -> None:
        self._lockout = lockout or Lockout()
        self._threads = ThreadPoolExecutor(_THREADS, "moorage-password")
        self._free = asyncio.Semaphore(_THREADS)
        self._waiting = 0
        self._hasher: PasswordHasher | None = None
        self._nobodys = ""
        self.notes = Notes()
        """What is told of waits that begin."""

    async def hash(self, password: str, name: str) -> str:
        """The text to keep for the account `name`.  Raises REQUEST_INVALID for a weak one, TOOMANYREQUESTS."""
        async with self._turn():
            return await self._run(self._checked, password, name)

    async def fits(self, kept: str | None, password: str, name: str, peer: str) -> bool:
        """Whether it is the password of `kept`; takes as long where there is none.  Otherwise as `check`."""
        if len(password) > LONGEST:
            return False
        return await self.check(name, peer, self._fits, kept, password)

    async def check(self, name: str, peer: str, work: Callable[[*Ts], bool], *args: *Ts) -> bool:
        """Whether `work(*args)` finds a password right, for an account that need not exist.

        Raises TOOMANYREQUESTS, without doing the work, where too much has been guessed or is being checked.
        """
        self.refuse(name, peer)
        async with self._turn():
            self.refuse(name, peer)  # others may have guessed meanwhile
            right = await self._run(work, *args)
            if right:
                self._lockout.passed(name[:_NAME], network(peer))
            else:
                self._failed(name[:_NAME], network(peer))
        return right

    def again(self, name: str, peer: str) -> None:
        """A password that is remembered to be right counts as `check` would have it.  Raises TOOMANYREQUESTS."""
        self.refuse(name, peer)
        self._lockout.passed(name[:_NAME], network(peer))

    def refuse(self, name: str, peer: str) -> None:
        """Raise TOOMANYREQUESTS where no password of the account is looked at that comes from the peer's network."""
        wait = self._lockout.wait(name[:_NAME], network(peer))
        if wait is None:
            return
        _REFUSED.add(wait.cause)
        of = "for this account from your network" if wait.cause == "account" else "from your network"
        raise RegistryError(
            Code.TOOMANYREQUESTS,
            f"there were too many wrong passwords {of}; try again in {wait.seconds} seconds, or use a token",
            retry_after=wait.seconds,
        )

    def hash_now(self, password: str) -> str:
        return self._argon2().hash(password)

    def close(self) -> None:
        self._threads.shutdown(wait=False, cancel_futures=True)

    def _failed(self, name: str, where: str) -> None:
        failed = self._lockout.failed(name, where)
        for wait in failed.waits:
            whose = {"claimed": shown(name)} if wait.cause == "account" else {}
            self.notes.add(f"{wait.cause}.locked", "anonymous", network=where, seconds=str(wait.seconds), **whose)
        if failed.attacked:
            self.notes.add("account.attacked", "anonymous", claimed=shown(name))

    @asynccontextmanager
    async def _turn(self) -> AsyncIterator[None]:
        """One of the few places where slow work on passwords is done.  Raises TOOMANYREQUESTS."""
        if self._waiting >= _WAITING:
            _REFUSED.add("busy")
            raise RegistryError(Code.TOOMANYREQUESTS, "too many sign-ins are being checked; try again in a few seconds")
        self._waiting += 1
        try:
            async with self._free:
                yield
        finally:
            self._waiting -= 1

    async def _run(self, work: Callable[[*Ts], T], *args: *Ts) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._threads, work, *args)

    def _checked(self, password: str, name: str) -> str:
        check_strength(password, name)
        return self.hash_now(password)

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
