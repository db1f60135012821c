"""Rules: who may do what on which repositories."""

from typing import Final

from moorage.access import management
from moorage.access.action import Action
from moorage.access.actor import ANYONE, EVERYONE, Identity
from moorage.access.permit import GrantPermit, OwnerPermit, Permit
from moorage.access.roles import actions_text, parse_actions, role_of
from moorage.db import accounts, grants
from moorage.db import teams as team_rows
from moorage.db.engine import Tx
from moorage.db.grants import Row
from moorage.errors import Code, RegistryError
from moorage.features.accounts import teams
from moorage.features.accounts.desk import Desk, find_account, tell, unknown
from moorage.features.accounts.expiry import ends_at
from moorage.features.accounts.robots import check_within
from moorage.features.accounts.views import GrantView, Page, moment, moment_or_none
from moorage.oci.names import RepositoryName
from moorage.oci.pattern import WILD, Pattern

_BATCH: Final = 200
"""Rows that are looked through at a time."""


async def put(desk: Desk, permit: GrantPermit, subject: str, actions: str, expires_in: int | None = None) -> GrantView:
    """Let a subject do actions on what the permit's pattern matches, in place of what it had on that pattern.

    The subject is a user, a robot, `organisation/team`, `everyone` (who is signed in) or `anyone`.  Raises
    ACCOUNT_UNKNOWN, REQUEST_INVALID.
    """
    parsed = parse_actions(actions)
    if subject == ANYONE and parsed != {Action.PULL}:
        raise RegistryError(
            Code.REQUEST_INVALID,
            "nobody in particular ('anyone') can only be let pull; 'everyone' is whoever signed in",
        )
    ends = ends_at(desk.now(), expires_in)
    return await desk.change(_put, permit, subject, actions_text(parsed), ends)


async def of_owner(desk: Desk, permit: OwnerPermit, after: int, most: int) -> Page[GrantView]:
    """The rules on repositories of the permit's owner, by id; of `*` those that are for several owners."""
    found = await desk.db.scan(_page, permit.owner, after, most + 1)
    return Page(found[:most], str(found[most - 1].id) if len(found) > most else None)


async def of_repository(desk: Desk, permit: Permit, after: int, most: int) -> Page[GrantView]:
    """The rules of whatever pattern that matches the permit's repository, by id."""
    permit.require(Action.MANAGE)
    found = await desk.db.scan(_matching, permit.repository, after, most + 1)
    return Page(found[:most], str(found[most - 1].id) if len(found) > most else None)


async def revoke(desk: Desk, identity: Identity, grant: int) -> None:
    """Take a rule back; for whoever may make it.  Raises ACCOUNT_UNKNOWN, the same for one that others may see."""
    management.signed_in(identity)
    found = await desk.db.scan(grants.find, grant)
    if found is None:
        raise unknown("rule", grant)
    try:
        permit = await management.granting(desk.authority, identity, Pattern.parse(found.pattern))
    except RegistryError as error:
        if error.code in {Code.DENIED, Code.NAME_UNKNOWN}:
            raise unknown("rule", grant) from None
        raise
    await desk.change(_revoke, permit, grant)


def _put(tx: Tx, now: int, permit: GrantPermit, subject: str, actions: str, ends: int | None) -> GrantView:
    pattern = permit.pattern
    kept = _subject(tx, subject, pattern)
    grants.put(tx, kept, pattern.owner, pattern.text, actions, permit.actor.name, now, ends)
    made = grants.on(tx, kept, pattern.text)
    if made is None:
        raise LookupError("a new rule is not there")
    tell(
        tx, "access.granted", permit.actor.name, now, subject=subject, pattern=pattern.text, actions=actions, until=ends
    )
    return _view(tx, made)


def _revoke(tx: Tx, now: int, permit: GrantPermit, grant: int) -> None:
    found = grants.find(tx, grant)
    if found is None or found.pattern != permit.pattern.text:
        raise unknown("rule", grant)
    view = _view(tx, found)
    grants.remove(tx, grant)
    tell(tx, "access.revoked", permit.actor.name, now, subject=view.subject, pattern=view.pattern, actions=view.actions)


def _subject(tx: Tx, subject: str, pattern: Pattern) -> str:
    """The subject as rows keep it."""
    if subject in {ANYONE, EVERYONE}:
        return subject
    organisation, slash, team = subject.partition("/")
    if slash:
        return teams.find(tx, organisation, team).subject
    account = find_account(tx, subject, "user", "robot")
    if account.owner is not None:
        check_within(pattern, account.owner)
    return f"account:{account.id}"


def _page(tx: Tx, owner: str, after: int, most: int) -> list[GrantView]:
    return [_view(tx, row) for row in grants.page(tx, owner, after, most)]


def _matching(tx: Tx, repository: RepositoryName, after: int, most: int) -> list[GrantView]:
    found: list[Row] = []
    for owner in (repository.owner, WILD):
        behind = after
        while rows := grants.page(tx, owner, behind, _BATCH):
            found += [row for row in rows if Pattern.parse(row.pattern).matches(repository)]
            behind = rows[-1].id
    return [_view(tx, row) for row in sorted(found, key=lambda row: row.id)[:most]]


def _view(tx: Tx, row: Row) -> GrantView:
    return GrantView(
        row.id,
        _called(tx, row.subject),
        row.pattern,
        row.actions,
        role_of(parse_actions(row.actions)),
        row.created_by,
        moment(row.created_at),
        moment_or_none(row.expires_at),
    )


def _called(tx: Tx, subject: str) -> str:
    """The subject as people know it, and as `put` takes it."""
    kind, _, identity = subject.partition(":")
    if kind == "team":
        return team_rows.called(tx, int(identity))
    account = accounts.by_id(tx, int(identity)) if kind == "account" else None
    return account.name if account is not None else subject
