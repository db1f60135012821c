"""Who is asking."""

from dataclasses import dataclass, field
from typing import Final, Literal

from moorage.access.action import Action
from moorage.access.limits import Limit
from moorage.access.scopes import Scopes

Kind = Literal["anonymous", "user", "robot", "system", "external"]

ANYONE: Final = "anyone"
"""The subject of grants to whoever asks."""

EVERYONE: Final = "everyone"
"""The subject of grants to whoever is signed in."""


@dataclass(frozen=True, slots=True)
class Actor:
    """Somebody or something that acts on the registry; `name` is what history and logs show."""

    name: str
    kind: Kind = "anonymous"
    id: int | None = None
    admin: bool = False
    subjects: tuple[str, ...] = (ANYONE,)
    """Whom grants may name to mean this actor: `account:ID`, `team:ID`, `everyone`, `anyone`."""
    owned: frozenset[str] = frozenset()
    """The owners (first components) all of whose repositories are this actor's."""
    within: str | None = None
    """The only owner on whose repositories grants count: a robot's own.  None for no such bound."""
    everywhere: frozenset[Action] = frozenset()
    """What it may do on every repository, by the word of whoever vouches for it: users of an htpasswd file."""

    @property
    def signed_in(self) -> bool:
        return self.kind != "anonymous"


ANONYMOUS: Final = Actor("anonymous")
"""Nobody said who they are."""

SYSTEM: Final = Actor("system", "system")
"""The registry's own jobs."""


PASSWORD: Final = "a password"  # noqa: S105 - what one is called
"""The credential of whoever was proved with a password itself."""


@dataclass(frozen=True, slots=True, eq=False)
class Identity:
    """An actor as some credential proves it, with what that credential is limited to.  Compared by identity."""

    actor: Actor
    credential: str = "no credentials"
    """What it is called in an explanation: "a password", "the token 'ci'"."""
    limit: Limit | None = None
    """What the credential was made for; None for everything its account may."""
    asked: Scopes | None = None
    """What the bearer token was asked for; a fresh one may have more.  None where there is no bearer token."""
    vouched: bool = False
    """Whether `asked` is the whole decision: the token is of a service outside (`auth.token`)."""
    token_id: int | None = None
    """The row of the token it was proved with."""
    until: float = field(default=float("inf"))
    """Seconds since the epoch after which it proves nothing."""
    renewable: float = 0.0
    """Until when a bearer token can be had again: the end of the refresh token that it was got with."""
    unproved: str = ""
    """Why a client certificate proves nobody, in words for whoever has to sign in."""
    credentials_at: int | None = None
    """When the account's credentials had last changed, as it was looked at; None where nothing rests on that."""

    @property
    def by_password(self) -> bool:
        """Whether it was proved with a password itself, not with a bearer token that a password got."""
        return self.credential == PASSWORD and self.asked is None

    @property
    def lends(self) -> float:
        """The latest end, in seconds since the epoch, of tokens that are made with it."""
        return max(self.until, self.renewable)

    @property
    def known(self) -> bool:
        """Whether there were credentials that are good for something; an anonymous token is."""
        return self.actor.signed_in or self.asked is not None


OPERATOR: Final = Identity(Actor("operator", "system", admin=True), "the registry's data folder")
"""Whoever can write the data folder of the registry, on its own machine, may do everything."""

NOBODY: Final = Identity(ANONYMOUS)
"""A request without credentials."""
