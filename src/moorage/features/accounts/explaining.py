"""Why somebody may do something, or not: the whole derivation, for those who can change it."""

from moorage.access.action import Action
from moorage.access.actor import ANONYMOUS, Actor
from moorage.access.credentials import actor_of
from moorage.access.decide import Reason
from moorage.access.permit import Permit
from moorage.access.refusal import who_can_grant
from moorage.access.roles import actions_text, parse_actions
from moorage.access.rules import explain as derive
from moorage.db.accounts import Account
from moorage.db.engine import Tx
from moorage.features.accounts.desk import Desk, find_account
from moorage.features.accounts.views import Explanation, ReasonView
from moorage.oci.names import RepositoryName


async def explain(desk: Desk, permit: Permit, user: str, action: str) -> Explanation:
    """Of the permit's repository, for whoever manages it: its owner, administrators.

    `user` is a user, a robot, or `anonymous`.  Raises ACCOUNT_UNKNOWN, REQUEST_INVALID.
    """
    permit.require(Action.MANAGE)
    wanted = parse_actions(action)
    return await desk.db.scan(_explain, user, wanted, permit.repository, desk.now())


def _explain(tx: Tx, user: str, wanted: frozenset[Action], repository: RepositoryName, now: int) -> Explanation:
    account = None if user == ANONYMOUS.name else find_account(tx, user, "user", "robot")
    actor = ANONYMOUS if account is None else actor_of(tx, account)
    found = derive(tx, actor, repository, now)
    given = frozenset[Action]().union(*(one.actions for one in found))
    locked = _locked(account, now)
    allowed = wanted <= given and locked is None
    return Explanation(
        user,
        actions_text(wanted),
        repository.value,
        allowed,
        _summary(actor, wanted, given, repository, found, locked),
        [ReasonView(one.why, actions_text(one.actions).split(",")) for one in found],
    )


def _locked(account: Account | None, now: int) -> str | None:
    """Why an account can do nothing at all."""
    if account is None or account.usable(now):
        return None
    if account.disabled_at is not None:
        return f"{account.name} is disabled, or its owner is: its credentials prove nothing"
    return f"{account.name} has expired, or its owner has: its credentials prove nothing"


def _summary(
    actor: Actor,
    wanted: frozenset[Action],
    given: frozenset[Action],
    repository: RepositoryName,
    found: list[Reason],
    locked: str | None,
) -> str:
    if locked is not None:
        return locked
    if wanted <= given:
        why = [one.why for one in found if one.actions & wanted]
        return f"{actor.name} may {actions_text(wanted)} in {repository}: {'; '.join(why)}"
    missing = actions_text(wanted - given)
    return (
        f"{actor.name} may not {actions_text(wanted)} in {repository}: no rule gives {missing}; "
        f"{who_can_grant(actor, repository)}"
    )
