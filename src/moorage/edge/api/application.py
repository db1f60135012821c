"""The FastAPI application: its routes, its description (OpenAPI 3.1), and how errors look."""

import json
from collections.abc import Callable, Sequence
from typing import Any, Final

from fastapi import APIRouter, FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.openapi.utils import get_openapi
from starlette.exceptions import HTTPException

import moorage
from moorage.edge.api import people, repositories
from moorage.edge.api.addresses import ROOT, template
from moorage.edge.api.problems import MEDIA_TYPE, problem
from moorage.edge.http import STATUS
from moorage.edge.http import Request as OurRequest
from moorage.errors import Code, RegistryError
from moorage.features.accounts.desk import Desk
from moorage.oci.names import shown

_SCHEMES: Final = {
    "basic": {"type": "http", "scheme": "basic", "description": "A user name with its password or a token."},
    "bearer": {"type": "http", "scheme": "bearer", "description": "Asked for with the scope registry:api:*."},
}

Further = Callable[[OurRequest, RegistryError], Sequence[tuple[str, str]]]
"""The headers that belong to a refusal."""


def application(desk: Desk, further: Further) -> Any:
    """The ASGI application; whoever calls it puts `moorage.identity` and `moorage.request` into the scope."""
    app = FastAPI(
        title="Moorage", version=moorage.__version__, openapi_url=f"{ROOT}/openapi.json", docs_url=None, redoc_url=None
    )
    app.state.desk = desk
    everything = APIRouter(prefix=ROOT)
    everything.include_router(people.router)
    everything.include_router(repositories.router)
    app.include_router(everything)

    async def refuse(request: Request, error: Exception) -> Response:
        told = _named(error)
        request.scope["moorage.error"] = told.code
        _note(desk, request, told)
        headers = dict(further(request.scope["moorage.request"], told))
        return Response(json.dumps(problem(told)), STATUS[told.code], headers, MEDIA_TYPE)

    for kind in (RegistryError, RequestValidationError, HTTPException):
        app.add_exception_handler(kind, refuse)
    app.openapi = lambda: _described(app)  # type: ignore[method-assign]
    return app


def _named(error: Exception) -> RegistryError:
    """The error as one of ours.  What was sent is not repeated: it may be a password."""
    if isinstance(error, RegistryError):
        return error
    if isinstance(error, RequestValidationError):
        faults = [f"{_place(one['loc'])}: {one['msg']}" for one in error.errors()]
        return RegistryError(Code.REQUEST_INVALID, f"the request is not right: {'; '.join(faults[:10])}")
    if isinstance(error, HTTPException) and error.status_code == STATUS[Code.UNSUPPORTED]:
        return RegistryError(Code.UNSUPPORTED, "the method is not supported at this address")
    if isinstance(error, HTTPException) and error.status_code == STATUS[Code.PATH_UNKNOWN]:
        return RegistryError(Code.PATH_UNKNOWN, f"there is nothing at this address; see {ROOT}/openapi.json")
    return RegistryError(Code.REQUEST_INVALID, "the request cannot be read")


def _place(steps: Sequence[int | str]) -> str:
    """Where in a request a fault is; what the client called something there may be no text to show."""
    place = ".".join(map(str, steps[1:])) or "body"
    return place if place.isprintable() else shown(place)


def _note(desk: Desk, request: Request, error: RegistryError) -> None:
    """Have a refusal written down that `moorage.access.rules` did not see."""
    if error.code is Code.DENIED and "repository" not in error.detail:
        actor = request.scope["moorage.identity"].actor.name
        desk.authority.notes.add("access.denied", actor, address=f"{request.method} {template(request.scope)}")


def _described(app: FastAPI) -> dict[str, Any]:
    if app.openapi_schema is None:
        found = get_openapi(title=app.title, version=app.version, openapi_version="3.1.0", routes=app.routes)
        found.setdefault("components", {})["securitySchemes"] = _SCHEMES
        found["security"] = [{"basic": []}, {"bearer": []}]
        app.openapi_schema = found
    return app.openapi_schema
