"""Rows of teams: members of an organisation whom grants name together."""

from dataclasses import dataclass
from typing import Final

from sqlalchemy import bindparam, delete, select

from moorage.db.engine import Prepared, Tx
from moorage.db.schema import accounts, team_members, teams
from moorage.db.statements import insert


@dataclass(frozen=True, slots=True)
class Team:
    id: int
    organisation: str
    name: str
    created_at: int

    @property
    def subject(self) -> str:
        """How grants name it."""
        return f"team:{self.id}"


_SELECT = select(teams.c.id, accounts.c.name, teams.c.name, teams.c.created_at).select_from(
    teams.join(accounts, teams.c.organisation_id == accounts.c.id)
)
_BY_NAME: Final = Prepared(
    _SELECT.where(accounts.c.name == bindparam("organisation"), teams.c.name == bindparam("team"))
)
_BY_ID: Final = Prepared(_SELECT.where(teams.c.id == bindparam("id")))
_PAGE: Final = Prepared(
    _SELECT.where(accounts.c.name == bindparam("organisation"), teams.c.name > bindparam("after"))
    .order_by(teams.c.name)
    .limit(bindparam("most"))
)
_OF: Final = Prepared(
    _SELECT.join(team_members, team_members.c.team_id == teams.c.id)
    .where(team_members.c.account_id == bindparam("account"))
    .order_by(accounts.c.name, teams.c.name)
)
_ADD: Final = Prepared(
    lambda dialect: insert(dialect, teams, "organisation_id", "name", "created_at").on_conflict_do_nothing()
)
_REMOVE: Final = Prepared(delete(teams).where(teams.c.id == bindparam("team")))
_EMPTY: Final = Prepared(delete(team_members).where(team_members.c.team_id == bindparam("team")))
_MEMBERS: Final = Prepared(
    select(accounts.c.name)
    .select_from(team_members.join(accounts, team_members.c.account_id == accounts.c.id))
    .where(team_members.c.team_id == bindparam("team"), accounts.c.name > bindparam("after"))
    .order_by(accounts.c.name)
    .limit(bindparam("most"))
)
_JOIN: Final = Prepared(
    lambda dialect: insert(dialect, team_members, "team_id", "account_id", "since").on_conflict_do_nothing()
)
_LEAVE: Final = Prepared(
    delete(team_members).where(
        team_members.c.team_id == bindparam("team"), team_members.c.account_id == bindparam("account")
    )
)


def find(tx: Tx, organisation: str, name: str) -> Team | None:
    row = _BY_NAME.one(tx, organisation=organisation, team=name)
    return Team(*row) if row else None


def called(tx: Tx, identity: int) -> str:
    """`organisation/team`, as people know it; a question mark where there is none any more."""
    row = _BY_ID.one(tx, id=identity)
    return f"{row[1]}/{row[2]}" if row else "?"


def page(tx: Tx, organisation: str, after: str, most: int) -> list[Team]:
    """At most `most` teams of the organisation behind the name `after`."""
    return [Team(*row) for row in _PAGE.all(tx, organisation=organisation, after=after, most=most)]


def of(tx: Tx, account: int) -> list[Team]:
    """The teams that an account is in."""
    return [Team(*row) for row in _OF.all(tx, account=account)]


def add(tx: Tx, organisation: int, name: str, now: int) -> bool:
    """False where there is one of this name."""
    return bool(_ADD.run(tx, organisation_id=organisation, name=name, created_at=now))


def remove(tx: Tx, team: Team) -> None:
    """Take the team away; what it was granted is taken back by the caller (`grants.remove_subject`)."""
    _EMPTY.run(tx, team=team.id)
    _REMOVE.run(tx, team=team.id)


def members_page(tx: Tx, team: Team, after: str, most: int) -> list[str]:
    """At most `most` names of members behind `after`."""
    return [row[0] for row in _MEMBERS.all(tx, team=team.id, after=after, most=most)]


def add_member(tx: Tx, team: Team, account: int, now: int) -> bool:
    """False where it is one already."""
    return bool(_JOIN.run(tx, team_id=team.id, account_id=account, since=now))


def remove_member(tx: Tx, team: Team, account: int) -> bool:
    """False where it was none."""
    return bool(_LEAVE.run(tx, team=team.id, account=account))
