"""What people are shown of accounts and rules: never a hash, and a secret only once."""

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Generic, TypeVar

from moorage.access.limits import Limit
from moorage.access.roles import actions_text
from moorage.db.accounts import Account
from moorage.db.tokens import Token

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Page(Generic[T]):
    """One page of a list; `last` is what the next one begins behind, None at the end."""

    entries: list[T]
    last: str | None


@dataclass(frozen=True, slots=True)
class UserView:
    name: str
    admin: bool
    disabled: bool
    visibility: str
    created_at: datetime
    expires_at: datetime | None
    expired: bool


@dataclass(frozen=True, slots=True)
class OrganisationView:
    name: str
    description: str
    visibility: str
    created_at: datetime


@dataclass(frozen=True, slots=True)
class MemberView:
    name: str
    role: str


@dataclass(frozen=True, slots=True)
class TeamView:
    organisation: str
    name: str


@dataclass(frozen=True, slots=True)
class RobotView:
    name: str
    owner: str
    description: str
    disabled: bool
    created_at: datetime


@dataclass(frozen=True, slots=True)
class TokenView:
    """`scopes` is empty where the token may do whatever its account may."""

    id: int
    name: str
    account: str
    scopes: list[str]
    created_at: datetime
    expires_at: datetime | None
    expired: bool
    used_at: datetime | None
    used_from: str | None


@dataclass(frozen=True, slots=True)
class NewToken:
    """A token with its secret: the only time that it is told."""

    token: TokenView
    secret: str


@dataclass(frozen=True, slots=True)
class GrantView:
    id: int
    subject: str
    pattern: str
    actions: str
    role: str
    created_by: str
    created_at: datetime
    expires_at: datetime | None


@dataclass(frozen=True, slots=True)
class RepositoryView:
    name: str
    owner: str
    visibility: str
    created_at: datetime


@dataclass(frozen=True, slots=True)
class RepositoryDetails:
    name: str
    owner: str
    visibility: str
    created_at: datetime
    tags: int
    manifests: int
    size: int


@dataclass(frozen=True, slots=True)
class Me:
    """Whom the credentials prove."""

    name: str
    kind: str
    admin: bool
    credential: str
    organisations: list[MemberView]
    teams: list[str]


@dataclass(frozen=True, slots=True)
class ReasonView:
    why: str
    actions: list[str]


@dataclass(frozen=True, slots=True)
class Explanation:
    """Why somebody may do something, or not."""

    user: str
    action: str
    repository: str
    allowed: bool
    summary: str
    reasons: list[ReasonView]


def moment(at: int) -> datetime:
    """A time of a row, which is microseconds since the epoch."""
    return datetime.fromtimestamp(at / 1_000_000, UTC)


def moment_or_none(at: int | None) -> datetime | None:
    return None if at is None else moment(at)


def user_view(one: Account, now: int) -> UserView:
    return UserView(
        one.name, one.admin, one.disabled_at is not None, one.visibility, moment(one.created_at),
        moment_or_none(one.expires_at), one.expires_at is not None and one.expires_at <= now,
    )  # fmt: skip


def organisation_view(one: Account) -> OrganisationView:
    return OrganisationView(one.name, one.description, one.visibility, moment(one.created_at))


def robot_view(one: Account) -> RobotView:
    return RobotView(one.name, one.owner or "", one.description, one.disabled_at is not None, moment(one.created_at))


def token_view(one: Token, account: str, now: int) -> TokenView:
    limit = Limit.load(one.scopes).scopes if one.scopes is not None else ()
    return TokenView(
        one.id,
        one.name,
        account,
        [f"{scope.pattern.text}:{actions_text(scope.actions)}" for scope in limit],
        moment(one.created_at),
        moment_or_none(one.expires_at),
        not one.usable(now),
        moment_or_none(one.used_at),
        one.used_from,
    )
