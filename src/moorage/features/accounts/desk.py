"""What every deed on accounts stands on, and the one way in which they change rows."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal, TypeVar, TypeVarTuple

from moorage.access.passwords import Passwords
from moorage.access.rules import Authority
from moorage.core.registry import Registry
from moorage.db import accounts, events, generation
from moorage.db.accounts import Account
from moorage.db.engine import Database, Tx
from moorage.errors import Code, RegistryError
from moorage.oci.names import shown

T = TypeVar("T")
Ts = TypeVarTuple("Ts")

Signup = Literal["off", "invite", "open"]

PAGE: Final = 100
"""Entries of a list for whoever asks for no number."""

MOST: Final = 1000
"""Entries of a list for whoever asks for more."""

_LONGEST_DESCRIPTION: Final = 500


@dataclass(frozen=True, slots=True)
class Desk:
    """The first argument of every deed.  `token_life` is in microseconds, `data` the data folder."""

    registry: Registry
    authority: Authority
    passwords: Passwords
    data: Path
    signup: Signup = "off"
    token_life: int | None = None

    @property
    def db(self) -> Database:
        return self.registry.db

    def now(self) -> int:
        return self.registry.now()

    async def change(self, deed: Callable[[Tx, int, *Ts], T], *args: *Ts) -> T:
        """Run `deed(tx, now, *args)` in a transaction that ends what processes remember of accounts and rules.

        Deeds take turns, on PostgreSQL too, by the row of the access generation: what one has read about owners and
        names holds until it commits.
        """
        made = await self.db.write(_changed, self.now(), deed, args)
        self.authority.forget()
        return made


def _changed(tx: Tx, now: int, deed: Callable[[Tx, int, *Ts], T], args: tuple[*Ts]) -> T:
    generation.change(tx, now)
    return deed(tx, now, *args)


def tell(tx: Tx, kind: str, by: str, now: int, **facts: object) -> None:
    """Write the event of a deed that is about no repository in particular."""
    events.append(tx, kind, "", by, facts, now)


def find_account(tx: Tx, name: str, *kinds: str) -> Account:
    """The account of that name and one of these kinds.  Raises ACCOUNT_UNKNOWN."""
    found = accounts.find(tx, name[:255])
    if found is None or found.kind not in kinds:
        raise unknown(kinds[0], name)
    return found


def unknown(what: str, name: object) -> RegistryError:
    """There is none, or none that whoever asks may see."""
    return RegistryError(Code.ACCOUNT_UNKNOWN, f"there is no {what} {shown(str(name))}, or you may not see it")


def taken(name: str) -> RegistryError:
    """Users, organisations and robots share one namespace; which of them it is, is nobody's business."""
    return RegistryError(Code.CONFLICT, f"the name '{name}' is taken; choose another", name=name)


def parse_description(text: str) -> str:
    """Raises REQUEST_INVALID."""
    if len(text) > _LONGEST_DESCRIPTION or not text.isprintable():
        raise RegistryError(
            Code.REQUEST_INVALID, f"a description is one line of at most {_LONGEST_DESCRIPTION} printable characters"
        )
    return text


def parse_visibility(text: str) -> str:
    """Raises REQUEST_INVALID."""
    if text not in {"private", "internal", "public"}:
        raise RegistryError(
            Code.REQUEST_INVALID,
            f"there is no visibility {shown(text)}: use private, internal (whoever is signed in pulls) or public",
        )
    return text
