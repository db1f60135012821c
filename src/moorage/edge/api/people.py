"""Users, sign-up, organisations, teams, robots, tokens."""

from typing import Annotated

from fastapi import APIRouter, Query, Request, Response

from moorage.access import management
from moorage.access.permit import OwnerPermit
from moorage.edge.api import asked
from moorage.edge.api.asked import FIRST, Id, Last, Number, TheDesk, Who, page, plain
from moorage.errors import Code, RegistryError
from moorage.features.accounts import organisations, robots, signup, teams, tokens, users
from moorage.features.accounts.views import (
    Me,
    MemberView,
    NewToken,
    OrganisationView,
    RobotView,
    TeamView,
    TokenView,
    UserView,
)

router = APIRouter()


@router.get("/me", tags=["me"])
async def me(desk: TheDesk, who: Who) -> Me:
    """Whom your credentials prove."""
    return await users.me(desk, who)


@router.post("/signup", status_code=201, tags=["users"])
async def sign_up(desk: TheDesk, body: asked.SignUp) -> UserView:
    """Make yourself an account, or choose the password of the one you were invited to."""
    password = body.password.get_secret_value()
    if body.invitation is not None and body.name is None:
        return await signup.accept(desk, body.invitation.get_secret_value(), password)
    if body.name is not None and body.invitation is None:
        return await signup.sign_up(desk, body.name, password)
    raise RegistryError(Code.REQUEST_INVALID, "give either a name or an invitation")


@router.post("/invitations", status_code=201, tags=["users"])
async def invite(desk: TheDesk, who: Who, body: asked.Invited) -> asked.Invitation:
    """Make an account whose password somebody else will choose."""
    secret = await signup.invite(desk, management.administrator(who), body.name)
    return asked.Invitation(name=body.name, invitation=secret)


@router.get("/users", tags=["users"])
async def list_users(
    desk: TheDesk, who: Who, request: Request, response: Response, n: Number = FIRST, last: Last = ""
) -> list[UserView]:
    return page(request, response, await users.page(desk, management.administrator(who), last, n), n)


@router.post("/users", status_code=201, tags=["users"])
async def create_user(desk: TheDesk, who: Who, body: asked.NewUser) -> UserView:
    permit = management.administrator(who)
    return await users.create(
        desk, permit, body.name, plain(body.password), admin=body.admin, expires_in=body.expires_in
    )


@router.get("/users/{name}", tags=["users"])
async def show_user(desk: TheDesk, who: Who, name: str) -> UserView:
    return await users.show(desk, who, name)


@router.patch("/users/{name}", tags=["users"])
async def change_user(desk: TheDesk, who: Who, name: str, body: asked.UserChange) -> UserView:
    """Disable or enable, promote or demote, set when it ends, or how visible new repositories are: one at a time."""
    wanted = [one for one in (body.disabled, body.admin, body.visibility, body.expires_in) if one is not None]
    if len(wanted) != 1:
        raise RegistryError(Code.REQUEST_INVALID, "change one of disabled, admin, visibility and expires_in at a time")
    if body.visibility is not None:
        return await users.set_visibility(desk, who, name, body.visibility)
    permit = management.administrator(who)
    if body.disabled is not None:
        return await users.set_disabled(desk, permit, name, disabled=body.disabled)
    if body.expires_in is not None:
        return await users.set_end(desk, permit, name, body.expires_in)
    return await users.set_admin(desk, permit, name, admin=bool(body.admin))


@router.put("/users/{name}/password", status_code=204, tags=["users"])
async def change_password(desk: TheDesk, who: Who, name: str, body: asked.PasswordChange) -> None:
    await users.set_password(desk, who, name, plain(body.old), body.new.get_secret_value())


@router.get("/users/{name}/tokens", tags=["tokens"])
@router.get("/robots/{name}/tokens", tags=["tokens"])
async def list_tokens(desk: TheDesk, who: Who, name: str) -> list[TokenView]:
    return (await tokens.page(desk, who, name)).entries


@router.post("/users/{name}/tokens", status_code=201, tags=["tokens"])
async def create_token(desk: TheDesk, who: Who, name: str, body: asked.NewToken) -> NewToken:
    """Its secret is told this once."""
    return await tokens.create(desk, management.personal(who, name), body.name, body.scopes, body.expires_in)


@router.delete("/users/{name}/tokens/{token}", status_code=204, tags=["tokens"])
@router.delete("/robots/{name}/tokens/{token}", status_code=204, tags=["tokens"])
async def revoke_token(desk: TheDesk, who: Who, name: str, token: Id) -> None:
    await tokens.revoke(desk, who, name, token)


@router.get("/organisations", tags=["organisations"])
async def list_organisations(
    desk: TheDesk, who: Who, request: Request, response: Response, n: Number = FIRST, last: Last = ""
) -> list[OrganisationView]:
    """Those you are in; all, for administrators."""
    return page(request, response, await organisations.page(desk, who, last, n), n)


@router.post("/organisations", status_code=201, tags=["organisations"])
async def create_organisation(desk: TheDesk, who: Who, body: asked.NewOrganisation) -> OrganisationView:
    permit = management.administrator(who)
    return await organisations.create(desk, permit, body.name, body.owner, body.description, body.visibility)


@router.get("/organisations/{organisation}", tags=["organisations"])
async def show_organisation(desk: TheDesk, who: Who, organisation: str) -> OrganisationView:
    return await organisations.show(desk, who, organisation)


@router.patch("/organisations/{organisation}", tags=["organisations"])
async def change_organisation(
    desk: TheDesk, who: Who, organisation: str, body: asked.VisibilityChange
) -> OrganisationView:
    """Set how visible its new repositories are."""
    return await organisations.set_visibility(desk, management.owner(who, organisation), body.visibility)


@router.get("/organisations/{organisation}/members", tags=["organisations"])
async def list_members(
    desk: TheDesk,
    who: Who,
    request: Request,
    response: Response,
    organisation: str,
    n: Number = FIRST,
    last: Last = "",
) -> list[MemberView]:
    return page(request, response, await organisations.members(desk, who, organisation, last, n), n)


@router.put("/organisations/{organisation}/members/{user}", tags=["organisations"])
async def put_member(desk: TheDesk, who: Who, organisation: str, user: str, body: asked.Membership) -> MemberView:
    return await organisations.put_member(desk, management.owner(who, organisation), user, body.role)


@router.delete("/organisations/{organisation}/members/{user}", status_code=204, tags=["organisations"])
async def remove_member(desk: TheDesk, who: Who, organisation: str, user: str) -> None:
    await organisations.remove_member(desk, management.owner(who, organisation), user)


@router.get("/organisations/{organisation}/teams", tags=["teams"])
async def list_teams(
    desk: TheDesk,
    who: Who,
    request: Request,
    response: Response,
    organisation: str,
    n: Number = FIRST,
    last: Last = "",
) -> list[TeamView]:
    return page(request, response, await teams.page(desk, who, organisation, last, n), n)


@router.post("/organisations/{organisation}/teams", status_code=201, tags=["teams"])
async def create_team(desk: TheDesk, who: Who, organisation: str, body: asked.NewTeam) -> TeamView:
    return await teams.create(desk, management.owner(who, organisation), body.name)


@router.delete("/organisations/{organisation}/teams/{team}", status_code=204, tags=["teams"])
async def remove_team(desk: TheDesk, who: Who, organisation: str, team: str) -> None:
    await teams.remove(desk, management.owner(who, organisation), team)


@router.get("/organisations/{organisation}/teams/{team}/members", tags=["teams"])
async def list_team_members(
    desk: TheDesk,
    who: Who,
    request: Request,
    response: Response,
    organisation: str,
    team: str,
    n: Number = FIRST,
    last: Last = "",
) -> list[str]:
    found = await teams.members_page(desk, who, organisation, team, last, n)
    return page(request, response, found, n)


@router.put("/organisations/{organisation}/teams/{team}/members/{user}", status_code=204, tags=["teams"])
async def add_team_member(desk: TheDesk, who: Who, organisation: str, team: str, user: str) -> None:
    await teams.add_member(desk, management.owner(who, organisation), team, user)


@router.delete("/organisations/{organisation}/teams/{team}/members/{user}", status_code=204, tags=["teams"])
async def remove_team_member(desk: TheDesk, who: Who, organisation: str, team: str, user: str) -> None:
    await teams.remove_member(desk, management.owner(who, organisation), team, user)


@router.get("/robots", tags=["robots"])
async def list_robots(
    desk: TheDesk,
    who: Who,
    request: Request,
    response: Response,
    owner: Annotated[str, Query(max_length=255)],
    n: Number = FIRST,
    last: Last = "",
) -> list[RobotView]:
    return page(request, response, await robots.page(desk, management.owner(who, owner), last, n), n)


@router.post("/robots", status_code=201, tags=["robots"])
async def create_robot(desk: TheDesk, who: Who, body: asked.NewRobot) -> NewToken:
    """Its secret is told this once."""
    permit = management.owner(who, body.owner)
    return await robots.create(desk, permit, body.name, body.rules, body.description, body.expires_in)


@router.get("/robots/{name}", tags=["robots"])
async def show_robot(desk: TheDesk, who: Who, name: str) -> RobotView:
    return await robots.show(desk, _master(who, name), name)


@router.patch("/robots/{name}", tags=["robots"])
async def change_robot(desk: TheDesk, who: Who, name: str, body: asked.RobotChange) -> RobotView:
    return await robots.set_disabled(desk, _master(who, name), name, disabled=body.disabled)


@router.delete("/robots/{name}", status_code=204, tags=["robots"])
async def remove_robot(desk: TheDesk, who: Who, name: str) -> None:
    await robots.remove(desk, _master(who, name), name)


@router.post("/robots/{name}/rotate", tags=["robots"])
async def rotate_robot(desk: TheDesk, who: Who, name: str, body: asked.Rotation) -> NewToken:
    """Another secret, told this once; the one before ends after the grace."""
    return await robots.rotate(desk, _master(who, name), name, body.grace, body.expires_in)


def _master(who: Who, name: str) -> OwnerPermit:
    """The permit of whoever a robot of that name belongs to."""
    return management.owner(who, name.rpartition(".")[0])
