"""Users of an htpasswd file (Docker Registry's `auth.htpasswd`): bcrypt only, read again whenever it changes.

They hold the writer role everywhere: the file says who somebody is, and nothing of what they may do.
"""

import re
from pathlib import Path
from typing import Final

from moorage.access.actor import ANYONE, EVERYONE, PASSWORD, Actor, Identity
from moorage.access.credentials import parse_basic, wrong
from moorage.access.passwords import Passwords
from moorage.access.roles import ROLES
from moorage.errors import Code, RegistryError
from moorage.telemetry import logger

log: Final = logger("moorage.access")

_BCRYPT: Final = re.compile(r"\$2[aby]\$(?:0[4-9]|[12][0-9]|3[01])\$[./A-Za-z0-9]{21}[.Oeu][./A-Za-z0-9]{31}")
_NOBODYS: Final = b"$2b$%02d$N9qo8uLOickgx2ZMRZoMyeIjZAgcfl7p92ldGxad68LJZdL17lhWy"
"""What is checked against, at some cost, so that it takes as long as for any other user."""

_USUAL: Final = 10
_DEAREST: Final = 14
"""The highest cost, about a second, that a stranger's guess is made to take."""

_LONGEST: Final = 72
"""Bytes that bcrypt looks at."""


class Htpasswd:
    """The users of one file.  Raises UNAVAILABLE where it cannot be read."""

    def __init__(self, path: Path, passwords: Passwords) -> None:
        self._path, self._passwords = path, passwords
        self._version = self._stamp()
        self._users = self._read()
        self._cost = _dearest(self._users)

    async def identify(self, header: str, peer: str, /) -> Identity:
        scheme, _, rest = header.partition(" ")
        if scheme.lower() != "basic":
            raise RegistryError(Code.UNAUTHORIZED, "this registry wants a user name and password (Basic)")
        login = parse_basic(rest.strip())
        kept = self._users.get(login.name)
        if not await self._passwords.check(login.name, peer, _fits, kept, login.secret, self._cost):
            raise wrong(login.name)
        subjects = (EVERYONE, ANYONE)
        return Identity(Actor(login.name, "user", subjects=subjects, everywhere=ROLES["writer"]), PASSWORD)

    def version(self) -> object:
        """Changes with the file; what is no longer there is believed as long as nothing else can be read."""
        try:
            stamp = self._stamp()
            if stamp != self._version:
                self._users, self._version = self._read(), stamp
                self._cost = _dearest(self._users)
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
            if colon and _BCRYPT.fullmatch(kept):
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


def _cost(kept: bytes) -> int:
    """Of a bcrypt hash; each step takes twice the time."""
    return int(kept[4:6])


def _dearest(users: dict[str, bytes]) -> int:
    return min(max(map(_cost, users.values()), default=_USUAL), _DEAREST)


def _fits(kept: bytes | None, password: str, dearest: int) -> bool:
    """Whether it is the password of `kept`.  No takes as long for every user, and where there is none.

    What a hash falls short of the dearest takes is the sum of a step from each cost between: 2^5 + 2^5 + 2^6 = 2^7.
    """
    given = password.encode()[:_LONGEST]
    if kept is None:
        _checked(given, _NOBODYS % dearest)
        return False
    if _checked(given, kept):
        return True
    for cost in range(_cost(kept), dearest):
        _checked(given, _NOBODYS % cost)
    return False


def _checked(given: bytes, kept: bytes) -> bool:
    import bcrypt

    try:
        return bcrypt.checkpw(given, kept)
    except ValueError:
        return False
