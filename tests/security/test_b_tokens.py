"""Attacks with credentials: tokens that are forged, stretched, or have outlived what they were given for."""

import base64
import hashlib
import hmac
import itertools
import json
import random
import socket
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Any

import httpx
import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from moorage.access.keys import Key
from moorage.db.engine import open_database
from tests import make
from tests.access.forging import resigned, signing_key
from tests.closed import ADMIN, PASSWORD, Closed, Login
from tests.security.attacker import ask

PRIVATE = "victim/private"


@pytest.fixture(scope="module")
def closed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Closed]:
    one = Closed(tmp_path_factory.mktemp("tokens"))
    with one.signed_in(ADMIN) as client:
        make.push_image(client, PRIVATE, "1", b"{}", b"layer")
    yield one
    one.stop()


@pytest.fixture(scope="module")
def key(closed: Closed) -> Iterator[Key]:
    database = open_database(closed.database)
    yield signing_key(database, closed.served.data)
    database.close_now()


@pytest.fixture(scope="module")
def good(closed: Closed) -> str:
    """A bearer token that opens everything; what is made of it should open nothing."""
    token = closed.bearer(ADMIN, f"repository:{PRIVATE}:*", "registry:api:*", "registry:catalog:*")
    assert [opened(closed, token, path) for path in DOORS] == [200] * len(DOORS)
    return token


DOORS = ("/v2/", f"/v2/{PRIVATE}/tags/list", "/v2/_catalog", "/api/v1/users")


def opened(closed: Closed, token: str, path: str) -> int:
    return closed.client.get(path, headers={"Authorization": f"Bearer {token}"}).status_code


def encoded(value: object) -> str:
    data = value if isinstance(value, bytes) else json.dumps(value).encode()
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def claims(token: str) -> dict[str, Any]:
    return dict(jwt.decode(token, options={"verify_signature": False}))


# SEC-13: the same rights however one signs in


def test_sec_13_every_way_to_sign_in_gives_the_least_of_user_token_and_request(closed: Closed) -> None:
    user = closed.user()
    mine, other = f"{user[0]}/app", f"{user[0]}/other"
    with closed.signed_in(user) as client:
        for name in (mine, other):
            make.push_image(client, name, "1", b"{}", b"layer")
    scopes = [f"{mine}:pull,push"]
    limited = closed.done(user, "POST", f"/users/{user[0]}/tokens", {"name": "limited", "scopes": scopes})
    secret = (user[0], limited["secret"])
    wanted = [f"repository:{mine}:pull,push,delete", f"repository:{other}:pull"]

    def posted(**form: str) -> dict[str, Any]:
        form |= {"service": "moorage", "scope": " ".join(wanted), "client_id": "test"}
        return dict(closed.client.post("/token", data=form).raise_for_status().json())

    first = posted(grant_type="password", username=user[0], password=PASSWORD, access_type="offline")
    again = posted(grant_type="refresh_token", refresh_token=first["refresh_token"])
    by_token = posted(grant_type="password", username=user[0], password=limited["secret"], access_type="offline")
    assert "refresh_token" not in by_token, "what is limited gets nothing that lasts longer"
    whole = {"pull": True, "push": True, "delete": True, "other": True}
    cut = {"pull": True, "push": True, "delete": False, "other": False}
    assert rights(closed, user, mine, other) == whole
    assert rights(closed, closed.bearer(user, *wanted), mine, other) == whole
    assert rights(closed, first["access_token"], mine, other) == whole
    assert rights(closed, again["access_token"], mine, other) == whole
    assert rights(closed, secret, mine, other) == cut
    assert rights(closed, closed.bearer(secret, *wanted), mine, other) == cut
    assert rights(closed, by_token["access_token"], mine, other) == cut
    pushing = closed.bearer(user, f"repository:{mine}:push")
    assert rights(closed, pushing, mine, other) == {"pull": False, "push": True, "delete": False, "other": False}
    for query in ("access_token", "token", "private_token", "jwt"):
        answer = closed.client.get(f"/v2/{mine}/tags/list", params={query: first["access_token"]})
        assert answer.status_code == 401, "what stands in an address is in everybody's logs"


def rights(closed: Closed, who: Login | str, mine: str, other: str) -> dict[str, bool]:
    """What somebody can do, by trying what changes nothing."""
    auth = who if isinstance(who, tuple) else None
    headers = {"Authorization": f"Bearer {who}"} if isinstance(who, str) else {}
    missing = make.digest(b"nothing")
    tried = {
        "pull": ("GET", f"/v2/{mine}/manifests/1"),
        "push": ("POST", f"/v2/{mine}/blobs/uploads/?digest=none"),
        "delete": ("DELETE", f"/v2/{mine}/manifests/{missing}"),
        "other": ("GET", f"/v2/{other}/manifests/1"),
    }
    return {
        name: closed.client.request(method, path, auth=auth, headers=headers).status_code
        not in {401, 403, *([404] if method == "GET" else [])}
        for name, (method, path) in tried.items()
    }


# SEC-14: more than one may have


@pytest.mark.parametrize(
    "scope",
    [
        f"repository:{PRIVATE}:*",
        f"repository:{PRIVATE}:pull,push,delete,manage,overwrite",
        f"repository(plugin):{PRIVATE}:pull",
        "repository:victim/*:pull",
        "repository:victim/**:*",
        "repository:*:*",
        "repository::*",
        "repository:**:pull",
        f"repository:../{PRIVATE}:pull",
        f"repository:{PRIVATE}/:pull",
        f"repository:{PRIVATE}%00:pull",
        "repository:victim%2Fprivate:pull",
        "repository:VICTIM/private:pull",
        "repository:victim/priv\N{CYRILLIC SMALL LETTER A}te:pull",
        f"repository:{PRIVATE}\r\nX: y:pull",
        f"repository:x:repository:{PRIVATE}:pull",
        f"Repository:{PRIVATE}:pull",
        f"repository:{PRIVATE}:Pull",
        "repository:" + "a/" * 4000 + "b:pull",
        "' OR 1=1 --:x:pull",
        "aws:*:*",
        "registry:*:*",
        ":::::",
        " ",
        "",
    ],
)
def test_sec_14_a_stranger_is_given_no_scope_whatever_he_asks_for(closed: Closed, scope: str) -> None:
    stranger = stranger_of(closed)
    for who in (stranger, None):
        form = {"grant_type": "password", "username": stranger[0], "password": PASSWORD, "scope": scope}
        answers = [closed.client.get("/token", params={"scope": scope}, auth=who)]
        answers += [closed.client.post("/token", data=form)] if who else []
        for answer in answers:
            assert answer.status_code == 200, answer.text
            assert claims(answer.json()["token"])["access"] == []
            assert answer.json()["scope"] == ""
            for path in DOORS[1:]:
                assert opened(closed, answer.json()["token"], path) in {401, 404}


def test_sec_14_a_scope_that_no_name_can_hold_is_no_query(closed: Closed) -> None:
    for raw in ("repository:a/b%00:pull", "repository:%ff%fe:pull", "%"):
        answer = closed.client.get(f"/token?scope={raw}", auth=ADMIN)
        if answer.status_code == 200:
            assert claims(answer.json()["token"])["access"] == []
        else:
            assert (answer.status_code, make.code(answer)) == (400, "QUERY_INVALID")


def stranger_of(closed: Closed) -> Login:
    """One stranger for all: a password costs time."""
    if closed.api(ADMIN, "GET", "/users/stranger").status_code == 404:
        closed.done(ADMIN, "POST", "/users", {"name": "stranger", "password": PASSWORD})
    return "stranger", PASSWORD


def test_sec_14_the_whole_registry_is_for_whoever_is_signed_in_and_shows_only_what_is_theirs(closed: Closed) -> None:
    whole = ("registry:catalog:*", "registry:api:*")
    assert claims(closed.bearer(None, *whole))["access"] == []
    token = closed.bearer(stranger_of(closed), *whole)
    listed = closed.client.get("/v2/_catalog", headers={"Authorization": f"Bearer {token}"}).json()
    assert PRIVATE not in listed["repositories"]
    assert closed.api(token, "GET", "/users").status_code == 403


def test_sec_14_ten_thousand_scopes_are_a_hundred_at_most(closed: Closed) -> None:
    def asked(count: int) -> httpx.Response:
        scope = " ".join(f"repository:a/{number}:pull" for number in range(count))
        form = {"grant_type": "password", "username": ADMIN[0], "password": PASSWORD, "scope": scope}
        return closed.client.post("/token", data=form)

    assert asked(10_000).status_code == 400
    assert len(claims(asked(2_000).json()["token"])["access"]) == 100


def test_sec_14_scopes_in_one_text_or_in_several_mean_the_same(closed: Closed) -> None:
    many = [f"repository:a/{number}:pull" for number in range(3)]
    apart = claims(closed.bearer(ADMIN, *many))["access"]
    assert claims(closed.bearer(ADMIN, "  ".join(["", *many, ""])))["access"] == apart
    assert [one["name"] for one in apart] == ["a/0", "a/1", "a/2"]


# SEC-15: tokens that outlive


def test_sec_15_a_bearer_token_ends_with_what_it_was_given_for(closed: Closed) -> None:
    boss, worker, blocked, changed = (closed.user() for _ in range(4))
    house = closed.organisation(boss)
    name = f"{house}/app"
    with closed.signed_in(boss) as client:
        make.push_image(client, name, "1", b"{}")
    closed.done(boss, "PUT", f"/organisations/{house}/members/{worker[0]}", {"role": "member"})
    closed.done(boss, "POST", f"/organisations/{house}/teams", {"name": "dev"})
    closed.done(boss, "PUT", f"/organisations/{house}/teams/dev/members/{worker[0]}")
    for subject in (f"{house}/dev", blocked[0], changed[0]):
        closed.done(boss, "POST", "/grants", {"subject": subject, "pattern": f"{house}/*", "actions": "writer"})
    robot = closed.done(boss, "POST", "/robots", {"owner": house, "name": "ci", "rules": [f"{house}/*:pull"]})
    personal = closed.done(changed, "POST", f"/users/{changed[0]}/tokens", {"name": "laptop"})
    number = personal["token"]["id"]
    ci = f"{house}.ci"
    ends: list[tuple[Login, Callable[[], object], int]] = [
        (worker, lambda: closed.done(boss, "DELETE", f"/organisations/{house}/teams/dev/members/{worker[0]}"), 404),
        (blocked, lambda: closed.done(ADMIN, "PATCH", f"/users/{blocked[0]}", {"disabled": True}), 401),
        (
            (changed[0], personal["secret"]),
            lambda: closed.done(changed, "DELETE", f"/users/{changed[0]}/tokens/{number}"),
            401,
        ),
        (
            changed,
            lambda: closed.done(
                changed, "PUT", f"/users/{changed[0]}/password", {"old": PASSWORD, "new": f"{PASSWORD}!"}
            ),
            401,
        ),
        ((ci, robot["secret"]), lambda: closed.done(boss, "POST", f"/robots/{ci}/rotate", {}), 401),
    ]
    for who, end, status in ends:
        token = closed.bearer(who, f"repository:{name}:pull")
        assert opened(closed, token, f"/v2/{name}/manifests/1") == 200, who[0]
        end()
        assert opened(closed, token, f"/v2/{name}/manifests/1") == status, who[0]


def test_sec_15_a_repository_that_is_made_again_is_another_one(closed: Closed) -> None:
    owner, reader = closed.user(), closed.user()
    name = f"{owner[0]}/app"
    token = closed.bearer(None, f"repository:{name}:pull")
    with closed.signed_in(owner) as client:
        make.push_image(client, name, "1", b"{}")
        closed.done(owner, "PATCH", f"/repositories/{name}", {"visibility": "public"})
        token = closed.bearer(None, f"repository:{name}:pull")
        held = closed.bearer(reader, f"repository:{name}:pull")
        assert [opened(closed, one, f"/v2/{name}/manifests/1") for one in (token, held)] == [200, 200]
        closed.done(owner, "DELETE", f"/repositories/{name}")
        assert [opened(closed, one, f"/v2/{name}/manifests/1") for one in (token, held)] == [401, 404]
        make.push_image(client, name, "1", b"{}")
        assert [opened(closed, one, f"/v2/{name}/manifests/1") for one in (token, held)] == [401, 404]
    assert closed.done(owner, "GET", f"/repositories/{name}")["visibility"] == "private"


# SEC-16: forged tokens

ATTACKER = ec.generate_private_key(ec.SECP256R1())


def attackers_jwk() -> dict[str, object]:
    return json.loads(jwt.algorithms.ECAlgorithm.to_jwk(ATTACKER.public_key()))  # type: ignore[no-any-return]


def hs256(token: str, secret: bytes, **header: object) -> str:
    signed = f"{encoded({'alg': 'HS256', 'typ': 'JWT', **header})}.{token.split('.')[1]}"
    return f"{signed}.{encoded(hmac.digest(secret, signed.encode(), hashlib.sha256))}"


def by_attacker(token: str, **header: object) -> str:
    return jwt.encode(claims(token), ATTACKER, "ES256", headers=header)


def unsigned(token: str) -> Iterator[str]:
    head, body, signature = token.split(".")
    for algorithm in ("none", "None", "NONE", "nOnE", "", None, "HS256", "ES384", 1, [], {}):
        for end in ("", signature):
            yield f"{encoded({**jwt.get_unverified_header(token), 'alg': algorithm})}.{body}.{end}"
    yield f"{head}.{body}."
    yield f"{head}..{signature}"
    yield f"{head}.{body}.{encoded(b'0' * 64)}"
    yield f"{head}.{body}.{encoded(bytes(64))}"


def confused(token: str, key: Key) -> Iterator[str]:
    public = key.private.public_key()
    pem = public.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    for secret in (
        pem,
        pem.strip(),
        public.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo),
        public.public_bytes(Encoding.X962, PublicFormat.UncompressedPoint),
        json.dumps(key.public).encode(),
        key.id.encode(),
        b"",
        b" ",
    ):
        yield hs256(token, secret, kid=key.id)


def elsewhere(token: str, key: Key, url: str) -> Iterator[str]:
    jwk = attackers_jwk()
    for kid in (key.id, "mine"):
        yield by_attacker(token, kid=kid)
        yield by_attacker(token, kid=kid, jwk=jwk)
        yield by_attacker(token, kid=kid, jku=f"{url}/jwks.json")
        yield by_attacker(token, kid=kid, x5u=f"{url}/chain.pem")
        yield by_attacker(token, kid=kid, x5c=[base64.b64encode(b"no certificate").decode()])
    for kid in ("../../../../dev/null", "/dev/null", "' UNION SELECT 'x' --", "", " ", "\0", f"{key.id}\0", url):
        yield by_attacker(token, kid=kid)
        yield hs256(token, b"", kid=kid)
    for odd in (None, 1, [key.id], {"kid": key.id}, True):
        yield hs256(token, b"", kid=odd)


def misshapen(token: str) -> Iterator[str]:
    head, body, signature = token.split(".")
    yield from (".", "..", "...", token[:-1], token[: len(token) // 2], head, f"{head}.{body}")
    yield from (
        f"{token}.{token}",
        f"{token}.x",
        f" {head}. {body}.{signature}",
        f"{token}=",
        f"{body}.{head}.{signature}",
    )
    yield from (f"{head}.{encoded(b'[' * 5_000)}.{signature}", f"{head}.{encoded([1])}.{signature}", "e" * 15_000)
    yield f"{encoded(b'[' * 5_000)}.{body}.{signature}"
    yield f"{encoded({'alg': 'dir', 'enc': 'A256GCM'})}.." + ".".join([encoded(b"x" * 16)] * 3)
    yield f"{encoded({'alg': 'PBES2-HS512+A256KW', 'enc': 'A256GCM', 'p2c': 2**31})}." + ".".join([encoded(b"x")] * 4)
    yield f"{encoded({**jwt.get_unverified_header(token), 'b64': False, 'crit': ['b64']})}.{body}.{signature}"
    yield f"{encoded({**jwt.get_unverified_header(token), 'zip': 'DEF'})}.{body}.{signature}"
    changed = claims(token) | {"sub": "admin", "exp": 2**40}
    yield f"{head}.{encoded(changed)}.{signature}"


def out_of_time(token: str, key: Key) -> Iterator[str]:
    """Signed by the registry's own key, as a defect of ours, or a thief of an old token, might have it."""
    now = int(time.time())
    for name in ("iat", "exp", "nbf", "aud", "iss", "sub", "moorage"):
        yield resigned(token, key, lambda found, name=name: found.pop(name))
        yield resigned(token, key, lambda found, name=name: found.update({name: None}))
    for change in (
        {"exp": now - 3600},
        {"exp": 0},
        {"exp": -1},
        {"exp": "tomorrow"},
        {"exp": [now + 60]},
        {"nbf": now + 3600},
        {"nbf": "x"},
        {"iat": now + 3600},
        {"iat": "x"},
        {"aud": "another"},
        {"aud": ["another"]},
        {"aud": ""},
        {"aud": []},
        {"aud": "moorage "},
        {"iss": "another"},
        {"iss": "https://moorage"},
        {"sub": "somebody"},
        {"sub": ""},
        {"sub": 1},
    ):
        yield resigned(token, key, lambda found, change=change: found.update(change))


@pytest.mark.parametrize("kind", ["unsigned", "confused", "elsewhere", "misshapen", "out of time"])
def test_sec_16_a_token_that_was_not_given_proves_nothing(closed: Closed, good: str, key: Key, kind: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as trap:
        trap.settimeout(0.2)
        url = f"http://127.0.0.1:{trap.getsockname()[1]}"
        forged = {
            "unsigned": lambda: unsigned(good),
            "confused": lambda: confused(good, key),
            "elsewhere": lambda: elsewhere(good, key, url),
            "misshapen": lambda: misshapen(good),
            "out of time": lambda: out_of_time(good, key),
        }[kind]

        def knock(asked: tuple[str, str]) -> httpx.Response:
            token, path = asked
            return closed.client.get(path, headers={"Authorization": f"Bearer {token}"})

        tried = list(itertools.product(forged(), DOORS))
        with ThreadPoolExecutor(32) as pool:  # at once: unknown keys are looked for once a second, for all who wait
            for (token, path), answer in zip(tried, pool.map(knock, tried), strict=True):
                assert answer.status_code == 401, (path, token[:2000], answer.text)
                assert 'error="invalid_token"' in answer.headers["WWW-Authenticate"], (path, token[:2000])
        with suppress(TimeoutError):
            trap.accept()
            pytest.fail("a key was fetched from where a token said")
    assert opened(closed, good, DOORS[1]) == 200


def test_sec_16_no_bit_of_a_token_can_be_turned(closed: Closed, good: str) -> None:
    chance = random.Random(16)
    letters = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
    last = len(good) - 1  # whose letter has bits that mean nothing
    for _ in range(150):
        at = chance.randrange(last)
        letter = chance.choice(letters)
        turned = good[:at] + letter + good[at + 1 :]
        if letter != good[at] and good[at] != ".":
            assert opened(closed, turned, DOORS[1]) == 401, at


def test_sec_16_a_token_of_a_megabyte_is_refused_by_its_length(closed: Closed) -> None:
    answer = ask(closed.served, "GET", "/v2/", f"Authorization: Bearer {'e' * 1024 * 1024}")
    assert answer.status == 431
    answer = ask(
        closed.served, "GET", "/v2/", f"Authorization: Basic {base64.b64encode(b'a:' + b'x' * 800_000).decode()}"
    )
    assert answer.status == 431


def test_sec_16_no_two_registries_sign_alike(closed: Closed, tmp_path: Path, good: str) -> None:
    other = Closed(tmp_path)
    try:
        ours, theirs = (
            {one["kid"] for one in each.client.get("/.well-known/jwks.json").json()["keys"]} for each in (closed, other)
        )
        assert not ours & theirs
        assert opened(other, good, "/v2/") == 401
        sealed = {path.name for path in other.served.data.iterdir() if path.is_file() and path.stat().st_mode & 0o077}
        assert not {name for name in sealed if "secret" in name or "password" in name}
    finally:
        other.stop()
