"""A closed server: challenges, tokens, permits and refusals, over real HTTP."""

import base64
import json
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import jwt
import pytest

from moorage.access.secrets import is_secret, new_secret
from moorage.db import accounts, generation, grants, tokens
from moorage.db.engine import open_database
from tests import make
from tests.conftest import Served, start

PASSWORD = "correct horse battery"


class House:
    """A closed server and what stands in its rows; accounts are made beside it, as the command line would."""

    def __init__(self, server: Served) -> None:
        self.server = server
        self.url = server.url
        self.db = open_database(f"sqlite:///{server.data / 'moorage.db'}")

    def user(self, name: str) -> tuple[str, str]:
        from moorage.access.passwords import Passwords

        self.db.write_now(
            lambda tx: accounts.add(tx, name, "user", "test", now(), password=Passwords().hash_now(PASSWORD))
        )
        self.change()
        return name, PASSWORD

    def grant(self, name: str, pattern: str, actions: str) -> None:
        def put(tx) -> None:
            account = accounts.find(tx, name)
            grants.put(tx, f"account:{account.id}", pattern.partition("/")[0], pattern, actions, "test", now(), None)
            generation.change(tx, now())

        self.db.write_now(put)

    def token(self, name: str, scopes: str | None = None, kind: str = "personal") -> str:
        secret = new_secret(kind)

        def add(tx) -> None:
            tokens.add(tx, accounts.find(tx, name).id, "ci", kind, secret.hash, scopes, now(), None)

        self.db.write_now(add)
        return secret.text

    def change(self) -> None:
        self.db.write_now(generation.change, now())

    def bearer(self, who: tuple[str, str] | None, *scopes: str) -> dict[str, str]:
        answer = httpx.get(f"{self.url}/token", params={"service": "moorage", "scope": list(scopes)}, auth=who)
        return {"Authorization": f"Bearer {answer.raise_for_status().json()['token']}"}


def now() -> int:
    return time.time_ns() // 1000


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    folder = tmp_path_factory.mktemp("closed")
    config = folder / "config.yml"
    config.write_text("version: 0.1\n")
    server = start(folder / "data", config=config, REGISTRY_ADMIN_PASSWORD=PASSWORD)
    house = House(server)
    yield house
    house.db.close_now()
    server.stop()
    assert "Traceback" not in server.log.read_text()
    assert PASSWORD not in server.log.read_text()


ADMIN = ("admin", PASSWORD)


def test_without_credentials_the_ping_says_where_to_get_a_token(house: House) -> None:
    answer = httpx.get(f"{house.url}/v2/")
    assert answer.status_code == 401
    challenge = answer.headers["WWW-Authenticate"]
    assert challenge == f'Bearer realm="{house.url}/token",service="moorage"'
    assert httpx.get(f"{house.url}/v2/", auth=ADMIN).status_code == 200
    assert httpx.get(f"{house.url}/v2/", headers=house.bearer(ADMIN)).status_code == 200
    assert httpx.get(f"{house.url}/v2/", headers=house.bearer(None)).status_code == 200


@pytest.mark.parametrize(
    ("method", "path", "scope"),
    [
        ("GET", "/v2/acme/app/manifests/1", "repository:acme/app:pull"),
        ("HEAD", "/v2/acme/app/tags/list", "repository:acme/app:pull"),
        ("PUT", "/v2/acme/app/manifests/1", "repository:acme/app:pull,push"),
        ("POST", "/v2/acme/app/blobs/uploads/", "repository:acme/app:pull,push"),
        ("DELETE", "/v2/acme/app/manifests/1", "repository:acme/app:delete"),
        ("GET", "/v2/_catalog", "registry:catalog:*"),
    ],
)
def test_a_challenge_asks_for_the_scope_that_the_request_needs(
    house: House, method: str, path: str, scope: str
) -> None:
    answer = httpx.request(method, f"{house.url}{path}")
    assert answer.status_code == 401
    assert f'scope="{scope}"' in answer.headers["WWW-Authenticate"]
    assert "error=" not in answer.headers["WWW-Authenticate"]


def test_a_push_with_a_token_and_a_pull_by_those_who_may(house: House) -> None:
    who = house.user("alice")
    headers = house.bearer(who, "repository:alice/tool:pull,push")
    with httpx.Client(base_url=house.url, headers=headers) as client:
        make.push_image(client, "alice/tool", "1", b"{}", b"layer")
        assert client.get("/v2/alice/tool/manifests/1").status_code == 200
    bob = house.user("bob")
    refused = httpx.get(f"{house.url}/v2/alice/tool/manifests/1", auth=bob)
    missing = httpx.get(f"{house.url}/v2/alice/none/manifests/1", auth=bob)
    assert (refused.status_code, missing.status_code) == (404, 404)
    assert refused.text.replace("alice/tool", "alice/none") == missing.text
    pushed = httpx.post(f"{house.url}/v2/alice/tool/blobs/uploads/", auth=bob)
    assert pushed.status_code == 403
    assert "bob (a password) may not push to alice/tool" in pushed.json()["errors"][0]["message"]
    house.grant("bob", "alice/*", "pull")
    wait_for(lambda: httpx.get(f"{house.url}/v2/alice/tool/manifests/1", auth=bob).status_code == 200)


def test_a_token_that_covers_less_is_told_to_ask_for_more(house: House) -> None:
    headers = house.bearer(ADMIN, "repository:acme/app:pull")
    answer = httpx.post(f"{house.url}/v2/acme/app/blobs/uploads/", headers=headers)
    assert answer.status_code == 401
    challenge = answer.headers["WWW-Authenticate"]
    assert 'scope="repository:acme/app:pull,push"' in challenge
    assert 'error="insufficient_scope"' in challenge


def test_a_personal_token_does_what_it_was_made_for_and_no_more(house: House) -> None:
    house.user("carol")
    limited = ("carol", house.token("carol", json.dumps([["carol/app", "pull,push"]])))
    assert httpx.post(f"{house.url}/v2/carol/app/blobs/uploads/", auth=limited).status_code == 202
    refused = httpx.post(f"{house.url}/v2/carol/other/blobs/uploads/", auth=limited)
    assert refused.status_code == 403
    assert "the token 'ci'" in refused.json()["errors"][0]["message"]
    given = httpx.get(f"{house.url}/token", params={"scope": "repository:carol/app:pull,push,delete"}, auth=limited)
    claims = jwt.decode(given.json()["token"], options={"verify_signature": False})
    assert claims["access"] == [{"type": "repository", "name": "carol/app", "actions": ["pull", "push"]}]


def test_what_is_revoked_stops_within_seconds_for_tokens_that_were_issued(house: House) -> None:
    house.user("dave")
    secret = house.token("dave")
    headers = house.bearer(("dave", secret), "repository:dave/app:pull,push")
    start_upload = lambda: httpx.post(f"{house.url}/v2/dave/app/blobs/uploads/", headers=headers).status_code  # noqa: E731
    assert start_upload() == 202

    def revoke(tx) -> None:
        (only,) = tokens.of(tx, accounts.find(tx, "dave").id)
        tokens.remove(tx, only.id)
        generation.change(tx, now())

    house.db.write_now(revoke)
    wait_for(lambda: start_upload() == 401)
    assert httpx.get(f"{house.url}/v2/", auth=("dave", secret)).status_code == 401


def wait_for(what: Callable[[], bool], seconds: float = 5.0) -> None:
    until = time.monotonic() + seconds
    while not what() and time.monotonic() < until:
        time.sleep(0.1)
    assert what()


def forged(**changes: object) -> str:
    claims = {"iss": "moorage", "sub": "admin", "aud": "moorage", "iat": 1, "nbf": 1, "exp": 2**33} | changes
    return jwt.encode(claims, "secret" * 8, "HS256", headers={"kid": "x"})


@pytest.mark.parametrize(
    "header",
    [
        pytest.param("Basic " + base64.b64encode(b"admin:wrong").decode(), id="a wrong password"),
        pytest.param("Basic " + base64.b64encode(b"nobody:x:y:z").decode(), id="nobody, with colons"),
        pytest.param("Basic " + base64.b64encode(b"admin\0:x").decode(), id="NUL"),
        pytest.param("Basic " + base64.b64encode(b"\xff\xfe:x").decode(), id="not UTF-8"),
        pytest.param("Basic !!!", id="not base64"),
        pytest.param("Basic " + "A" * 40_000, id="too long"),
        pytest.param("Bearer", id="empty"),
        pytest.param("Bearer a.b.c", id="noise"),
        pytest.param("Bearer " + "e" * 30_000, id="a token too long"),
        pytest.param(f"Bearer {forged()}", id="another's signature"),
        pytest.param(
            "Bearer " + base64.urlsafe_b64encode(b'{"alg":"none"}').decode() + "." + forged().split(".")[1] + ".",
            id="alg none",
        ),
        pytest.param("Digest x", id="another scheme"),
    ],
)
def test_credentials_that_prove_nothing_are_refused_with_a_challenge(house: House, header: str) -> None:
    answer = httpx.get(f"{house.url}/v2/acme/app/tags/list", headers={"Authorization": header})
    assert answer.status_code == 401
    assert answer.json()["errors"][0]["code"] == "UNAUTHORIZED"
    assert 'scope="repository:acme/app:pull"' in answer.headers["WWW-Authenticate"]


def test_a_token_is_void_for_another_service_or_after_a_change_of_its_claims(house: House) -> None:
    good = house.bearer(ADMIN, "repository:acme/app:pull")["Authorization"].partition(" ")[2]
    head, body, signature = good.split(".")
    claims = json.loads(base64.urlsafe_b64decode(body + "=="))
    claims["access"] = [{"type": "repository", "name": "x/y", "actions": ["*"]}]
    other = base64.urlsafe_b64encode(json.dumps(claims).encode()).rstrip(b"=").decode()
    answer = httpx.get(f"{house.url}/v2/", headers={"Authorization": f"Bearer {head}.{other}.{signature}"})
    assert answer.status_code == 401
    assert 'error="invalid_token"' in answer.headers["WWW-Authenticate"]


def test_the_form_of_oauth2_gives_tokens_and_refresh_tokens(house: House) -> None:
    form = {"grant_type": "password", "username": "admin", "password": PASSWORD, "service": "moorage"}
    form |= {"client_id": "helm", "scope": "repository:a/b:pull repository:c/d:pull,push", "access_type": "offline"}
    first = httpx.post(f"{house.url}/token", data=form).raise_for_status().json()
    assert is_secret(first["refresh_token"])
    again = {"grant_type": "refresh_token", "refresh_token": first["refresh_token"], "scope": "repository:a/b:pull"}
    second = httpx.post(f"{house.url}/token", data=again).raise_for_status().json()
    headers = {"Authorization": f"Bearer {second['access_token']}"}
    assert httpx.get(f"{house.url}/v2/a/b/tags/list", headers=headers).status_code == 404
    wrong = httpx.post(f"{house.url}/token", data=form | {"password": "wrong"})
    assert (wrong.status_code, wrong.json()["error"]) == (400, "invalid_grant")
    stolen = ("admin", first["refresh_token"])
    assert httpx.get(f"{house.url}/v2/", auth=stolen).status_code == 401, "a refresh token is no password"


def test_the_keys_are_published_and_verify_what_was_signed(house: House) -> None:
    token = house.bearer(ADMIN)["Authorization"].partition(" ")[2]
    keys = jwt.PyJWKSet.from_dict(httpx.get(f"{house.url}/.well-known/jwks.json").json())
    kid = jwt.get_unverified_header(token)["kid"]
    claims = jwt.decode(token, keys[kid].key, ["ES256"], audience="moorage", issuer="moorage")
    assert claims["sub"] == "admin"


def test_a_mount_whose_source_the_token_does_not_cover_names_both_scopes(house: House) -> None:
    headers = house.bearer(ADMIN, "repository:new/x:pull,push")
    query = {"mount": make.digest(b"never pushed"), "from": "old/y"}
    answer = httpx.post(f"{house.url}/v2/new/x/blobs/uploads/", params=query, headers=headers)
    assert answer.status_code == 401
    assert 'scope="repository:new/x:pull,push repository:old/y:pull"' in answer.headers["WWW-Authenticate"]


def test_a_mount_from_what_one_may_not_see_is_an_upload_like_any_other(house: House) -> None:
    erin = house.user("erin")
    content = b"private" * 10_000
    with httpx.Client(base_url=house.url, auth=ADMIN) as client:
        make.push_image(client, "secret/x", "1", b"{}", content)
    for digest in (make.digest(content), make.digest(b"no such blob")):
        for query in ({"mount": digest, "from": "secret/x"}, {"mount": digest}):
            assert httpx.post(f"{house.url}/v2/erin/x/blobs/uploads/", params=query, auth=erin).status_code == 202


def test_the_catalog_shows_what_one_may_see(house: House) -> None:
    frank = house.user("frank")
    with httpx.Client(base_url=house.url, auth=frank) as client:
        make.push_image(client, "frank/only", "1", b"{}")
        assert client.get("/v2/_catalog").json() == {"repositories": ["frank/only"]}


def test_the_first_password_is_made_up_and_kept_for_its_owner(tmp_path: Path) -> None:
    config = tmp_path / "config.yml"
    config.write_text("version: 0.1\n")
    server = start(tmp_path / "data", config=config)
    try:
        kept = server.data / "initial-admin-password"
        assert kept.stat().st_mode & 0o777 == 0o600
        password = kept.read_text().strip()
        assert httpx.get(f"{server.url}/v2/", auth=("admin", password)).status_code == 200
        assert password not in server.log.read_text()
    finally:
        server.stop()


def test_users_of_an_htpasswd_file_push_everywhere_until_the_file_says_otherwise(tmp_path: Path) -> None:
    import bcrypt

    users, config = tmp_path / "users", tmp_path / "config.yml"
    users.write_text(f"# people\nann:{bcrypt.hashpw(b'secret', bcrypt.gensalt(4)).decode()}\nold:$apr1$x$y\n")
    config.write_text(f"version: 0.1\nauth: {{htpasswd: {{path: {users}, realm: Ours}}}}\n")
    server = start(tmp_path / "data", config=config)
    try:
        with httpx.Client(base_url=server.url, auth=("ann", "secret")) as client:
            make.push_image(client, "any/where", "1", b"{}")
        assert httpx.get(f"{server.url}/v2/").headers["WWW-Authenticate"] == 'Basic realm="Ours"'
        users.write_text("")
        wait_for(lambda: httpx.get(f"{server.url}/v2/", auth=("ann", "secret")).status_code == 401)
    finally:
        server.stop()
