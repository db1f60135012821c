"""The first start: an administrator, and the secret that signing keys are sealed with.  No default password exists."""

import os
import secrets
from contextlib import suppress
from pathlib import Path
from typing import Final

from moorage.access.passwords import Passwords
from moorage.access.strength import check_strength
from moorage.db import accounts, events, generation
from moorage.db.apart import apart
from moorage.db.engine import Database, Tx
from moorage.errors import Code, RegistryError
from moorage.telemetry import logger

log: Final = logger("moorage.access")

ADMIN: Final = "admin"
PASSWORD_FILE: Final = "initial-admin-password"  # noqa: S105 - its name
_SECRET_FILE: Final = "secret"  # noqa: S105 - its name
_LETTERS: Final = "23456789ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnpqrstuvwxyz"
"""Without those that are taken for one another."""


def first_administrator(db: Database, passwords: Passwords, data: Path, given: str | None, now: int) -> bool:
    """Make the first administrator where there is none who can sign in; whether its password was made up.

    That is kept in the data folder, for its owner alone, until it is changed; it is written before the account, so
    that no crash leaves an account whose password nobody knows.  Raises REQUEST_INVALID for a given one that is weak,
    UNAVAILABLE where it cannot be kept.

    Where its name is taken a warning has to do: that the last one's account has ended is no reason not to serve.
    """
    there, taken = db.read_now(_present, now)
    if there:
        return False
    if taken:
        log.warning("no administrator can sign in; make one on this machine: moorage user add NAME --admin")
        return False
    password = given or _kept(data / PASSWORD_FILE)
    # Lists of common passwords take ten megabytes, which the server may never need again.
    hashed = apart(_hashed, passwords, password, given is not None)
    made = db.write_now(_add, hashed, now)
    if not made and given is None:
        forget_first_password(data)  # another replica was faster
    return made and given is None


def forget_first_password(data: Path) -> None:
    """The made-up password is good no longer: nothing is to be read there."""
    with suppress(OSError):
        (data / PASSWORD_FILE).unlink()


def sealing_secret(data: Path, given: str | None) -> bytes:
    """What signing keys are sealed with: `http.secret`, or a file in the data folder, made where it is missing."""
    if given:
        return given.encode()
    path = data / _SECRET_FILE
    with suppress(FileNotFoundError):
        return path.read_bytes()
    _keep(path, secrets.token_hex(32))
    return path.read_bytes()


def _hashed(passwords: Passwords, password: str, given: bool) -> str:
    """What is kept of it.  Raises REQUEST_INVALID for a given one that is weak."""
    if given:
        _check_given(password)
    return passwords.hash_now(password)


def _check_given(password: str) -> None:
    try:
        check_strength(password, ADMIN)
    except RegistryError as error:
        raise RegistryError(error.code, f"admin.password (REGISTRY_ADMIN_PASSWORD): {error.message}") from None


def _present(tx: Tx, now: int) -> tuple[bool, bool]:
    """Whether there is an administrator, and whether the first one's name is taken."""
    return bool(accounts.administrators(tx, now)), accounts.find(tx, ADMIN) is not None


def _add(tx: Tx, kept: str, now: int) -> bool:
    if accounts.administrators(tx, now):
        return False
    if accounts.add(tx, ADMIN, "user", "system", now, admin=True, password=kept) is None:
        return False
    generation.change(tx, now)
    events.append(tx, "account.created", "", "system", {"name": ADMIN, "admin": True}, now)
    return True


def _kept(path: Path) -> str:
    """The password that stands there, as from a start that was killed; else a new one, written there."""
    if not path.exists():
        _keep(path, "".join(secrets.choice(_LETTERS) for _ in range(20)))
    return path.read_text().strip()


def _keep(path: Path, text: str) -> None:
    """Write a file that only its owner may read, durably, and never over another's."""
    beside = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    try:
        with os.fdopen(os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600), "w") as file:
            file.write(f"{text}\n")
            file.flush()
            os.fsync(file.fileno())
        with suppress(FileExistsError):
            os.link(beside, path)
        beside.unlink()
        folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)
    except OSError as reason:
        raise RegistryError(
            Code.UNAVAILABLE, f"{path.name} cannot be written to the data folder: {reason.strerror}"
        ) from reason
