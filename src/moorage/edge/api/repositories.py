"""Repositories, and the rules about them."""

from typing import Annotated

from fastapi import APIRouter, Query, Request, Response

from moorage.access import management
from moorage.edge.api import asked
from moorage.edge.api.asked import FIRST, Id, Last, LastId, Number, TheDesk, Who, page
from moorage.errors import Code, RegistryError
from moorage.features.accounts import explaining, grants, repositories
from moorage.features.accounts.views import Explanation, GrantView, RepositoryDetails, RepositoryView
from moorage.oci.names import RepositoryName
from moorage.oci.pattern import WILD, Pattern

router = APIRouter()


@router.get("/repositories", tags=["repositories"])
async def list_repositories(
    desk: TheDesk,
    who: Who,
    request: Request,
    response: Response,
    owner: Annotated[str, Query(max_length=255, description="Only this owner's.")] = "",
    n: Number = FIRST,
    last: Last = "",
) -> list[RepositoryView]:
    """Those that you may pull from."""
    return page(request, response, await repositories.page(desk, who, owner, last, n), n)


@router.get("/repositories/{name:path}", tags=["repositories"])
async def show_repository(desk: TheDesk, who: Who, name: str) -> RepositoryDetails:
    return await repositories.show(desk, who, RepositoryName.parse(name))


@router.patch("/repositories/{name:path}", tags=["repositories"])
async def change_repository(desk: TheDesk, who: Who, name: str, body: asked.VisibilityChange) -> RepositoryDetails:
    management.signed_in(who)
    permit = await desk.authority.permit_manage(who, RepositoryName.parse(name))
    return await repositories.set_visibility(desk, permit, body.visibility)


@router.delete("/repositories/{name:path}", status_code=204, tags=["repositories"])
async def remove_repository(desk: TheDesk, who: Who, name: str) -> None:
    """Everything in it goes to the trash."""
    management.signed_in(who)
    await repositories.remove(desk, await desk.authority.permit_manage(who, RepositoryName.parse(name)))


@router.get("/grants", tags=["access"])
async def list_grants(
    desk: TheDesk,
    who: Who,
    request: Request,
    response: Response,
    owner: Annotated[str, Query(max_length=255, description="The rules on this owner's repositories.")] = "",
    repository: Annotated[str, Query(max_length=255, description="The rules that matter to this repository.")] = "",
    n: Number = FIRST,
    last: LastId = 0,
) -> list[GrantView]:
    """Of an owner or of a repository; with neither, the rules for several owners."""
    management.signed_in(who)
    if repository and owner:
        raise RegistryError(Code.QUERY_INVALID, "give an owner or a repository, not both")
    if repository:
        permit = await desk.authority.permit_manage(who, RepositoryName.parse(repository))
        return page(request, response, await grants.of_repository(desk, permit, last, n), n)
    if not owner:
        management.administrator(who)
    return page(request, response, await grants.of_owner(desk, management.owner(who, owner or WILD), last, n), n)


@router.post("/grants", status_code=201, tags=["access"])
async def grant(desk: TheDesk, who: Who, body: asked.NewGrant) -> GrantView:
    """Takes the place of what the subject had on the same pattern."""
    permit = await management.granting(desk.authority, who, Pattern.parse(body.pattern))
    return await grants.put(desk, permit, body.subject, body.actions, body.expires_in)


@router.delete("/grants/{grant}", status_code=204, tags=["access"])
async def revoke_grant(desk: TheDesk, who: Who, grant: Id) -> None:
    await grants.revoke(desk, who, grant)


@router.get("/access/explain", tags=["access"])
async def explain(desk: TheDesk, who: Who, user: str, action: str, repository: str) -> Explanation:
    """Why somebody may do something in a repository, or not: for whoever can change it."""
    management.signed_in(who)
    permit = await desk.authority.permit_manage(who, RepositoryName.parse(repository))
    return await explaining.explain(desk, permit, user, action)
