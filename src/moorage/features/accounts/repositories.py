"""Repositories, as their owners manage them: lists, visibility, deleting a whole one."""

from moorage.access import management
from moorage.access.action import Action
from moorage.access.actor import Identity
from moorage.access.permit import Permit
from moorage.core import delete
from moorage.core.discover import one_more_than
from moorage.db import events
from moorage.db import repositories as rows
from moorage.db.engine import Tx
from moorage.errors import Code, RegistryError
from moorage.features.accounts.desk import Desk, parse_visibility
from moorage.features.accounts.views import Page, RepositoryDetails, RepositoryView, moment
from moorage.oci.names import RepositoryName


async def page(desk: Desk, identity: Identity, owner: str, after: str, most: int) -> Page[RepositoryView]:
    """Those that the actor may see; of one owner, or of all (empty)."""
    management.signed_in(identity)

    async def look(after: str, batch: int) -> list[rows.Shown]:
        return await desk.db.scan(rows.shown_page, owner, after, batch)

    async def left(some: list[rows.Shown]) -> list[rows.Shown]:
        names = {RepositoryName.parse(one.name): one for one in some}
        return [names[name] for name in await desk.authority.visible(identity, list(names))]

    found = await one_more_than(most, after, look, lambda one: one.name, left)
    entries = [RepositoryView(one.name, one.owner, one.visibility, moment(one.created_at)) for one in found[:most]]
    return Page(entries, entries[-1].name if len(found) > most else None)


async def show(desk: Desk, identity: Identity, repository: RepositoryName) -> RepositoryDetails:
    """For whoever may pull from it.  Raises NAME_UNKNOWN, the same whether or not there is one."""
    management.signed_in(identity)
    if not await desk.authority.visible(identity, [repository]):
        raise _unknown(repository)
    return await desk.db.scan(_show, repository)


async def set_visibility(desk: Desk, permit: Permit, visibility: str) -> RepositoryDetails:
    """Who may pull without a rule: nobody (private), whoever is signed in (internal), anyone (public).

    Raises NAME_UNKNOWN, REQUEST_INVALID.
    """
    permit.require(Action.MANAGE)
    return await desk.change(_set_visibility, permit, parse_visibility(visibility))


async def remove(desk: Desk, permit: Permit) -> None:
    """Everything in the repository to the trash.  Raises NAME_UNKNOWN, DENIED, UNSUPPORTED."""
    await delete.repository(desk.registry, permit)
    desk.authority.forget()


def _show(tx: Tx, repository: RepositoryName) -> RepositoryDetails:
    found = rows.show(tx, repository)
    if found is None or found.listed_at is None:
        raise _unknown(repository)
    inside = rows.counts(tx, found.id)
    return RepositoryDetails(
        found.name,
        found.owner,
        found.visibility,
        moment(found.created_at),
        inside.tags,
        inside.manifests,
        inside.size,
    )


def _set_visibility(tx: Tx, now: int, permit: Permit, visibility: str) -> RepositoryDetails:
    found = rows.show(tx, permit.repository)
    if found is None or found.listed_at is None:
        raise _unknown(permit.repository)
    rows.set_visibility(tx, found.id, visibility)
    facts: dict[str, object] = {"visibility": visibility, "before": found.visibility}
    events.append(tx, "repository.visibility", found.name, permit.actor.name, facts, now)
    return _show(tx, permit.repository)


def _unknown(repository: RepositoryName) -> RegistryError:
    return RegistryError(
        Code.NAME_UNKNOWN, f"there is no repository {repository}, or you may not see it", name=repository.value
    )
