"""What is taken away bites within five seconds on every replica, for bearer tokens that are out (ruling 17)."""

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import httpx
import pytest

from tests import make
from tests.closed import ADMIN, PASSWORD, Closed, Login
from tests.conftest import Served, start
from tests.databases import Server

SECRET = "a secret that replicas share, long enough"
WITHIN = 5.0


@dataclass
class Pair:
    """Two replicas on one database; what the first is told, the second hears of by the database alone."""

    first: Closed
    second: Served

    def statuses(self, method: str, path: str, bearer: str) -> list[int]:
        headers = {"Authorization": f"Bearer {bearer}"}
        urls = [self.first.served.url, self.second.url]
        return [httpx.request(method, f"{url}{path}", headers=headers).status_code for url in urls]

    def turn(self, path: str, bearer: str, change: Callable[[], object], method: str, then: int) -> None:
        """What is good on both before the change is refused by both soon after it."""
        for _ in range(2):  # the second time, from memory
            assert all(status < 300 for status in self.statuses(method, path, bearer))
        change()
        end = time.monotonic() + WITHIN
        while (found := self.statuses(method, path, bearer)) != [then, then]:
            assert time.monotonic() < end, f"{found} after {WITHIN} seconds"
            time.sleep(0.1)


@pytest.fixture(scope="module")
def pair(postgresql_server: Server, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pair]:
    folder = tmp_path_factory.mktemp("pair")
    environment = {"REGISTRY_DATABASE_URL": postgresql_server.create(schema=False), "REGISTRY_HTTP_SECRET": SECRET}
    first = Closed(folder, **environment)
    second = start(folder / "data", folder / "config.yml", REGISTRY_ADMIN_PASSWORD=PASSWORD, **environment)
    yield Pair(first, second)
    second.stop()
    first.stop()


def upload(name: str) -> str:
    return f"/v2/{name}/blobs/uploads/"


def user_with_bearer(pair: Pair, name: str = "") -> tuple[Login, str, str]:
    """A user, a repository of theirs or the one named, and a bearer token for it that their password got."""
    user = pair.first.user()
    name = name or f"{user[0]}/app"
    return user, name, pair.first.bearer(user, f"repository:{name}:pull,push")


def allow(pair: Pair, subject: str, pattern: str, actions: str) -> int:
    body = {"subject": subject, "pattern": pattern, "actions": actions}
    return int(pair.first.done(ADMIN, "POST", "/grants", body)["id"])  # type: ignore[index]


def test_a_revoked_token_takes_its_bearer_tokens_along(pair: Pair) -> None:
    user = pair.first.user()
    made = pair.first.done(user, "POST", f"/users/{user[0]}/tokens", {"name": "ci"})
    bearer = pair.first.bearer((user[0], made["secret"]), f"repository:{user[0]}/app:pull,push")
    path = f"/users/{user[0]}/tokens/{made['token']['id']}"
    pair.turn(upload(f"{user[0]}/app"), bearer, lambda: pair.first.done(user, "DELETE", path), "POST", 401)


def test_another_password_ends_what_the_old_one_got(pair: Pair) -> None:
    user, name, bearer = user_with_bearer(pair)
    body = {"new": "another horse battery", "old": PASSWORD}
    change = lambda: pair.first.done(user, "PUT", f"/users/{user[0]}/password", body)  # noqa: E731
    pair.turn(upload(name), bearer, change, "POST", 401)
    again = pair.first.bearer((user[0], "another horse battery"), f"repository:{name}:pull,push")
    assert pair.statuses("POST", upload(name), again) == [202, 202]


def test_whoever_is_disabled_is_out(pair: Pair) -> None:
    user, name, bearer = user_with_bearer(pair)
    change = lambda: pair.first.done(ADMIN, "PATCH", f"/users/{user[0]}", {"disabled": True})  # noqa: E731
    pair.turn(upload(name), bearer, change, "POST", 401)


def test_a_member_who_left_their_team_pushes_no_more(pair: Pair) -> None:
    owner = pair.first.user()
    organisation = pair.first.organisation(owner)
    user, name, bearer = user_with_bearer(pair, f"{organisation}/app")
    base = f"/organisations/{organisation}"
    pair.first.done(ADMIN, "PUT", f"{base}/members/{user[0]}", {"role": "member"})
    pair.first.done(ADMIN, "POST", f"{base}/teams", {"name": "dev"})
    pair.first.done(ADMIN, "PUT", f"{base}/teams/dev/members/{user[0]}")
    allow(pair, f"{organisation}/dev", f"{organisation}/*", "writer")
    bearer = pair.first.bearer(user, f"repository:{name}:pull,push")
    change = lambda: pair.first.done(ADMIN, "DELETE", f"{base}/members/{user[0]}")  # noqa: E731
    pair.turn(upload(name), bearer, change, "POST", 403)


def test_a_narrowed_grant_leaves_what_it_still_gives(pair: Pair) -> None:
    name = f"{pair.first.organisation(pair.first.user())}/app"
    with pair.first.signed_in(ADMIN) as client:
        make.push_image(client, name, "1", b"{}")
    user = pair.first.user()
    rule = allow(pair, user[0], name, "pull,push")
    bearer = pair.first.bearer(user, f"repository:{name}:pull,push")

    def narrow() -> None:
        pair.first.done(ADMIN, "DELETE", f"/grants/{rule}")
        allow(pair, user[0], name, "pull")

    pair.turn(upload(name), bearer, narrow, "POST", 403)
    assert pair.statuses("GET", f"/v2/{name}/manifests/1", bearer) == [200, 200]


def test_a_repository_that_was_made_private_is_not_there_for_others(pair: Pair) -> None:
    user, name, _ = user_with_bearer(pair)
    with pair.first.signed_in(user) as client:
        make.push_image(client, name, "1", b"{}")
    pair.first.done(user, "PATCH", f"/repositories/{name}", {"visibility": "public"})
    bearer = pair.first.bearer(pair.first.user(), f"repository:{name}:pull")
    change = lambda: pair.first.done(user, "PATCH", f"/repositories/{name}", {"visibility": "private"})  # noqa: E731
    pair.turn(f"/v2/{name}/manifests/1", bearer, change, "GET", 404)


def test_a_password_that_is_remembered_gets_no_token_once_it_was_changed(pair: Pair) -> None:
    """At once, not within a second: what it got would be good for half an hour."""
    user = pair.first.user()
    new = "another horse battery"
    urls = [pair.first.served.url, pair.second.url]

    def ask() -> list[int]:
        wanted = {"service": "moorage", "scope": f"repository:{user[0]}/app:pull"}
        return [httpx.get(f"{url}/token", params=wanted, auth=user, timeout=60).status_code for url in urls]

    assert ask() == ask() == [200, 200]
    pair.first.done(user, "PUT", f"/users/{user[0]}/password", {"new": new, "old": PASSWORD})
    assert ask() == [401, 401]


def test_a_password_that_gets_token_after_token_is_hashed_once(pair: Pair) -> None:
    user = pair.first.user()

    def took() -> float:
        began = time.monotonic()
        pair.first.bearer(user, f"repository:{user[0]}/app:pull")
        return time.monotonic() - began

    first = took()
    assert sorted(took() for _ in range(9))[4] < first / 2
