"""Rows of accounts: users, organisations and robots."""

from dataclasses import dataclass
from typing import Any, Final

from sqlalchemy import BigInteger, and_, bindparam, case, delete, or_, select, update

from moorage.db.engine import Prepared, Tx
from moorage.db.schema import accounts, members, team_members
from moorage.db.statements import insert


@dataclass(frozen=True, slots=True)
class Account:
    """`kind` is user, organisation or robot; times are microseconds since the epoch.

    Bearer tokens that were given for another `credentials_at` are void.  `owner` is the name of the account whose
    robot it is.
    """

    id: int
    name: str
    kind: str
    admin: bool
    visibility: str
    owner: str | None
    description: str
    created_at: int
    disabled_at: int | None
    expires_at: int | None
    credentials_at: int
    password: str | None

    def usable(self, now: int) -> bool:
        """Whether its credentials prove anything."""
        return self.disabled_at is None and (self.expires_at is None or now < self.expires_at)


_owners = accounts.alias("owners")
_SELECT = select(
    accounts.c.id,
    accounts.c.name,
    accounts.c.kind,
    accounts.c.admin,
    accounts.c.visibility,
    _owners.c.name,
    accounts.c.description,
    accounts.c.created_at,
    accounts.c.disabled_at,
    accounts.c.expires_at,
    accounts.c.credentials_at,
    accounts.c.password,
    _owners.c.disabled_at,
    _owners.c.expires_at,
).select_from(accounts.outerjoin(_owners, accounts.c.owner_id == _owners.c.id))
_BY_NAME: Final = Prepared(_SELECT.where(accounts.c.name == bindparam("name")))
_BY_ID: Final = Prepared(_SELECT.where(accounts.c.id == bindparam("id")))
_PAGE: Final = Prepared(
    _SELECT.where(accounts.c.kind == bindparam("kind"), accounts.c.name > bindparam("after"))
    .order_by(accounts.c.name)
    .limit(bindparam("most"))
)
_ROBOTS: Final = Prepared(
    _SELECT.where(_owners.c.name == bindparam("owner"), accounts.c.name > bindparam("after"))
    .order_by(accounts.c.name)
    .limit(bindparam("most"))
)
_REMOVE: Final = Prepared(delete(accounts).where(accounts.c.id == bindparam("account")))
_ADD: Final = Prepared(
    lambda dialect: insert(
        dialect,
        accounts,
        "name",
        "kind",
        "admin",
        "visibility",
        "owner_id",
        "description",
        "created_by",
        "created_at",
        "expires_at",
        "credentials_at",
        "password",
    ).on_conflict_do_nothing()
)
_NOW: Final = bindparam("now", type_=BigInteger)
# Later than before, whatever the clock says: that of another machine, or one that was set back.
_CHANGED: Final = case((accounts.c.credentials_at < _NOW, _NOW), else_=accounts.c.credentials_at + 1)
_PASSWORD: Final = Prepared(
    update(accounts)
    .where(accounts.c.id == bindparam("account"))
    .values(password=bindparam("hash"), credentials_at=_CHANGED)
)
_ENABLE: Final = Prepared(
    update(accounts)
    .where(accounts.c.id == bindparam("account"))
    .values(disabled_at=bindparam("at"), credentials_at=_CHANGED)
)
_END: Final = Prepared(
    update(accounts)
    .where(accounts.c.id == bindparam("account"))
    .values(expires_at=bindparam("at"), credentials_at=_CHANGED)
)
_ADMIN: Final = Prepared(
    update(accounts).where(accounts.c.id == bindparam("account")).values(admin=bindparam("is_admin"))
)
_VISIBILITY: Final = Prepared(
    update(accounts).where(accounts.c.id == bindparam("account")).values(visibility=bindparam("default"))
)
STANDING: Final = and_(
    accounts.c.disabled_at.is_(None), or_(accounts.c.expires_at.is_(None), accounts.c.expires_at > bindparam("now"))
)
"""Neither disabled nor over, in statements: those whom nobody is locked out without."""
_ANY_ADMIN: Final = Prepared(select(accounts.c.id).where(accounts.c.admin == 1, STANDING).order_by(accounts.c.id))
_TEAMS: Final = Prepared(
    select(team_members.c.team_id).where(team_members.c.account_id == bindparam("account")).order_by("team_id")
)
_OWNED: Final = Prepared(
    select(accounts.c.name)
    .select_from(members.join(accounts, members.c.organisation_id == accounts.c.id))
    .where(members.c.account_id == bindparam("account"), members.c.role == "owner")
)


def find(tx: Tx, name: str) -> Account | None:
    return _account(_BY_NAME.one(tx, name=name))


def by_id(tx: Tx, identity: int) -> Account | None:
    return _account(_BY_ID.one(tx, id=identity))


def page(tx: Tx, kind: str, after: str, most: int) -> list[Account]:
    """At most `most` accounts of a kind behind the name `after`."""
    return [found for row in _PAGE.all(tx, kind=kind, after=after, most=most) if (found := _account(row))]


def robots(tx: Tx, owner: str, after: str, most: int) -> list[Account]:
    """At most `most` robots of an account behind the name `after`."""
    return [found for row in _ROBOTS.all(tx, owner=owner, after=after, most=most) if (found := _account(row))]


def remove(tx: Tx, account: Account) -> None:
    """Take away an account that nothing refers to any more: a robot without tokens and grants."""
    _REMOVE.run(tx, account=account.id)


def add(
    tx: Tx,
    name: str,
    kind: str,
    by: str,
    now: int,
    *,
    admin: bool = False,
    visibility: str = "private",
    owner: int | None = None,
    description: str = "",
    expires_at: int | None = None,
    password: str | None = None,
) -> Account | None:
    """A new account; None where the name is taken."""
    made = _ADD.run(
        tx,
        name=name,
        kind=kind,
        admin=int(admin),
        visibility=visibility,
        owner_id=owner,
        description=description,
        created_by=by,
        created_at=now,
        expires_at=expires_at,
        credentials_at=now,
        password=password,
    )
    return find(tx, name) if made else None


def set_password(tx: Tx, account: Account, kept: str | None, now: int) -> None:
    """Another password, and an end to the bearer tokens that the old one got."""
    _PASSWORD.run(tx, account=account.id, hash=kept, now=now)


def set_disabled(tx: Tx, account: Account, at: int | None, now: int) -> None:
    """Disabled since `at`, or enabled again where that is None."""
    _ENABLE.run(tx, account=account.id, at=at, now=now)


def set_end(tx: Tx, account: Account, at: int | None, now: int) -> None:
    """Over from `at` on, or never where that is None."""
    _END.run(tx, account=account.id, at=at, now=now)


def set_admin(tx: Tx, account: Account, admin: bool) -> None:
    _ADMIN.run(tx, account=account.id, is_admin=int(admin))


def set_visibility(tx: Tx, account: Account, default: str) -> None:
    """The visibility of repositories that are made below its name from now on."""
    _VISIBILITY.run(tx, account=account.id, default=default)


def administrators(tx: Tx, now: int) -> list[int]:
    """The ids of accounts that may do everything, and are neither disabled nor over."""
    return [row[0] for row in _ANY_ADMIN.all(tx, now=now)]


def team_ids(tx: Tx, account: int) -> list[int]:
    """The teams it is in."""
    return [row[0] for row in _TEAMS.all(tx, account=account)]


def organisations_owned(tx: Tx, account: int) -> list[str]:
    """The organisations it is an owner of."""
    return [row[0] for row in _OWNED.all(tx, account=account)]


def _account(row: tuple[Any, ...] | None) -> Account | None:
    """A robot is as disabled as its owner, and ends no later."""
    if row is None:
        return None
    *own, owner_disabled, owner_expires = row
    (identity, name, kind, admin, visibility, owner, description, created, disabled, expires, since, kept) = own
    off = disabled if disabled is not None else owner_disabled
    ends = min((end for end in (expires, owner_expires) if end is not None), default=None)
    return Account(identity, name, kind, bool(admin), visibility, owner, description, created, off, ends, since, kept)
