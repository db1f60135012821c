"""Users of an htpasswd file (Docker Registry's `auth.htpasswd`): bcrypt only, read again whenever it changes.

They hold the writer role everywhere: the file says who somebody is, and nothing of what they may do.
"""

from pathlib import Path
from typing import Final

from moorage.access.actor import ANYONE, EVERYONE, PASSWORD, Actor, Identity
from moorage.access.credentials import parse_basic, wrong
from moorage.access.passwords import Passwords
from moorage.access.roles import ROLES
from moorage.errors import Code, RegistryError
from moorage.telemetry import logger

log: Final = logger("moorage.access")

_BCRYPT: Final = ("$2y$", "$2b$", "$2a$")
_NOBODYS: Final = b"$2b$10$N9qo8uLOickgx2ZMRZoMyeIjZAgcfl7p92ldGxad68LJZdL17lhWy"
"""Checked against where there is no such user, so that it takes as long."""

_LONGEST: Final = 72
"""Bytes that bcrypt looks at."""


class Htpasswd:
    """The users of one file.  Raises UNAVAILABLE where it cannot be read."""

    def __init__(self, path: Path, passwords: Passwords) -> None:
        self._path, self._passwords = path, passwords
        self._version = self._stamp()
        self._users = self._read()

    async def identify(self, header: str, peer: str, /) -> Identity:
        scheme, _, rest = header.partition(" ")
        if scheme.lower() != "basic":
            raise RegistryError(Code.UNAUTHORIZED, "this registry wants a user name and password (Basic)")
        login = parse_basic(rest.strip())
        kept = self._users.get(login.name)
        if not await self._passwords.check(login.name, peer, _fits, kept, login.secret):
            raise wrong(login.name)
        subjects = (EVERYONE, ANYONE)
        return Identity(Actor(login.name, "user", subjects=subjects, everywhere=ROLES["writer"]), PASSWORD)

    def version(self) -> object:
        """Changes with the file; what is no longer there is believed as long as nothing else can be read."""
        try:
            stamp = self._stamp()
            if stamp != self._version:
                self._users, self._version = self._read(), stamp
        except RegistryError as error:
            log.warning("the htpasswd file cannot be read", error=error.message)
        return self._version

    def _stamp(self) -> tuple[int, int, int]:
        try:
            found = self._path.stat()
        except OSError as reason:
            raise self._unreadable(reason) from reason
        return found.st_mtime_ns, found.st_size, found.st_ino

    def _read(self) -> dict[str, bytes]:
        try:
            lines = self._path.read_text().splitlines()
        except (OSError, UnicodeDecodeError) as reason:
            raise self._unreadable(reason) from reason
        users: dict[str, bytes] = {}
        for number, line in enumerate(lines, 1):
            name, colon, kept = line.strip().partition(":")
            if not name or name.startswith("#"):
                continue
            if colon and kept.startswith(_BCRYPT):
                users[name] = kept.encode()
            else:
                log.warning("a line of the htpasswd file is no bcrypt hash: that user cannot sign in", line=number)
        return users

    def _unreadable(self, reason: Exception) -> RegistryError:
        why = reason.strerror if isinstance(reason, OSError) else "it is not UTF-8 text"
        return RegistryError(
            Code.UNAVAILABLE,
            f"the htpasswd file {self._path} cannot be read: {why}; make one with `htpasswd -Bc`, or leave "
            "auth.htpasswd away to use the registry's own accounts",
        )


def _fits(kept: bytes | None, password: str) -> bool:
    import bcrypt

    try:
        return bcrypt.checkpw(password.encode()[:_LONGEST], kept or _NOBODYS) and kept is not None
    except ValueError:
        return False
