"""What routes are handed: the desk, who is asking, bodies that know all their fields, and pages."""

import re
from typing import Annotated, Any, Final, Literal, TypeVar
from urllib.parse import quote

from fastapi import Depends, Path, Query, Request, Response
from pydantic import BaseModel, ConfigDict, SecretStr, model_validator

from moorage.access.actor import Identity
from moorage.features.accounts.desk import MOST, PAGE, Desk
from moorage.features.accounts.views import Page

T = TypeVar("T")

_UNKEPT: Final = re.compile("[\0\ud800-\udfff]")
_LARGEST: Final = 2**63 - 1
"""No row has a number beyond it, and no database takes one."""


async def _desk(request: Request) -> Desk:
    found: Desk = request.app.state.desk
    return found


async def _who(request: Request) -> Identity:
    found: Identity = request.scope["moorage.identity"]
    return found


TheDesk = Annotated[Desk, Depends(_desk)]
Who = Annotated[Identity, Depends(_who)]
Number = Annotated[int, Query(ge=1, le=MOST, description="The most entries of a page.")]
Last = Annotated[str, Query(max_length=255, description="Begin behind this entry, as the Link header says.")]
Id = Annotated[int, Path(ge=0, le=_LARGEST)]
LastId = Annotated[int, Query(ge=0, le=_LARGEST, description="Begin behind this entry, as the Link header says.")]
FIRST = PAGE
Visibility = Literal["private", "internal", "public"]


def page(request: Request, response: Response, found: Page[T], n: int) -> list[T]:
    """The entries of a page, and the Link to the next one where there is one."""
    if found.last is not None:
        kept = [(name, value) for name, value in request.query_params.multi_items() if name not in {"n", "last"}]
        query = "&".join(
            f"{name}={quote(value, safe='')}" for name, value in [*kept, ("n", str(n)), ("last", found.last)]
        )
        response.headers["Link"] = f'<{request.url.path}?{query}>; rel="next"'
    return found.entries


class Body(BaseModel):
    """What it does not know it refuses: nobody sets a field that is not theirs to set."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    @model_validator(mode="before")
    @classmethod
    def _text_that_can_be_kept(cls, given: Any) -> Any:
        """JSON can spell what no database keeps and no answer repeats: NUL, and half of a surrogate pair."""
        for value in given.values() if isinstance(given, dict) else ():
            for text in value if isinstance(value, list) else [value]:
                if isinstance(text, str) and _UNKEPT.search(text):
                    raise ValueError("a text holds NUL or half a character")
        return given


class NewUser(Body):
    name: str
    password: SecretStr | None = None
    admin: bool = False
    expires_in: int | None = None
    """Seconds until the account ends."""


class UserChange(Body):
    """One of them."""

    disabled: bool | None = None
    admin: bool | None = None
    visibility: Visibility | None = None
    expires_in: int | None = None
    """Seconds until the account ends; 0 for no end."""


class PasswordChange(Body):
    new: SecretStr
    old: SecretStr | None = None
    """Not needed by an administrator who sets another's."""


class Invited(Body):
    name: str


class SignUp(Body):
    """A name, or the invitation."""

    password: SecretStr
    name: str | None = None
    invitation: SecretStr | None = None


class NewOrganisation(Body):
    name: str
    owner: str | None = None
    """Its first owner; without one, whoever makes it."""
    description: str = ""
    visibility: Visibility = "private"


class VisibilityChange(Body):
    visibility: Visibility


class Membership(Body):
    role: Literal["owner", "member"] = "member"


class NewTeam(Body):
    name: str


class NewRobot(Body):
    owner: str
    name: str
    rules: list[str] = []
    """`pattern:actions` each, as in `acme/*:pull,push`."""
    description: str = ""
    expires_in: int | None = None


class RobotChange(Body):
    disabled: bool


class Rotation(Body):
    grace: int = 0
    """Seconds that the secret before stays good."""
    expires_in: int | None = None


class NewToken(Body):
    name: str
    scopes: list[str] = []
    """`pattern:actions` each; none for whatever the account may."""
    expires_in: int | None = None


class NewGrant(Body):
    subject: str
    """A user, a robot, `organisation/team`, `everyone` or `anyone`."""
    pattern: str
    actions: str
    """Actions or roles, separated by commas."""
    expires_in: int | None = None


class Invitation(BaseModel):
    name: str
    invitation: str
    """The secret to hand over: it is told this once."""


def plain(secret: SecretStr | None) -> str | None:
    return secret.get_secret_value() if secret is not None else None


Answers = dict[int | str, dict[str, Any]]
