"""Every route of the management API, as its own description lists them: who is nobody, or a stranger, gets nowhere."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest

from tests import make
from tests.closed import ADMIN, Closed, Login, problem

ANYBODY = {
    "POST /signup": "this is how one becomes somebody; off unless accounts.signup says otherwise",
}
"""Routes that need no credentials, and why."""

SIGNED_IN = {
    "GET /me": "whom one's own credentials prove",
    "GET /organisations": "only those that one is in",
    "GET /repositories": "only those that one may pull from",
}
"""Routes that answer whoever is signed in, and why that tells a stranger nothing."""


@dataclass(frozen=True)
class Route:
    """One method of one path, with a request that is right in form and means what belongs to somebody else."""

    method: str
    path: str
    target: str
    query: dict[str, str]
    body: object

    @property
    def name(self) -> str:
        return f"{self.method} {self.path}"


class Estate:
    """What one owner has, by the names that routes use for it."""

    def __init__(self, closed: Closed) -> None:
        self.closed = closed
        self.owner, self.stranger = closed.user(), closed.user()
        organisation = closed.organisation(self.owner)
        closed.done(self.owner, "POST", f"/organisations/{organisation}/teams", {"name": "dev"})
        robot = closed.done(self.owner, "POST", "/robots", {"owner": organisation, "name": "ci"})["token"]
        token = closed.done(self.owner, "POST", f"/users/{self.owner[0]}/tokens", {"name": "x"})["token"]
        repository = f"{organisation}/app"
        with closed.signed_in(self.owner) as client:
            make.push_image(client, repository, "1", b"{}")
        rule = {"subject": self.owner[0], "pattern": repository, "actions": "pull"}
        grant = closed.done(self.owner, "POST", "/grants", rule)
        self.robot = robot["account"]
        self.values: dict[str, Any] = {
            "organisation": organisation, "team": "dev", "user": self.owner[0], "token": token["id"],
            "grant": grant["id"], "owner": organisation, "repository": repository, "pattern": repository,
            "subject": self.stranger[0], "actions": "owner", "action": "pull", "name": "mallory",
        }  # fmt: skip

    def routes(self) -> Iterator[Route]:
        """From the description (OpenAPI), so that new ones come by themselves."""
        document = self.closed.api(None, "GET", "/openapi.json").json()
        for path, methods in document["paths"].items():
            for method, operation in methods.items():
                named = self.values | {"name": self._name(path)}
                target = re.sub(r"\{(\w+)\}", lambda found, named=named: str(named[found[1]]), path)
                asked = [one["name"] for one in operation.get("parameters", []) if one["in"] == "query"]
                query = {name: self.values[name] for name in asked if name in {"user", "action", "repository"}}
                if path == "/api/v1/robots":
                    query["owner"] = self.values["owner"]
                content = operation.get("requestBody", {}).get("content", {}).get("application/json")
                body = self._body(content["schema"], document) if content else None
                yield Route(method.upper(), path.removeprefix("/api/v1"), target.removeprefix("/api/v1"), query, body)

    def _name(self, path: str) -> str:
        kinds = {"robots": self.robot, "repositories": self.values["repository"]}
        return str(kinds.get(path.split("/")[3], self.owner[0]))

    def _body(self, schema: dict[str, Any], document: dict[str, Any]) -> dict[str, object]:
        """The fields that have to be there; where none has, the first that is a yes or no."""
        found = document["components"]["schemas"][schema["$ref"].rpartition("/")[2]]
        fields = (
            found.get("required")
            or [name for name, one in found["properties"].items() if {"type": "boolean"} in one.get("anyOf", [one])][:1]
        )
        return {name: self._value(name, found["properties"][name]) for name in fields}

    def _value(self, name: str, schema: dict[str, Any]) -> object:
        if "enum" in schema:
            return schema["enum"][0]
        kinds = [one.get("type") for one in schema.get("anyOf", [schema])]
        return True if "boolean" in kinds else self.values.get(name, "a good long password")


@pytest.fixture(scope="module")
def estate(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Estate]:
    closed = Closed(tmp_path_factory.mktemp("estate"))
    yield Estate(closed)
    closed.stop()


def ask(estate: Estate, who: Login | str | None, route: Route) -> Any:
    return estate.closed.api(who, route.method, route.target, route.body, params=route.query)


def test_nobody_is_told_to_sign_in_by_every_route(estate: Estate) -> None:
    tried = set()
    for route in estate.routes():
        tried.add(route.name)
        answer = ask(estate, None, route)
        if route.name in ANYBODY:
            assert answer.status_code != 401, (route, answer.text)
            continue
        problem(answer, 401, "UNAUTHORIZED")
        assert 'scope="registry:api:*"' in answer.headers["WWW-Authenticate"]
        assert "error=" not in answer.headers["WWW-Authenticate"]
    assert len(tried) >= 40
    assert ANYBODY.keys() | SIGNED_IN.keys() <= tried


def test_a_stranger_gets_nowhere_by_any_route(estate: Estate) -> None:
    before = world(estate)
    for route in estate.routes():
        answer = ask(estate, estate.stranger, route)
        if route.name in ANYBODY:
            assert answer.status_code in {400, 403}, "it asks for a name or an invitation"
        elif route.name in SIGNED_IN:
            assert answer.status_code == 200, (route, answer.text)
            told = answer.text.replace(estate.stranger[0], "")
            assert not any(str(name) in told for name in (estate.values["organisation"], estate.owner[0])), route
        else:
            assert answer.status_code in {403, 404}, (route, answer.text)
    assert world(estate) == before


def test_a_bearer_token_for_repositories_gets_nowhere_by_any_route(estate: Estate) -> None:
    """Not even the owner's own: whoever is handed it to push manages nothing."""
    narrow = estate.closed.bearer(estate.owner, f"repository:{estate.values['repository']}:*", "registry:catalog:*")
    nobody = estate.closed.bearer(None, "registry:api:*")
    before = world(estate)
    for route in estate.routes():
        if route.name not in ANYBODY:
            answer = ask(estate, narrow, route)
            problem(answer, 401, "UNAUTHORIZED")
            assert 'error="insufficient_scope"' in answer.headers["WWW-Authenticate"], route
            problem(ask(estate, nobody, route), 401, "UNAUTHORIZED")
    assert world(estate) == before


@pytest.mark.parametrize("whose", ["administrator", "owner"])
def test_a_token_for_one_repository_gets_nowhere_by_any_route(estate: Estate, whose: str) -> None:
    """Whoever gave it to their CI has not shown that all accounts, and where they belong."""
    name, password = ADMIN if whose == "administrator" else estate.owner
    body = {"name": "ci", "scopes": ["elsewhere/app:pull"]}
    made = estate.closed.done((name, password), "POST", f"/users/{name}/tokens", body)
    before = world(estate)
    for route in estate.routes():
        if route.name in ANYBODY:
            continue
        answer = ask(estate, (name, made["secret"]), route)
        if route.name in SIGNED_IN:
            assert answer.status_code == 200, (route, answer.text)
            assert estate.values["organisation"] not in answer.text, route
        else:
            assert answer.status_code in {403, 404}, (route, answer.text)
    assert world(estate) == before


def world(estate: Estate) -> object:
    """All that an administrator sees."""
    organisation, owner = estate.values["organisation"], estate.owner[0]
    paths = ["/users", "/organisations", f"/organisations/{organisation}/members", "/grants", "/repositories"]
    paths += [f"/organisations/{organisation}/teams/dev/members", f"/robots?owner={organisation}"]
    paths += [f"/grants?owner={organisation}", f"/users/{owner}/tokens", f"/robots/{estate.robot}/tokens"]
    return [estate.closed.done(ADMIN, "GET", path) for path in paths]
