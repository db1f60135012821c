"""A password that is changed while it is being checked: what comes of that check is void, whatever clocks say."""

import asyncio
import base64
import json

import pytest

from moorage.access.actor import OPERATOR
from moorage.access.bearer import Bearer
from moorage.access.keys import KeyRing
from moorage.access.offline import Offline
from moorage.access.scopes import Scopes
from moorage.edge.http import Request
from moorage.edge.server.bodies import EMPTY
from moorage.edge.token import TokenEndpoint
from moorage.errors import Code, RegistryError
from moorage.features.accounts import users
from tests.features.accounts.conftest import Clock, House, house
from tests.features.accounts.test_people import ADMIN, PASSWORD, people
from tests.model.nodes import Pieces

__all__ = ["house"]


def asked(method: str, query: str, headers: list[tuple[str, str]], body: object = EMPTY) -> Request:
    return Request(method, "/token", query, headers, body, "192.0.2.1", "http", "id")


CLOCKS = {"one": (0, 0.03), "ahead": (3, 0.03), "still": (0, 0), "set back": (0, -2)}
"""By how many seconds the clock of who gives tokens is ahead, and how much time passes until the change."""


@pytest.fixture(params=CLOCKS.values(), ids=CLOCKS)
async def endpoint(house: House, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> TokenEndpoint:
    """Whoever signs in here has another password by the time that theirs was found to be right."""
    ahead, passes = request.param
    await people(house, "alice")
    fits = house.passwords.fits

    async def slow(*arguments: object) -> bool:
        right = await fits(*arguments)
        house.clock.pass_(passes)
        await users.set_password(house.desk, OPERATOR, "alice", None, "another horse battery")
        return right

    monkeypatch.setattr(house.passwords, "fits", slow)
    offline = Offline(house.db, house.clock, asked_for=True)
    clock = Clock()
    clock.at = house.clock.at + ahead * 1_000_000
    bearer = Bearer(KeyRing(house.db, b"s", clock), "moorage", 600, clock)
    return TokenEndpoint(house.desk.authority, house.credentials, bearer, offline)


async def test_a_bearer_token_is_void(house: House, endpoint: TokenEndpoint) -> None:
    basic = base64.b64encode(f"alice:{PASSWORD}".encode()).decode()
    answer = await endpoint.respond(asked("GET", "service=moorage", [("authorization", f"Basic {basic}")]))
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
    answer = await endpoint.respond(asked("POST", "", headers, Pieces([content], len(content))))
    assert answer.status == 401
    assert b"changed meanwhile" in answer.body


@pytest.mark.parametrize("passes", [1, 0, -2])
async def test_each_change_makes_void_what_was_given_before(house: House, passes: float) -> None:
    """Also where the clock stands, or is set back, and the token says that it is the younger one."""
    await people(house, "alice")
    changes = [
        lambda: users.set_password(house.desk, OPERATOR, "alice", None, PASSWORD),
        lambda: users.set_disabled(house.desk, ADMIN, "alice", disabled=True),
        lambda: users.set_disabled(house.desk, ADMIN, "alice", disabled=False),
    ]
    given = []
    for change in [*changes, changes[0]]:
        alice = await house.who("alice") if change is not changes[2] else None
        if alice is not None:
            mint = house.credentials.bearer.mint
            given.append(await mint("alice", alice.actor.id, None, "a password", Scopes({}), alice.credentials_at))
            assert (await house.credentials.identify(f"Bearer {given[-1]}", "192.0.2.1")).actor.name == "alice"
        house.clock.pass_(passes)
        await change()
        for token in given:
            with pytest.raises(RegistryError) as refused:
                await house.credentials.identify(f"Bearer {token}", "192.0.2.1")
            assert refused.value.code is Code.UNAUTHORIZED


async def test_a_token_that_does_not_say_what_it_rests_on_is_void(house: House) -> None:
    await people(house, "alice")
    alice = await house.who("alice")
    token = await house.credentials.bearer.mint("alice", alice.actor.id, None, "a password", Scopes({}))
    with pytest.raises(RegistryError) as refused:
        await house.credentials.identify(f"Bearer {token}", "192.0.2.1")
    assert refused.value.code is Code.UNAUTHORIZED
