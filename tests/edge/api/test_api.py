"""The management API over HTTP: who gets in, what comes out, how refusals look."""

import json
import re
import subprocess
import sys
import time
from urllib.parse import quote

import pytest

from moorage.db import events
from moorage.db.engine import open_database
from tests import make
from tests.closed import ADMIN, PASSWORD, problem


def test_the_api_describes_itself_as_openapi_3_1(closed):
    document = closed.api(None, "GET", "/openapi.json").json()
    assert document["openapi"] == "3.1.0"
    assert "/api/v1/repositories/{name}" in document["paths"]
    assert set(document["components"]["securitySchemes"]) == {"basic", "bearer"}


def test_whoever_is_not_signed_in_is_told_how(closed):
    answer = closed.api(None, "GET", "/users")
    assert "nobody is signed in" in problem(answer, 401, "UNAUTHORIZED")
    assert 'scope="registry:api:*"' in answer.headers["WWW-Authenticate"]
    wrong = closed.api(("admin", "wrong"), "GET", "/users")
    unknown = closed.api(("nobody", "wrong"), "GET", "/users")
    assert problem(wrong, 401, "UNAUTHORIZED") == problem(unknown, 401, "UNAUTHORIZED")


def test_a_bearer_token_for_repositories_does_not_manage(closed):
    user = closed.user()
    answer = closed.api(closed.bearer(user, f"repository:{user[0]}/app:*"), "GET", "/me")
    assert "was not asked for the management API" in problem(answer, 401, "UNAUTHORIZED")
    assert 'error="insufficient_scope"' in answer.headers["WWW-Authenticate"]
    assert closed.done(closed.bearer(user, "registry:api:*"), "GET", "/me")["name"] == user[0]


def test_me_tells_who_one_is_and_where_one_belongs(closed):
    user = closed.user()
    organisation = closed.organisation(user)
    closed.done(user, "POST", f"/organisations/{organisation}/teams", {"name": "dev"})
    closed.done(user, "PUT", f"/organisations/{organisation}/teams/dev/members/{user[0]}")
    assert closed.done(user, "GET", "/me") == {
        "name": user[0],
        "kind": "user",
        "admin": False,
        "credential": "a password",
        "organisations": [{"name": organisation, "role": "owner"}],
        "teams": [f"{organisation}/dev"],
    }


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/users", {"name": "eve", "password": PASSWORD, "is_admin": True}),
        ("/signup", {"name": "eve", "password": PASSWORD, "admin": True}),
        ("/organisations", {"name": "eve", "id": 1}),
        ("/robots", {"name": "ci", "owner": "admin", "owner_id": 1}),
        ("/users/admin/tokens", {"name": "x", "kind": "refresh"}),
        ("/grants", {"subject": "admin", "pattern": "a/b", "actions": "pull", "created_by": "somebody"}),
    ],
)
def test_fields_that_are_not_known_are_refused_and_nothing_is_made(closed, path, body):
    told = problem(closed.api(ADMIN, "POST", path, body), 400, "REQUEST_INVALID")
    assert "Extra inputs are not permitted" in told
    assert PASSWORD not in told
    assert closed.api(ADMIN, "GET", "/users/eve").status_code == 404


def test_a_fault_never_repeats_the_password_that_was_sent(closed):
    answer = closed.api(ADMIN, "POST", "/users", {"name": 7, "password": ["sekrit-of-mine"]})
    assert "name: Input should be a valid string" in problem(answer, 400, "REQUEST_INVALID")
    assert "sekrit-of-mine" not in answer.text


@pytest.mark.parametrize("media_type", ["text/plain", "application/x-www-form-urlencoded", ""])
def test_a_form_of_another_site_is_not_taken_for_a_request(closed, media_type):
    body = json.dumps({"name": "forged", "password": PASSWORD})
    answer = closed.client.post("/api/v1/users", content=body, auth=ADMIN, headers={"Content-Type": media_type})
    assert "Content-Type: application/json" in problem(answer, 400, "REQUEST_INVALID")
    assert closed.api(ADMIN, "GET", "/users/forged").status_code == 404


@pytest.mark.parametrize("name", ["a\0b", "\ud800", "a\x1b[31m", "x" * 301, "\u202e", "' OR 1=1 --", "../../etc"])
def test_hostile_text_is_refused_wherever_it_stands(closed, name):
    asked = [
        ("POST", "/users", {"name": name, "password": PASSWORD}),
        ("POST", "/users", {"name": "hostile", "password": name[:9]}),
        ("POST", "/organisations", {"name": "hostile", "owner": name}),
        ("POST", "/organisations", {"name": "hostile", "description": name * 2, "owner": name}),
        ("POST", "/users/admin/tokens", {"name": "x", "scopes": [name]}),
        ("POST", "/robots", {"owner": name, "name": "ci"}),
        ("POST", "/robots", {"owner": "admin", "name": name}),
        ("POST", "/robots", {"owner": "admin", "name": "ci", "rules": [name + ":pull"]}),
        ("POST", "/grants", {"subject": name, "pattern": "a/b", "actions": "pull"}),
        ("POST", "/grants", {"subject": "admin", "pattern": name, "actions": "pull"}),
        ("POST", "/grants", {"subject": "admin", "pattern": "a/b", "actions": name}),
        ("POST", "/signup", {"invitation": name, "password": PASSWORD}),
    ]
    for method, path, body in asked:
        answer = closed.client.request(
            method, f"/api/v1{path}", content=json.dumps(body), auth=ADMIN, headers={"Content-Type": "application/json"}
        )
        assert 400 <= answer.status_code < 500, (path, body, answer.text)
        assert answer.json()["detail"].isprintable()
    for query in ("/users?last=", "/repositories?owner=", "/robots?owner=", "/grants?owner=", "/grants?repository="):
        answer = closed.api(ADMIN, "GET", query + quote(name, errors="replace"))
        assert answer.status_code < 500, (query, answer.text)


@pytest.mark.parametrize(
    "number",
    [-(10**20), -1, 0, 2**31, 2**63 - 1, 2**63, 10**20, 10**4000],
    ids=lambda n: f"{n:.0e}" if abs(n) < 10**300 else "endless",
)
def test_a_number_of_any_size_is_answered(closed, number):
    user = closed.user()
    robot = closed.done(user, "POST", "/robots", {"owner": user[0], "name": "ci"})["token"]["account"]
    asked = [
        ("DELETE", f"/grants/{number}", None),
        ("DELETE", f"/users/{user[0]}/tokens/{number}", None),
        ("DELETE", f"/robots/{robot}/tokens/{number}", None),
        ("GET", f"/grants?owner={user[0]}&last={number}", None),
        ("GET", f"/grants?repository={user[0]}/app&last={number}", None),
        ("GET", f"/repositories?n={number}", None),
        ("POST", f"/users/{user[0]}/tokens", {"name": "x", "expires_in": number}),
        ("POST", "/robots", {"owner": user[0], "name": "x", "expires_in": number}),
        ("POST", f"/robots/{robot}/rotate", {"expires_in": number}),
        ("POST", f"/robots/{robot}/rotate", {"grace": number}),
        ("POST", "/grants", {"subject": user[0], "pattern": "a/b", "actions": "pull", "expires_in": number}),
        ("POST", "/users", {"name": f"of.{user[0]}", "expires_in": number}),
    ]
    for method, path, body in asked:
        who = ADMIN if path in {"/grants", "/users"} else user
        answer = closed.api(who, method, path, body)
        assert answer.status_code < 500, (method, path[:80], answer.text[:500])
        if abs(number) > 2**63 - 1:
            problem(answer, 400, "REQUEST_INVALID")
    assert closed.done(user, "GET", "/me")["name"] == user[0]


def test_no_number_is_forgotten_of_those_that_are_tried(closed):
    document = closed.api(None, "GET", "/openapi.json").json()
    schemas = [one["properties"] for one in document["components"]["schemas"].values() if "additionalProperties" in one]
    fields = [(name, one) for properties in schemas for name, one in properties.items()]
    for operations in document["paths"].values():
        for operation in operations.values():
            fields += [(one["name"], one["schema"]) for one in operation.get("parameters", [])]
    numbers = {name for name, one in fields if "integer" in {kind.get("type") for kind in one.get("anyOf", [one])}}
    assert numbers == {"n", "last", "token", "grant", "expires_in", "grace"}


@pytest.mark.parametrize(
    "field", ["username", "password", "client_id", "scope", "service", "grant_type", "other", "\0"]
)
def test_a_form_that_holds_a_nul_gets_no_token(closed, field):
    form = {"grant_type": "password", "username": ADMIN[0], "password": PASSWORD, "access_type": "offline"}
    answer = closed.client.post("/token", data=form | {field: f"{form.get(field, 'a')}\0b"})
    assert answer.status_code == 400, answer.text
    assert answer.json()["errors"][0]["message"] == "the form cannot be read: it holds a NUL"
    assert closed.client.post("/token", data=form).status_code == 200


@pytest.mark.parametrize("method", ["POST", "PUT", "PATCH"])
def test_no_text_of_a_body_holds_a_nul(closed, method):
    """Every field of every body, as the description has them; also as one of a list, and as a field's name."""
    document = closed.api(None, "GET", "/openapi.json").json()
    tried = 0
    for path, methods in document["paths"].items():
        content = methods.get(method.lower(), {}).get("requestBody", {}).get("content", {}).get("application/json")
        if content is None:
            continue
        schema = document["components"]["schemas"][content["schema"]["$ref"].rpartition("/")[2]]
        target = re.sub(r"\{[a-z]+\}", "admin", path).removeprefix("/api/v1")
        whole = dict.fromkeys(schema.get("required", []), "x")
        for name in [*schema["properties"], "a\0b"]:
            for value in ("a\0b", ["a\0b"], {"a\0b": "a\0b"}):
                problem(closed.api(ADMIN, method, target, whole | {name: value}), 400, "REQUEST_INVALID")
                tried += 1
    assert tried >= 9


def test_a_body_without_end_is_cut(closed):
    answer = closed.api(ADMIN, "POST", "/users", {"name": "x" * 70_000})
    assert "larger than 65536 bytes" in problem(answer, 400, "REQUEST_INVALID")


def test_addresses_and_methods_that_are_not_there_are_problems_too(closed):
    assert "openapi.json" in problem(closed.api(ADMIN, "GET", "/nothing"), 404, "PATH_UNKNOWN")
    problem(closed.api(ADMIN, "PUT", "/users"), 405, "UNSUPPORTED")
    problem(closed.client.get("/api/v2/users", auth=ADMIN), 404, "PATH_UNKNOWN")
    head = closed.api(ADMIN, "HEAD", "/me")
    assert (head.status_code, head.content) == (200, b"")


def test_lists_are_cut_into_pages_that_lead_to_each_other(closed):
    names = [closed.user()[0] for _ in range(3)]
    found, path = [], "/users?n=2"
    for _ in range(100):
        answer = closed.api(ADMIN, "GET", path)
        assert len(answer.json()) <= 2
        found += [one["name"] for one in answer.json()]
        if "next" not in answer.links:
            break
        path = answer.links["next"]["url"].removeprefix("/api/v1")
    assert found == sorted(found)
    assert set(names) <= set(found)
    problem(closed.api(ADMIN, "GET", "/users?n=0"), 400, "REQUEST_INVALID")
    problem(closed.api(ADMIN, "GET", "/users?n=1001"), 400, "REQUEST_INVALID")


def test_a_secret_is_told_once_and_never_again(closed):
    user = closed.user()
    made = closed.done(user, "POST", f"/users/{user[0]}/tokens", {"name": "laptop", "scopes": ["**:pull"]})
    assert re.fullmatch(r"mrgp_[0-9A-Za-z]{38}", made["secret"])
    (listed,) = closed.done(user, "GET", f"/users/{user[0]}/tokens")
    assert listed == made["token"]
    assert not {"secret", "hash", "secret_hash", "password"} & set(listed)
    everything = json.dumps([closed.done(ADMIN, "GET", path) for path in ("/users", f"/users/{user[0]}/tokens")])
    assert made["secret"] not in everything
    assert "argon2" not in everything


def test_it_is_told_when_and_from_where_a_token_was_used(closed):
    user = closed.user()
    made = closed.done(user, "POST", f"/users/{user[0]}/tokens", {"name": "laptop"})
    assert made["token"]["used_at"] is None
    closed.done((user[0], made["secret"]), "GET", "/me")
    for _ in range(50):
        (listed,) = closed.done(user, "GET", f"/users/{user[0]}/tokens")
        if listed["used_at"]:
            break
        time.sleep(0.2)
    assert listed["used_from"] == "127.0.0.1"


def test_whoever_disables_a_user_ends_their_bearer_tokens_at_once(closed):
    user = closed.user()
    bearer = closed.bearer(user, "registry:api:*")
    closed.done(bearer, "GET", "/me")
    closed.done(ADMIN, "PATCH", f"/users/{user[0]}", {"disabled": True})
    assert "no longer good" in problem(closed.api(bearer, "GET", "/me"), 401, "UNAUTHORIZED")
    problem(closed.api(user, "GET", "/me"), 401, "UNAUTHORIZED")


@pytest.mark.parametrize("body", [{}, {"disabled": None}, {"admin": None}, {"disabled": True, "admin": True}])
def test_one_change_at_a_time_and_not_none(closed, body):
    user = closed.user()
    problem(closed.api(ADMIN, "PATCH", f"/users/{user[0]}", body), 400, "REQUEST_INVALID")
    assert closed.done(ADMIN, "GET", f"/users/{user[0]}")["disabled"] is False


def test_signing_up_makes_an_ordinary_user(closed):
    closed.done(None, "POST", "/signup", {"name": "eve.new", "password": PASSWORD})
    assert closed.done(("eve.new", PASSWORD), "GET", "/me")["admin"] is False
    problem(closed.api(None, "POST", "/signup", {"name": "eve.new", "password": PASSWORD}), 409, "CONFLICT")
    problem(closed.api(None, "POST", "/signup", {"name": "Eve", "password": PASSWORD}), 400, "NAME_INVALID")
    problem(closed.api(None, "POST", "/signup", {"password": PASSWORD}), 400, "REQUEST_INVALID")


def test_the_last_owner_and_the_last_administrator_stay(closed):
    first, second = closed.user(), closed.user()
    house = closed.organisation(first)
    members = f"/organisations/{house}/members"
    for method, body in (("PUT", {"role": "member"}), ("DELETE", None)):
        told = problem(closed.api(first, method, f"{members}/{first[0]}", body), 409, "CONFLICT")
        assert "last owner" in told
        problem(closed.api(ADMIN, method, f"{members}/{first[0]}", body), 409, "CONFLICT")
    closed.done(first, "PUT", f"{members}/{second[0]}", {"role": "owner"})
    closed.done(first, "PUT", f"{members}/{first[0]}", {"role": "member"})
    problem(closed.api(first, "PUT", f"{members}/{first[0]}", {"role": "owner"}), 403, "DENIED")
    problem(closed.api(second, "DELETE", f"{members}/{second[0]}"), 409, "CONFLICT")
    for change in ({"admin": False}, {"disabled": True}):
        assert "yourself" in problem(closed.api(ADMIN, "PATCH", "/users/admin", change), 409, "CONFLICT")
    closed.done(ADMIN, "PATCH", f"/users/{second[0]}", {"admin": True})
    closed.done(second, "PATCH", "/users/admin", {"admin": False})
    problem(closed.api(ADMIN, "GET", "/users"), 403, "DENIED")
    problem(closed.api(second, "PATCH", f"/users/{second[0]}", {"admin": False}), 409, "CONFLICT")
    closed.done(second, "PATCH", "/users/admin", {"admin": True})
    closed.done(ADMIN, "PATCH", f"/users/{second[0]}", {"admin": False})


def test_nothing_of_another_owner_can_be_reached_by_its_name_or_number(closed):
    """SEC-17: every object of one owner, asked for by another one with both parents."""
    alice, bob = closed.user(), closed.user()
    theirs, mine = closed.organisation(alice), closed.organisation(bob)
    closed.done(alice, "POST", f"/organisations/{theirs}/teams", {"name": "dev"})
    robot = closed.done(alice, "POST", "/robots", {"owner": theirs, "name": "ci"})["token"]
    token = closed.done(alice, "POST", f"/users/{alice[0]}/tokens", {"name": "x"})["token"]
    rule = closed.done(alice, "POST", "/grants", {"subject": alice[0], "pattern": f"{theirs}/*", "actions": "pull"})
    client = closed.signed_in(alice)
    make.push_image(client, f"{theirs}/app", "1", b"{}", b"layer")
    client.close()
    asked = [
        ("GET", f"/users/{alice[0]}", None),
        ("PATCH", f"/users/{alice[0]}", {"visibility": "public"}),
        ("PUT", f"/users/{alice[0]}/password", {"new": PASSWORD}),
        ("GET", f"/users/{alice[0]}/tokens", None),
        ("DELETE", f"/users/{alice[0]}/tokens/{token['id']}", None),
        ("DELETE", f"/users/{bob[0]}/tokens/{token['id']}", None),
        ("GET", f"/organisations/{theirs}", None),
        ("PATCH", f"/organisations/{theirs}", {"visibility": "public"}),
        ("GET", f"/organisations/{theirs}/members", None),
        ("PUT", f"/organisations/{theirs}/members/{bob[0]}", {"role": "owner"}),
        ("GET", f"/organisations/{theirs}/teams", None),
        ("DELETE", f"/organisations/{theirs}/teams/dev", None),
        ("DELETE", f"/organisations/{mine}/teams/dev", None),
        ("GET", f"/organisations/{theirs}/teams/dev/members", None),
        ("PUT", f"/organisations/{theirs}/teams/dev/members/{bob[0]}", None),
        ("GET", f"/robots?owner={theirs}", None),
        ("POST", "/robots", {"owner": theirs, "name": "own"}),
        ("GET", f"/robots/{robot['account']}", None),
        ("POST", f"/robots/{robot['account']}/rotate", {}),
        ("PATCH", f"/robots/{robot['account']}", {"disabled": True}),
        ("DELETE", f"/robots/{robot['account']}", None),
        ("GET", f"/robots/{robot['account']}/tokens", None),
        ("DELETE", f"/robots/{robot['account']}/tokens/{robot['id']}", None),
        ("DELETE", f"/grants/{rule['id']}", None),
        ("GET", f"/grants?owner={theirs}", None),
        ("GET", f"/grants?repository={theirs}/app", None),
        ("GET", "/grants", None),
        ("POST", "/grants", {"subject": bob[0], "pattern": f"{theirs}/app", "actions": "owner"}),
        ("PATCH", f"/repositories/{theirs}/app", {"visibility": "public"}),
        ("DELETE", f"/repositories/{theirs}/app", None),
        ("GET", f"/access/explain?user={bob[0]}&action=pull&repository={theirs}/app", None),
        ("GET", "/users", None),
        ("POST", "/users", {"name": "mallory"}),
        ("POST", "/organisations", {"name": "mallory"}),
        ("POST", "/invitations", {"name": "mallory"}),
    ]
    for method, path, body in asked:
        answer = closed.api(bob, method, path, body)
        assert answer.status_code in {403, 404}, (method, path, answer.text)
        missing = path.replace(theirs, "nothere").replace(alice[0], "nobody").replace(f"/{token['id']}", "/999999")
        missing = missing.replace(f"/{rule['id']}", "/999998").replace("/dev", "/none")
        again = closed.api(bob, method, missing, body)
        assert again.status_code == answer.status_code, (method, path, again.text)
    assert closed.done(alice, "GET", f"/repositories/{theirs}/app")["visibility"] == "private"


def test_every_route_refuses_nobody(closed):
    document = closed.api(None, "GET", "/openapi.json").json()
    tried = 0
    for path, methods in document["paths"].items():
        for method in methods:
            if path.endswith("/signup"):
                continue
            filled = re.sub(r"\{(token|grant)\}", "1", path)
            filled = re.sub(r"\{[a-z]+\}", "admin", filled).removeprefix("/api/v1")
            query = {"owner": "admin", "user": "admin", "action": "pull", "repository": "a/b"}
            bodies = [
                {},
                {"name": "x"},
                {"disabled": True},
                {"new": "x"},
                {"visibility": "public"},
                {"name": "x", "owner": "admin"},
                {"subject": "x", "pattern": "a/b", "actions": "pull"},
            ]
            answers = [closed.api(None, method.upper(), filled, body, params=query) for body in bodies]
            assert {one.status_code for one in answers} <= {400, 401}, (method, path)
            assert 401 in {one.status_code for one in answers}, (method, path, [one.text for one in answers])
            tried += 1
    assert tried > 35


def test_a_repository_is_deleted_whole_and_can_begin_again(closed):
    user = closed.user()
    organisation = closed.organisation(user)
    name = f"{organisation}/app"
    with closed.signed_in(user) as client:
        body = make.push_image(client, name, "1", b"{}", b"layer one")
        make.push_image(client, name, "2", b"{}", b"layer two")
        closed.done(user, "PATCH", f"/repositories/{name}", {"visibility": "public"})
        shown = closed.done(user, "GET", f"/repositories/{name}")
        assert (shown["tags"], shown["manifests"], shown["size"]) == (2, 2, len(b"{}layer onelayer two"))
        closed.done(user, "DELETE", f"/repositories/{name}")
        assert client.get(f"/v2/{name}/manifests/1").status_code == 404
        assert client.get(f"/v2/{name}/manifests/{make.digest(body)}").status_code == 404
        assert client.head(f"/v2/{name}/blobs/{make.digest(b'layer one')}").status_code == 404
        assert closed.done(user, "GET", f"/repositories?owner={organisation}") == []
        for method, body in (("GET", None), ("PATCH", {"visibility": "public"}), ("DELETE", None)):
            problem(closed.api(user, method, f"/repositories/{name}", body), 404, "NAME_UNKNOWN")
        make.push_image(client, name, "1", b"{}", b"layer one")
    assert closed.done(user, "GET", f"/repositories/{name}")["visibility"] == "private"


def test_who_may_not_delete_gets_no_half_of_it(closed):
    user, other = closed.user(), closed.user()
    organisation = closed.organisation(user)
    name = f"{organisation}/app"
    with closed.signed_in(user) as client:
        make.push_image(client, name, "1", b"{}", b"layer")
        for actions in ("maintainer", "pull,manage"):
            closed.done(user, "POST", "/grants", {"subject": other[0], "pattern": name, "actions": actions})
            problem(closed.api(other, "DELETE", f"/repositories/{name}"), 403, "DENIED")
        assert client.get(f"/v2/{name}/manifests/1").status_code == 200
        closed.done(user, "POST", "/grants", {"subject": other[0], "pattern": name, "actions": "owner"})
        closed.done(other, "DELETE", f"/repositories/{name}")


def test_a_push_to_a_name_of_nobody_is_for_administrators(closed):
    user = closed.user()
    with closed.signed_in(user) as client:
        answer = make.push_blob(client, "nobodys/app", b"x")
        assert answer.status_code == 403
        assert answer.json()["errors"][0]["message"] == (
            f"{user[0]} (a password) may not push to nobodys/app: no rule gives push there; "
            "an owner of nobodys or an administrator can grant it"
        )
    with closed.signed_in(ADMIN) as client:
        make.push_image(client, "nobodys/app", "1", b"{}")
    assert closed.api(ADMIN, "GET", "/organisations/nobodys").status_code == 404


def test_lists_of_repositories_show_what_one_may_pull(closed):
    user, other = closed.user(), closed.user()
    organisation = closed.organisation(user)
    with closed.signed_in(user) as client:
        for name, visibility in (("a", "private"), ("b", "internal"), ("c", "public")):
            make.push_image(client, f"{organisation}/{name}", "1", b"{}")
            closed.done(user, "PATCH", f"/repositories/{organisation}/{name}", {"visibility": visibility})

    def seen(who):
        return [one["name"][-1] for one in closed.done(who, "GET", f"/repositories?owner={organisation}&n=2")]

    assert seen(user) == ["a", "b"]
    assert seen(other) == ["b", "c"]
    problem(closed.api(other, "GET", f"/repositories/{organisation}/a"), 404, "NAME_UNKNOWN")


def test_sign_ins_refusals_and_tokens_from_new_places_are_events(closed):
    user = closed.user()
    made = closed.done(user, "POST", f"/users/{user[0]}/tokens", {"name": "laptop"})
    closed.bearer(user)
    for _ in range(3):
        closed.done((user[0], made["secret"]), "GET", "/me")
        closed.api(("eve\x1b", "not it"), "GET", "/me")
        closed.api(user, "GET", "/users")
    with closed.signed_in(user) as client:
        assert make.push_blob(client, "nobodys/app", b"x").status_code == 403
    wanted = {
        ("sign-in.done", user[0], ""): "a password",
        ("sign-in.failed", "anonymous", ""): "'eve\\x1b'",
        ("access.denied", user[0], ""): "GET /api/v1/users",
        ("access.denied", user[0], "nobodys/app"): "push",
        ("token.used", user[0], ""): "127.0.0.1",
    }
    database = open_database(closed.database)
    try:
        for _ in range(50):
            found = {
                (one.kind, one.actor, one.repository): one.facts
                for one in database.scan_now(events.after, (0, 0), 10_000)
            }
            if wanted.keys() <= found.keys():
                break
            time.sleep(0.2)
    finally:
        database.close_now()
    assert wanted.keys() <= found.keys()
    for key, word in wanted.items():
        assert word in found[key].values(), (key, found[key])
    assert PASSWORD not in str(found)
    assert "mrg" not in str(found)


def test_a_route_is_called_by_its_template_in_the_log(closed):
    closed.api(ADMIN, "GET", "/users/admin")
    for _ in range(50):
        if '"/api/v1/users/{name}"' in closed.served.log.read_text():
            return
        time.sleep(0.1)
    pytest.fail(closed.served.log.read_text()[-2000:])


def test_the_server_imports_no_fastapi_before_it_is_asked(closed):
    done = subprocess.run(
        [sys.executable, "-c", "import moorage.app, sys; print('fastapi' in sys.modules)"],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert done.stdout == "False\n"
