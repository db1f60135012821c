"""A password that is changed while it is being checked: what comes of that check is void."""

import asyncio
import base64
import json

import pytest

from moorage.access.actor import OPERATOR
from moorage.access.offline import Offline
from moorage.edge.http import Request
from moorage.edge.server.bodies import EMPTY
from moorage.edge.token import TokenEndpoint
from moorage.errors import Code, RegistryError
from moorage.features.accounts import users
from tests.features.accounts.conftest import House, house
from tests.features.accounts.test_people import PASSWORD, people
from tests.model.nodes import Pieces

__all__ = ["house"]


def request(method: str, query: str, headers: list[tuple[str, str]], body: object = EMPTY) -> Request:
    return Request(method, "/token", query, headers, body, "192.0.2.1", "http", "id")


@pytest.fixture
async def endpoint(house: House, monkeypatch: pytest.MonkeyPatch) -> TokenEndpoint:
    """Whoever signs in here has another password by the time that theirs was found to be right."""
    await people(house, "alice")
    fits = house.passwords.fits

    async def slow(*arguments: object) -> bool:
        right = await fits(*arguments)
        house.clock.pass_(0.03)
        await users.set_password(house.desk, OPERATOR, "alice", None, "another horse battery")
        return right

    monkeypatch.setattr(house.passwords, "fits", slow)
    offline = Offline(house.db, house.clock, asked_for=True)
    return TokenEndpoint(house.desk.authority, house.credentials, house.credentials.bearer, offline)


async def test_a_bearer_token_is_void(house: House, endpoint: TokenEndpoint) -> None:
    basic = base64.b64encode(f"alice:{PASSWORD}".encode()).decode()
    answer = await endpoint.respond(request("GET", "service=moorage", [("authorization", f"Basic {basic}")]))
    assert answer.status == 200
    await asyncio.sleep(0)
    token = json.loads(answer.body)["token"]
    with pytest.raises(RegistryError) as refused:
        await house.credentials.identify(f"Bearer {token}", "192.0.2.1")
    assert refused.value.code is Code.UNAUTHORIZED


async def test_no_refresh_token_is_given(house: House, endpoint: TokenEndpoint) -> None:
    form = f"grant_type=password&service=moorage&access_type=offline&username=alice&password={PASSWORD}"
    content = form.replace(" ", "+").encode()
    headers = [("content-type", "application/x-www-form-urlencoded")]
    answer = await endpoint.respond(request("POST", "", headers, Pieces([content], len(content))))
    assert answer.status == 401
    assert b"changed meanwhile" in answer.body
