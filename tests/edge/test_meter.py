"""Rates over real HTTP: who is refused, and what everybody is told."""

from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import pytest

from tests import make
from tests.closed import ADMIN, Closed, problem
from tests.conftest import Served

PROXIED = "http: {trusted_proxies: [127.0.0.1]}\n"


@pytest.fixture(scope="module")
def closed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Closed]:
    settings = PROXIED + "limits: {rates: {anonymous: 5/day, signed_in: 40/day}}\n"
    made = Closed(tmp_path_factory.mktemp("metered"), settings)
    body = None
    with made.signed_in(ADMIN) as client:
        body = make.push_image(client, "library/app", "1", b"{}")
        assert body
    made.done(ADMIN, "PATCH", "/repositories/library/app", {"visibility": "public"})
    yield made
    made.stop()


def pull(closed: Closed, address: str, **more: object) -> httpx.Response:
    headers = {"X-Forwarded-For": address} | dict(more.pop("headers", {}))  # type: ignore[call-overload]
    return closed.client.get("/v2/library/app/manifests/1", headers=headers, **more)


def limits(answer: httpx.Response) -> list[int | None]:
    names = ("Limit", "Remaining", "Reset")
    return [int(value) if (value := answer.headers.get(f"RateLimit-{name}")) else None for name in names]


def test_an_address_is_told_where_it_stands_and_then_to_come_back(closed: Closed) -> None:
    answers = [pull(closed, "192.0.2.1") for _ in range(7)]
    assert [one.status_code for one in answers] == [200] * 5 + [429] * 2
    assert [limits(one)[:2] for one in answers] == [[5, left] for left in (4, 3, 2, 1, 0, 0, 0)]
    last = answers[-1]
    assert limits(last)[2] == int(last.headers["Retry-After"]) <= 24 * 3600
    (error,) = last.json()["errors"]
    assert error["code"] == "TOOMANYREQUESTS"
    assert error["message"].startswith("192.0.2.1 (nobody is signed in) has sent more requests than 5/day; sign in, or")
    assert error["detail"] == {"retry_after": int(last.headers["Retry-After"]), "limit": "5/day"}
    assert pull(closed, "192.0.2.2").status_code == 200


def test_being_asked_to_sign_in_does_not_count_and_health_neither(closed: Closed) -> None:
    there = {"X-Forwarded-For": "192.0.2.3"}
    for path in ("/v2/", "/v2/secret/app/manifests/1", "/healthz", "/readyz"):
        for _ in range(6):
            answer = closed.client.get(path, headers=there)
            assert answer.status_code in {200, 401}
            assert limits(answer) == [None] * 3
    assert limits(pull(closed, "192.0.2.3"))[1] == 4


def test_tokens_for_nobody_count_like_what_they_are_for(closed: Closed) -> None:
    there = {"X-Forwarded-For": "192.0.2.4"}
    given = [closed.client.get("/token?scope=repository:library/app:pull", headers=there) for _ in range(6)]
    assert [one.status_code for one in given] == [200] * 5 + [429]
    assert int(given[-1].headers["Retry-After"]) > 0
    bearer = {"Authorization": f"Bearer {given[0].json()['token']}"}
    assert pull(closed, "192.0.2.4", headers=bearer).status_code == 429
    assert pull(closed, "192.0.2.5", headers=bearer).status_code == 200


def test_an_account_is_one_whatever_it_asks_and_wherever_it_is(closed: Closed) -> None:
    who = closed.user()
    left = []
    for number, path in enumerate(["/v2/", "/v2/_catalog", "/token", "/api/v1/me", "/v2/library/app/tags/list"]):
        answer = closed.client.get(path, auth=who, headers={"X-Forwarded-For": f"198.51.{number}.1"})
        assert answer.status_code == 200
        left.append(limits(answer)[:2])
    assert left == [[40, 39], [40, 38], [40, 37], [40, 36], [40, 35]]
    assert closed.client.get("/v2/none/such/manifests/1", auth=who).headers["RateLimit-Remaining"] == "34"
    for _ in range(34):
        closed.client.get("/v2/", auth=who)
    api = closed.client.get("/api/v1/me", auth=who)
    assert problem(api, 429, "TOOMANYREQUESTS").startswith(f"{who[0]} has sent more requests than 40/day; try again in")
    for refused in (api, closed.client.get("/token", auth=who), closed.client.get("/v2/", auth=who)):
        assert refused.status_code == 429
        assert limits(refused) == [40, 0, int(refused.headers["Retry-After"])]


def test_an_open_registry_counts_addresses_too(serve: Callable[..., Served], tmp_path: Path) -> None:
    server = serve(REGISTRY_LIMITS_RATES_ANONYMOUS="3 per hour")
    found = [httpx.get(f"{server.url}/v2/") for _ in range(4)]
    assert [one.status_code for one in found] == [200] * 3 + [429]
    assert [limits(one)[1] for one in found] == [2, 1, 0, 0]


def test_without_rates_nothing_is_said_of_them(client: httpx.Client) -> None:
    assert limits(client.get("/v2/")) == [None] * 3
