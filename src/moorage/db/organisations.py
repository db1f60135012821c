"""Rows of who is in which organisation."""

from dataclasses import dataclass
from typing import Any, Final

from sqlalchemy import bindparam, delete, func, select

from moorage.db.accounts import STANDING
from moorage.db.engine import Prepared, Tx
from moorage.db.schema import accounts, members, team_members, teams
from moorage.db.statements import insert
from moorage.db.tx import Dialect


@dataclass(frozen=True, slots=True)
class Membership:
    """`name` is the member's, or seen from a member the organisation's; `role` is owner or member."""

    name: str
    role: str
    since: int


_MEMBERS: Final = Prepared(
    select(accounts.c.name, members.c.role, members.c.since)
    .select_from(members.join(accounts, members.c.account_id == accounts.c.id))
    .where(members.c.organisation_id == bindparam("organisation"), accounts.c.name > bindparam("after"))
    .order_by(accounts.c.name)
    .limit(bindparam("most"))
)
_OF: Final = Prepared(
    select(accounts.c.name, members.c.role, members.c.since)
    .select_from(members.join(accounts, members.c.organisation_id == accounts.c.id))
    .where(members.c.account_id == bindparam("account"))
    .order_by(accounts.c.name)
)
_ROLE: Final = Prepared(
    select(members.c.role).where(
        members.c.organisation_id == bindparam("organisation"), members.c.account_id == bindparam("account")
    )
)
_OTHER_OWNERS: Final = Prepared(
    select(func.count()).where(
        members.c.organisation_id == bindparam("organisation"),
        members.c.role == "owner",
        members.c.account_id != bindparam("account"),
        members.c.account_id == accounts.c.id,
        STANDING,
    )
)
_REMOVE: Final = Prepared(
    delete(members).where(
        members.c.organisation_id == bindparam("organisation"), members.c.account_id == bindparam("account")
    )
)
_LEAVE_TEAMS: Final = Prepared(
    delete(team_members).where(
        team_members.c.account_id == bindparam("account"),
        team_members.c.team_id.in_(select(teams.c.id).where(teams.c.organisation_id == bindparam("organisation"))),
    )
)


def _put(dialect: Dialect) -> Any:
    added = insert(dialect, members, "organisation_id", "account_id", "role", "since")
    return added.on_conflict_do_update(
        index_elements=[members.c.organisation_id, members.c.account_id], set_={"role": added.excluded.role}
    )


_PUT: Final = Prepared(_put)


def members_page(tx: Tx, organisation: int, after: str, most: int) -> list[Membership]:
    """At most `most` members behind the name `after`."""
    return [Membership(*row) for row in _MEMBERS.all(tx, organisation=organisation, after=after, most=most)]


def of(tx: Tx, account: int) -> list[Membership]:
    """The organisations that an account is in."""
    return [Membership(*row) for row in _OF.all(tx, account=account)]


def role(tx: Tx, organisation: int, account: int) -> str | None:
    """What an account is there; None where it is no member."""
    row = _ROLE.one(tx, organisation=organisation, account=account)
    return row[0] if row else None


def has_other_owner(tx: Tx, organisation: int, account: int, now: int) -> bool:
    """Whether somebody besides the account, who is neither disabled nor over, owns it."""
    row = _OTHER_OWNERS.one(tx, organisation=organisation, account=account, now=now)
    return row is not None and row[0] > 0


def put_member(tx: Tx, organisation: int, account: int, role_: str, now: int) -> None:
    """Make the account a member in this role, or change its role."""
    _PUT.run(tx, organisation_id=organisation, account_id=account, role=role_, since=now)


def remove_member(tx: Tx, organisation: int, account: int) -> bool:
    """Take the account out of the organisation and of all its teams.  False where it was not in."""
    _LEAVE_TEAMS.run(tx, organisation=organisation, account=account)
    return bool(_REMOVE.run(tx, organisation=organisation, account=account))
