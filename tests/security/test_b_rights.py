"""Attacks by people who are somebody: for more than is theirs, and to learn what is not."""

import base64
import http.client
import random
import re
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from functools import partial
from statistics import median

import httpx
import pytest

from moorage.access.secrets import new_secret
from tests import make
from tests.access.reference import Rule, Who, may
from tests.access.test_api_routes import Estate, world
from tests.closed import ADMIN, PASSWORD, Closed, Login, problem
from tests.security.attacker import ask


@pytest.fixture(scope="module")
def closed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Closed]:
    one = Closed(tmp_path_factory.mktemp("rights"))
    yield one
    one.stop()


@pytest.fixture(scope="module")
def estate(closed: Closed) -> Estate:
    return Estate(closed)


# SEC-10 and SEC-11: content and uploads of others, between people (between repositories: test_b_isolation.py)


def test_sec_10_a_token_made_for_less_mounts_nothing_from_the_rest(closed: Closed) -> None:
    """Even though whoever made it may read everything that it is tried on."""
    owner = closed.user()
    here, there = f"{owner[0]}/here", f"{owner[0]}/there"
    layer = b"only there" * 3_000
    digest, nobodys = make.digest(layer), make.digest(b"nobody pushed this")
    with closed.signed_in(owner) as client:
        make.push_image(client, there, "1", b"{}", layer)
        make.push_blob(client, here, b"{}")
    made = closed.done(owner, "POST", f"/users/{owner[0]}/tokens", {"name": "x", "scopes": [f"{here}:pull,push"]})
    limited = (owner[0], made["secret"])
    narrow = closed.bearer(limited, f"repository:{here}:pull,push", f"repository:{there}:pull")
    image = make.image(b"{}", layer)
    for auth, headers in ((limited, {}), (None, {"Authorization": f"Bearer {narrow}"})):
        with httpx.Client(base_url=closed.served.url, auth=auth, headers=headers, timeout=60) as client:
            for query in ("mount={}&from=" + there, "mount={}", "digest={}"):
                uploads = f"/v2/{here}/blobs/uploads/?"
                told = [client.post(uploads + query.format(one)).status_code for one in (digest, nobodys)]
                assert told in ([202, 202], [400, 400]), query
            answer = client.put(f"/v2/{here}/manifests/1", content=image, headers={"Content-Type": make.IMAGE})
            assert (answer.status_code, make.code(answer)) == (400, "MANIFEST_BLOB_UNKNOWN")
            assert client.get(f"/v2/{here}/blobs/{digest}").status_code == 404
            assert client.get(f"/v2/{there}/blobs/{digest}").status_code == 404


def test_sec_11_an_upload_is_for_those_who_may_push_where_it_is(closed: Closed) -> None:
    owner, thief, reader = closed.user(), closed.user(), closed.user()
    name = f"{owner[0]}/app"
    with closed.signed_in(owner) as client:
        make.push_blob(client, name, b"{}")
        closed.done(owner, "POST", "/grants", {"subject": reader[0], "pattern": name, "actions": "pull"})
        place = client.post(f"/v2/{name}/blobs/uploads/").headers["Location"]
        client.patch(place, content=b"half of it")
        identity = place.rpartition("/")[2]
        for who, path, statuses in (
            (thief, place, {403}),
            (reader, place, {403}),
            (None, place, {401}),
            (thief, f"/v2/{thief[0]}/own/blobs/uploads/{identity}", {404}),
        ):
            for method in ("GET", "HEAD", "PATCH", "PUT", "DELETE"):
                query = f"?digest={make.digest(b'half of it')}"
                answer = closed.client.request(method, path + query, auth=who)
                assert answer.status_code in statuses, (who, method, answer.text)
                assert "Location" not in answer.headers
        assert client.get(place).headers["Range"] == "0-9"
        assert client.put(f"{place}?digest={make.digest(b'half of it')}").status_code == 201


# SEC-12: what a request needs (every endpoint and method: tests/access/test_matrix.py)


def test_sec_12_each_deed_needs_its_own_action_on_real_content(closed: Closed) -> None:
    """Whoever has just one action can do just what it means, whether or not the tag is there, or called latest."""
    owner = closed.user()
    name = f"{owner[0]}/app"
    people = {action: closed.user() for action in ("pull", "push", "push,overwrite", "delete", "manage")}
    for action, who in people.items():
        closed.done(owner, "POST", "/grants", {"subject": who[0], "pattern": name, "actions": action})
    with closed.signed_in(owner) as client:
        first = make.push_image(client, name, "1", b"{}")
        make.push_image(client, name, "latest", b"{}")
        make.push_blob(client, name, b"another layer")
    second = make.image(b"{}", b"another layer")
    deeds: list[tuple[str, Callable[[httpx.Client], httpx.Response]]] = []

    def put(body: bytes, reference: str, query: str = "") -> Callable[[httpx.Client], httpx.Response]:
        kind = {"Content-Type": make.IMAGE}
        return lambda client: client.put(f"/v2/{name}/manifests/{reference}{query}", content=body, headers=kind)

    for tag in ("1", "latest"):
        deeds += [
            ("pull", lambda client, tag=tag: client.get(f"/v2/{name}/manifests/{tag}")),
            ("push", put(first, tag)),
            ("overwrite", put(second, tag)),
            ("overwrite", put(second, make.digest(second), f"?tag={tag}")),
        ]
    deeds += [
        ("push", put(second, make.digest(second))),
        ("push", put(second, "new")),
        ("delete", lambda client: client.delete(f"/v2/{name}/manifests/new")),
        ("delete", lambda client: client.delete(f"/v2/{name}/blobs/{make.digest(b'nothing')}")),
    ]
    for actions, who in people.items():
        with closed.signed_in(who) as client:
            for needed, deed in deeds:
                with closed.signed_in(owner) as restoring:
                    put(first, "1")(restoring)
                    put(first, "latest")(restoring)
                answer = deed(client)
                has = {*actions.split(",")}
                right = {"push", "overwrite"} <= has if needed == "overwrite" else needed in has
                told = (actions, needed, answer.status_code, answer.text)
                assert (answer.status_code not in {401, 403}) == (right or needed == "pull"), told
                assert needed != "pull" or (answer.status_code == 200) == right, told


def test_sec_12_no_header_and_no_parameter_makes_another_method_of_a_request(closed: Closed) -> None:
    owner, reader = closed.user(), closed.user()
    name = f"{owner[0]}/app"
    with closed.signed_in(owner) as client:
        make.push_image(client, name, "1", b"{}")
        closed.done(owner, "POST", "/grants", {"subject": reader[0], "pattern": name, "actions": "pull"})
        basic = base64.b64encode(":".join(reader).encode()).decode()
        for field in ("X-HTTP-Method-Override", "X-HTTP-Method", "X-Method-Override"):
            for method in ("GET", "HEAD", "POST"):
                for query in ("", "?_method=DELETE"):
                    path = f"/v2/{name}/manifests/1{query}"
                    answer = ask(closed.served, method, path, f"{field}: DELETE", f"Authorization: Basic {basic}")
                    assert answer.status in {200, 405}
        for method in ("delete", "DELETE ", "get", "PROPFIND", "TRACE", "CONNECT", "MOVE", "X" * 40):
            assert ask(closed.served, method, f"/v2/{name}/manifests/1", f"Authorization: Basic {basic}").status >= 400
        assert client.get(f"/v2/{name}/manifests/1").status_code == 200


def test_sec_12_another_spelling_of_an_address_is_no_way_around_a_rule(closed: Closed) -> None:
    owner = closed.user()
    name = f"{owner[0]}/app"
    with closed.signed_in(owner) as client:
        make.push_image(client, name, "1", b"{}")
    user, rest = name.split("/")
    for path in (
        f"/v2/{user}%2F{rest}/manifests/1",
        f"/v2/{user}%2f{rest}/manifests/1",
        f"/v2//{name}/manifests/1",
        f"/v2/./{name}/manifests/1",
        f"/v2/x/../{name}/manifests/1",
        f"/v2/{name}/manifests/1/",
        f"/v2/{name}/manifests//1",
        f"/v2/{name}/tags/list/",
        f"/v2/{name.upper()}/manifests/1",
        f"/%76%32/{name}/manifests/1",
        f"/v2/{name}/manifests/1?x=/v2/public/app",
        f"/v2/{name};x/manifests/1",
        f"/V2/{name}/manifests/1",
        f"/v2/_catalog/../{name}/tags/list",
        f"http://here/v2/{name}/manifests/1",
        f"/api/v1/../../v2/{name}/manifests/1",
    ):
        for method in ("GET", "HEAD"):
            assert ask(closed.served, method, path).status in {400, 401, 404}, path


# SEC-17: things of others by their names and numbers (every route: tests/access/test_api_routes.py)


def test_sec_17_no_parent_of_ones_own_leads_to_what_is_anothers(closed: Closed, estate: Estate) -> None:
    rival = closed.user()
    mine = closed.organisation(rival)
    closed.done(rival, "POST", f"/organisations/{mine}/teams", {"name": "own"})
    robot = closed.done(rival, "POST", "/robots", {"owner": mine, "name": "own"})["token"]
    theirs = estate.values
    before = world(estate)
    for method, path, body in (
        ("DELETE", f"/users/{rival[0]}/tokens/{theirs['token']}", None),
        ("DELETE", f"/robots/{robot['account']}/tokens/{theirs['token']}", None),
        ("DELETE", f"/organisations/{mine}/teams/{theirs['team']}", None),
        ("GET", f"/organisations/{mine}/teams/{theirs['team']}/members", None),
        ("PUT", f"/organisations/{mine}/teams/{theirs['team']}/members/{rival[0]}", None),
        ("DELETE", f"/organisations/{mine}/teams/{theirs['team']}/members/{theirs['user']}", None),
        ("DELETE", f"/organisations/{mine}/members/{theirs['user']}", None),
        ("DELETE", f"/grants/{theirs['grant']}", None),
        ("POST", "/grants", {"subject": f"{theirs['organisation']}/dev", "pattern": "**", "actions": "owner"}),
        ("POST", "/robots", {"owner": mine, "name": "x", "rules": [f"{theirs['organisation']}/*:pull"]}),
        ("POST", "/robots", {"owner": mine, "name": f"{theirs['organisation']}.x"}),
        ("GET", f"/robots/{theirs['organisation']}.own", None),
    ):
        assert closed.api(rival, method, path, body).status_code in {400, 403, 404}, (method, path)
    assert world(estate) == before


# SEC-18: robots


def test_sec_18_a_robot_manages_nothing_by_any_route(closed: Closed, estate: Estate) -> None:
    """Not even of its own owner, whose repositories it may push to."""
    organisation = estate.values["organisation"]
    rules = [f"{organisation}/**:pull,push"]
    made = closed.done(estate.owner, "POST", "/robots", {"owner": organisation, "name": "pusher", "rules": rules})
    robot = (f"{organisation}.pusher", made["secret"])
    bearer = closed.bearer(robot, "registry:api:*", f"repository:{organisation}/app:pull,push")
    before = world(estate)
    for route in estate.routes():
        for who in (robot, bearer):
            answer = closed.api(who, route.method, route.target, route.body, params=route.query)
            if route.method != "GET":
                assert answer.status_code in {400, 401, 403, 404}, (route, answer.text)
            elif route.name == f"GET /robots/{made['token']['account']}":
                assert answer.status_code == 403
    shown = {one["name"] for one in closed.done(robot, "GET", "/repositories")}
    assert shown == {f"{organisation}/app"}
    assert world(estate) == before


def test_sec_18_a_name_gives_no_rights(closed: Closed) -> None:
    boss = closed.user()
    house = closed.organisation(boss)
    with closed.signed_in(boss) as client:
        make.push_image(client, f"{house}/app", "1", b"{}")
    for name in ("admin.helper", f"{house}-ci", f"{house}_x", "robot.x", "library"):
        closed.done(ADMIN, "POST", "/users", {"name": name, "password": PASSWORD})
        me = closed.done((name, PASSWORD), "GET", "/me")
        assert (me["admin"], me["kind"], me["organisations"]) == (False, "user", [])
        with closed.signed_in((name, PASSWORD)) as client:
            assert client.get(f"/v2/{house}/app/manifests/1").status_code == 404
            assert make.push_blob(client, f"{house}/app", b"x").status_code == 403
            assert make.push_blob(client, f"{house}-more/app", b"x").status_code == 403


def test_sec_18_nobody_signs_up_to_what_is_there_already(knocked: Closed) -> None:
    """Repositories of no account, such as an adopted registry has, belong to whoever gets their name: administrators
    give such names, and nobody takes them.
    """
    with knocked.signed_in(ADMIN) as client:
        make.push_image(client, "orphans/app", "1", b"{}")
        make.push_blob(client, "unlisted/app", b"{}")
        make.push_image(client, "busybox", "1", b"{}")
    rule = {"subject": "admin", "pattern": "promised/*", "actions": "pull"}
    knocked.done(ADMIN, "POST", "/grants", rule)
    for name in ("orphans", "unlisted", "library", "promised", "admin"):
        taken = knocked.api(None, "POST", "/signup", {"name": name, "password": PASSWORD})
        told = problem(taken, 409, "CONFLICT")
        assert told == f"the name '{name}' is taken; choose another", "whatever there is"
    knocked.done(ADMIN, "POST", "/users", {"name": "orphans", "password": PASSWORD})
    with knocked.signed_in(("orphans", PASSWORD)) as client:
        assert client.get("/v2/orphans/app/manifests/1").status_code == 200


def test_sec_18_no_answer_holds_a_secret(closed: Closed, estate: Estate) -> None:
    """Everything that an administrator, and an owner, can read."""
    secret = re.compile(r"mrg[proi]_|argon2|\$2[aby]\$|BEGIN [A-Z ]*PRIVATE")
    named = re.compile(r"secret|password|hash|private_key|sealed", re.IGNORECASE)

    def fields(value: object) -> Iterator[str]:
        if isinstance(value, dict):
            for name, one in value.items():
                yield name
                yield from fields(one)
        elif isinstance(value, list):
            for one in value:
                yield from fields(one)

    read = 0
    for route in estate.routes():
        if route.method == "GET":
            for who in (ADMIN, estate.owner):
                answer = closed.api(who, "GET", route.target, params=route.query)
                if answer.is_success:
                    read += 1
                    assert not secret.search(answer.text), route
                    assert not [name for name in fields(answer.json()) if named.search(name)], route
    assert read > 20


# SEC-19: fields that are not for clients


def test_sec_19_no_route_takes_a_field_that_is_not_its_own(closed: Closed, estate: Estate) -> None:
    before, tried = world(estate), 0
    for route in estate.routes():
        if not isinstance(route.body, dict):
            continue
        for field, value in (
            ("is_admin", True), ("role_id", 1), ("owner_id", 1), ("id", 1), ("kind", "organisation"),
            ("created_by", "admin"), ("credentials_at", 0), ("password_hash", "x"), ("__proto__", {"admin": True}),
        ):  # fmt: skip
            body = route.body | {field: value}
            answer = closed.api(ADMIN, route.method, route.target, body, params=route.query)
            assert field in problem(answer, 400, "REQUEST_INVALID"), route
            tried += 1
    assert tried > 100
    assert world(estate) == before


# SEC-21: telling what exists (every endpoint: tests/access/test_matrix.py)


def shape(answer: httpx.Response, *names: str) -> tuple[object, ...]:
    passing = {"date", "x-request-id", "content-length"}
    headers = str(sorted(pair for pair in answer.headers.items() if pair[0] not in passing))
    text = answer.text
    for name in names:
        headers, text = headers.replace(name, "NAME"), text.replace(name, "NAME")
    return answer.status_code, headers, text


def test_sec_21_what_is_hidden_looks_like_what_is_missing(closed: Closed) -> None:
    owner, stranger = closed.user(), closed.user()
    hidden, missing = f"{owner[0]}/here", f"{owner[0]}/none"
    layer = b"a layer that is hidden" * 2_000
    with closed.signed_in(owner) as client:
        body = make.push_image(client, hidden, "1", b"{}", layer)
    paths = [
        "manifests/1", f"manifests/{make.digest(body)}", f"blobs/{make.digest(layer)}", f"blobs/{make.digest(b'')}",
        "tags/list", "tags/list?n=0", f"referrers/{make.digest(body)}", "blobs/uploads/", "blobs/uploads/1",
    ]  # fmt: skip
    covering = closed.bearer(stranger, f"repository:{hidden}:*", f"repository:{missing}:*")
    for headers, auth in (
        ({}, None),
        ({}, stranger),
        ({"Authorization": f"Bearer {covering}"}, None),
        ({"Authorization": f"Bearer {closed.bearer(None, f'repository:{hidden}:pull')}"}, None),
    ):
        for path in paths:
            for method in ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"):
                told = {
                    shape(closed.client.request(method, f"/v2/{name}/{path}", auth=auth, headers=headers), name)
                    for name in (hidden, missing)
                }
                assert len(told) == 1, (method, path, told)
    assert (
        closed.client.get("/token", params={"scope": f"repository:{hidden}:pull"}, auth=stranger).json()["scope"] == ""
    )
    for path in ("/repositories/{}", "/grants?repository={}", "/access/explain?user=x&action=pull&repository={}"):
        told = {shape(closed.api(stranger, "GET", path.format(name)), name) for name in (hidden, missing)}
        assert len(told) == 1, path


def test_sec_21_no_clock_tells_hidden_from_missing(closed: Closed) -> None:
    """Medians of samples that were taken in turns: a work that only one of both costs would move one of them."""
    owner, stranger = closed.user(), closed.user()
    layer = b"a layer that is hidden" * 2_000
    with closed.signed_in(owner) as client:
        body = make.push_image(client, f"{owner[0]}/here", "1", b"{}", layer)
    with closed.signed_in(stranger) as client:
        make.push_blob(client, f"{stranger[0]}/own", b"x")
    headers = {"Authorization": f"Bearer {closed.bearer(stranger, f'repository:{stranger[0]}/own:pull,push')}"}
    basic = {"Authorization": "Basic " + base64.b64encode(":".join(stranger).encode()).decode()}
    foreign, nobodys = make.digest(layer), make.digest(b"of nobody's at all")
    own = f"/v2/{stranger[0]}/own"
    pairs = [
        ("GET", basic, f"/v2/{owner[0]}/here/manifests/1", f"/v2/{owner[0]}/none/manifests/1"),
        (
            "GET",
            basic,
            f"/v2/{owner[0]}/here/referrers/{make.digest(body)}",
            f"/v2/{owner[0]}/none/referrers/{nobodys}",
        ),
        ("HEAD", headers, f"{own}/blobs/{foreign}", f"{own}/blobs/{nobodys}"),
        ("GET", headers, f"{own}/manifests/{make.digest(body)}", f"{own}/manifests/{nobodys}"),
        ("GET", {}, f"/v2/{owner[0]}/here/manifests/1", f"/v2/{owner[0]}/none/manifests/1"),
    ]
    with closing(http.client.HTTPConnection("127.0.0.1", closed.served.port, timeout=30)) as connection:

        def once(method: str, path: str, headers: dict[str, str]) -> float:
            began = time.perf_counter()
            connection.request(method, path, headers=headers)
            connection.getresponse().read()
            return time.perf_counter() - began

        for method, shown, here, none in pairs:
            took = in_turns(300, partial(once, method, here, shown), partial(once, method, none, shown))
            assert 0.6 < took[0] / took[1] < 1.7, (method, here, took)


def in_turns(times: int, *works: Callable[[], float]) -> list[float]:
    """The medians of works that were done alternately, in an order that changes: noise falls on all alike."""
    found: list[list[float]] = [[] for _ in works]
    for turn in range(times):
        order = range(len(works)) if turn % 2 else reversed(range(len(works)))
        for at in order:
            found[at].append(works[at]())
    return [median(one) for one in found]


# SEC-23: telling who there is


@pytest.fixture(scope="module")
def knocked(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Closed]:
    """A server of its own: what is tried on it fails, and may be counted."""
    one = Closed(tmp_path_factory.mktemp("knocked"), "accounts:\n  signup: open\n")
    yield one
    one.stop()


def everybody(knocked: Closed) -> dict[str, str]:
    """By kind, the name of somebody who cannot sign in with the password that is tried."""
    user, disabled, boss = knocked.user(), knocked.user(), knocked.user()
    knocked.done(ADMIN, "PATCH", f"/users/{disabled[0]}", {"disabled": True})
    invited = knocked.done(ADMIN, "POST", "/invitations", {"name": f"invited-{user[0]}"})["name"]
    house = knocked.organisation(boss)
    knocked.done(boss, "POST", "/robots", {"owner": house, "name": "ci"})
    return {
        "a user": user[0], "a disabled one": disabled[0], "an invited one": invited, "an organisation": house,
        "a robot": f"{house}.ci", "nobody": f"nobody-{user[0]}",
    }  # fmt: skip


def test_sec_23_a_wrong_password_is_told_alike_whoever_there_is(knocked: Closed) -> None:
    for tried in ("not the password", new_secret("personal").text, new_secret("refresh").text):
        told = []
        for name in everybody(knocked).values():
            form = {"grant_type": "password", "username": name, "password": tried}
            answers = [
                knocked.client.get("/v2/", auth=(name, tried)),
                knocked.client.get("/token", auth=(name, tried)),
                knocked.client.post("/token", data=form),
                knocked.api((name, tried), "GET", "/me"),
            ]
            told.append([shape(answer, name) for answer in answers])
            assert [one.status_code for one in answers] == [401, 401, 400, 401]
        assert all(one == told[0] for one in told)


def test_sec_23_no_clock_tells_who_there_is(knocked: Closed) -> None:
    """A name that is nobody's costs the same hash.  The clock would show it: what needs no hash is far quicker."""
    names = everybody(knocked)

    def tried(name: str, password: str) -> Callable[[], float]:
        def once() -> float:
            began = time.perf_counter()
            assert knocked.client.get("/v2/", auth=(name, password)).status_code == 401
            return time.perf_counter() - began

        return once

    works = [tried(name, "not the password") for name in names.values()]
    took = in_turns(7, *works, tried(names["a user"], new_secret("personal").text))
    quick = took.pop()
    *others, nobody = took
    assert all(0.4 < one / nobody < 2.5 for one in others), dict(zip(names, took, strict=True))
    assert min(took) > 2 * quick


LOOKALIKES = [
    "Admin",
    "ADMIN",
    "admin ",
    " admin",
    "\N{FULLWIDTH LATIN SMALL LETTER A}dmin",
    "\N{CYRILLIC SMALL LETTER A}dmin",
    "admin\N{ZERO WIDTH SPACE}",
    "adm\N{LATIN SMALL LETTER DOTLESS I}n",
    "admin.",
]


@pytest.mark.parametrize("name", LOOKALIKES)
def test_sec_23_a_name_that_looks_like_another_is_nobodys(knocked: Closed, name: str) -> None:
    """By case, by script, by what is not seen."""
    form = {"grant_type": "password", "username": name, "password": PASSWORD}
    assert knocked.client.post("/token", data=form).status_code == 400
    answer = knocked.api(ADMIN, "POST", "/users", {"name": name, "password": PASSWORD})
    assert answer.status_code == 400
    told = knocked.client.get(f"/v2/{name}/app/tags/list", auth=ADMIN)
    assert told.status_code == 404


@pytest.mark.parametrize(
    "password",
    [
        "kV:7:quilt:marble:x",
        "::quite:odd:one::",
        "grün:ßtraße-ñandú",
        "  spaces around  ",
        "\N{PILE OF POO} and what follows",
    ],
)
def test_sec_23_a_password_may_hold_colons_and_any_letters(knocked: Closed, password: str) -> None:
    name = knocked.user()[0]
    knocked.done(ADMIN, "PUT", f"/users/{name}/password", {"new": password})
    basic = base64.b64encode(f"{name}:{password}".encode()).decode()
    answer = knocked.client.get("/v2/", headers={"Authorization": f"Basic {basic}"})
    assert answer.status_code == 200
    short = base64.b64encode(f"{name}:{password[:-1]}".encode()).decode()
    assert knocked.client.get("/v2/", headers={"Authorization": f"Basic {short}"}).status_code == 401


# SEC-51: what is remembered


def test_sec_51_what_is_taken_away_does_not_come_back_by_anothers_push(closed: Closed) -> None:
    owner, reader = closed.user(), closed.user()
    name, other = f"{owner[0]}/app", f"{owner[0]}/other"
    layer = b"content of two" * 3_000
    blob = f"/v2/{name}/blobs/{make.digest(layer)}"
    with closed.signed_in(owner) as client, closed.signed_in(reader) as reading:
        body = make.push_image(client, name, "1", b"{}", layer)
        rule = closed.done(owner, "POST", "/grants", {"subject": reader[0], "pattern": name, "actions": "pull"})
        assert [reading.get(blob).status_code, reading.get(f"/v2/{name}/manifests/1").status_code] == [200, 200]
        closed.done(owner, "DELETE", f"/grants/{rule['id']}")
        assert reading.get(blob).status_code == 404
        make.push_image(client, other, "1", b"{}", layer)
        assert reading.get(blob).status_code == 404
        closed.done(owner, "POST", "/grants", {"subject": reader[0], "pattern": name, "actions": "pull"})
        assert reading.get(blob).status_code == 200
        for path in (f"manifests/{make.digest(body)}", f"blobs/{make.digest(layer)}"):
            assert client.delete(f"/v2/{name}/{path}").status_code == 202
        assert reading.get(blob).status_code == 404
        make.push_image(client, other, "2", b"{}", layer)
        assert [one.get(blob).status_code for one in (reading, client)] == [404, 404]
        assert reading.get(f"/v2/{name}/manifests/{make.digest(body)}").status_code == 404


def test_sec_51_with_its_memory_it_answers_as_it_would_without(closed: Closed) -> None:
    """Rules come and go by chance; everybody asks twice after each change, and is answered by the rules as they are."""
    chance = random.Random(51)
    owner, one, two = (closed.user() for _ in range(3))
    house = closed.organisation(owner)
    names = [f"{house}/a", f"{house}/b"]
    closed.done(owner, "POST", f"/organisations/{house}/teams", {"name": "dev"})
    with closed.signed_in(owner) as client:
        for name in names:
            make.push_image(client, name, "1", b"{}")
    visibility: dict[str, str] = dict.fromkeys(names, "private")
    rules: dict[tuple[str, str], tuple[int, Rule]] = {}
    team: set[str] = set()

    def grant() -> None:
        subject = chance.choice([one[0], two[0], f"{house}/dev", "everyone", "anyone"])
        pattern = chance.choice([*names, f"{house}/*"])
        body = {"subject": subject, "pattern": pattern, "actions": "pull"}
        made = closed.done(owner, "POST", "/grants", body)
        rules[subject, pattern] = made["id"], Rule(subject, pattern, frozenset({"pull"}))

    def revoke() -> None:
        if rules:
            number, _ = rules.pop(chance.choice(list(rules)))
            closed.done(owner, "DELETE", f"/grants/{number}")

    def show() -> None:
        name, visible = chance.choice(names), chance.choice(["private", "internal", "public"])
        closed.done(owner, "PATCH", f"/repositories/{name}", {"visibility": visible})
        visibility[name] = visible

    def join() -> None:
        who = chance.choice([one[0], two[0]])
        if who in team:
            team.remove(who)
            closed.done(owner, "DELETE", f"/organisations/{house}/teams/dev/members/{who}")
        else:
            team.add(who)
            closed.done(owner, "PUT", f"/organisations/{house}/members/{who}", {"role": "member"})
            closed.done(owner, "PUT", f"/organisations/{house}/teams/dev/members/{who}")

    tokens = {who[0]: closed.bearer(who, *(f"repository:{name}:pull" for name in names)) for who in (one, two)}
    askers: list[tuple[Login | None, dict[str, str]]] = [(None, {}), (one, {}), (two, {})]
    for _ in range(60):
        chance.choice([grant, revoke, revoke, show, join])()
        for name in names:
            for who, headers in askers * 2:
                subjects = {"anyone"} | ({"everyone", who[0]} if who else set())
                subjects |= {f"{house}/dev"} if who and who[0] in team else set()
                actor = Who(who[0] if who else "nobody", "user" if who else "anonymous", subjects=frozenset(subjects))
                allowed = may(actor, None, name, visibility[name], [rule for _, rule in rules.values()], "pull")
                got = closed.client.get(f"/v2/{name}/manifests/1", auth=who, headers=headers).status_code
                assert got == (200 if allowed else 404 if who else 401), (name, who)
                if who and allowed:
                    # The token may have been given for less: then it says so, and never opens more.
                    held = {"Authorization": f"Bearer {tokens[who[0]]}"}
                    assert closed.client.get(f"/v2/{name}/manifests/1", headers=held).status_code in {200, 401}
                elif who:
                    held = {"Authorization": f"Bearer {tokens[who[0]]}"}
                    assert closed.client.get(f"/v2/{name}/manifests/1", headers=held).status_code == 404
