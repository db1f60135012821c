"""Guessing passwords, and floods of sign-ins (group B of the attack list)."""

import base64
import itertools
import multiprocessing
import re
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from multiprocessing.sharedctypes import Synchronized
from pathlib import Path
from statistics import median

import httpx
import pytest

from moorage.db import events
from moorage.db.engine import open_database
from tests import make
from tests.closed import ADMIN, PASSWORD, Closed, Login
from tests.conftest import start
from tests.security.attacker import request

_numbers = itertools.count()


@pytest.fixture(scope="module")
def closed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Closed]:
    """A closed server behind a trusted proxy, so that a test can come from anywhere."""
    made = Closed(tmp_path_factory.mktemp("guessed"), "http: {trusted_proxies: [127.0.0.1]}\n")
    yield made
    made.stop()


@pytest.fixture
def somewhere() -> str:
    """An address in a network that no other test comes from."""
    return elsewhere()


def elsewhere() -> str:
    number = next(_numbers)
    return f"198.{18 + number // 256}.{number % 256}.7"


def v2(closed: Closed, who: Login, address: str) -> httpx.Response:
    return closed.client.get("/v2/", auth=who, headers={"X-Forwarded-For": address})


def token_by_get(closed: Closed, who: Login, address: str) -> httpx.Response:
    return closed.client.get("/token?service=moorage", auth=who, headers={"X-Forwarded-For": address})


def token_by_post(closed: Closed, who: Login, address: str) -> httpx.Response:
    form = {"grant_type": "password", "username": who[0], "password": who[1], "service": "moorage"}
    return closed.client.post("/token", data=form, headers={"X-Forwarded-For": address})


def api(closed: Closed, who: Login, address: str) -> httpx.Response:
    return closed.client.get("/api/v1/me", auth=who, headers={"X-Forwarded-For": address})


Way = Callable[[Closed, Login, str], httpx.Response]
WAYS: list[Way] = [v2, token_by_get, token_by_post, api]


def guess(closed: Closed, name: str, address: str, times: int, way: Way = v2) -> list[int]:
    """So many wrong passwords; gives the statuses."""
    return [way(closed, (name, f"wrong password {n}"), address).status_code for n in range(times)]


@pytest.mark.parametrize("way", WAYS)
def test_sec_24_after_ten_guesses_no_password_is_looked_at_whichever_way_it_comes(
    closed: Closed, somewhere: str, way: Way
) -> None:
    name, password = closed.user()
    assert guess(closed, name, somewhere, 10, way) == [400 if way is token_by_post else 401] * 10
    for other in WAYS:
        for secret in ("wrong again", password):
            answer = other(closed, (name, secret), somewhere)
            assert answer.status_code == 429
            assert "TOOMANYREQUESTS" in answer.text
            assert re.search(r"try again in \d+ seconds", answer.text)
            assert 1 <= int(answer.headers["Retry-After"]) <= 30
    neighbour = f"{somewhere.rpartition('.')[0]}.200"
    assert v2(closed, (name, password), neighbour).status_code == 429
    assert v2(closed, (name, password), elsewhere()).status_code == 200


def test_sec_24_no_stranger_locks_anybody_out(closed: Closed) -> None:
    name, password = closed.user()
    home = elsewhere()
    for _ in range(10):
        assert guess(closed, name, elsewhere(), 11) == [401] * 10 + [429]
    for way in WAYS:
        assert way(closed, (name, password), home).is_success
    other = elsewhere()
    assert guess(closed, name, other, 2) == [401] * 2
    assert v2(closed, (name, password), other).status_code == 200, "an attack leaves three tries to every network"
    assert guess(closed, name, other, 4) == [401] * 3 + [429]
    assert v2(closed, (name, password), home).status_code == 200


def test_sec_24_tokens_work_where_passwords_have_to_wait(closed: Closed, somewhere: str) -> None:
    who = closed.user()
    made = closed.done(who, "POST", f"/users/{who[0]}/tokens", {"name": "ci"})
    assert isinstance(made, dict)
    secret = made["secret"]
    bearer = closed.bearer(who)
    form = {"grant_type": "password", "username": who[0], "password": who[1], "access_type": "offline"}
    refresh = closed.client.post("/token", data=form).json()["refresh_token"]
    assert guess(closed, who[0], somewhere, 11)[-1] == 429
    for way in WAYS:
        assert way(closed, (who[0], secret), somewhere).is_success
    there = {"X-Forwarded-For": somewhere}
    assert closed.client.get("/v2/", headers={"Authorization": f"Bearer {bearer}", **there}).status_code == 200
    form = {"grant_type": "refresh_token", "refresh_token": refresh}
    assert closed.client.post("/token", data=form, headers=there).status_code == 200
    assert v2(closed, who, somewhere).status_code == 429


def test_sec_24_a_password_that_is_remembered_is_guessed_no_more_often(closed: Closed, somewhere: str) -> None:
    """Or a guess at it would cost a look-up, and be told from the others."""
    who = closed.user()
    time.sleep(3)  # until no change is left that would make the server forget
    assert v2(closed, who, somewhere).status_code == 200
    assert guess(closed, who[0], somewhere, 10) == [401] * 10
    assert v2(closed, who, somewhere).status_code == 429
    assert v2(closed, who, elsewhere()).status_code == 200


def test_sec_24_one_network_tries_a_hundred_accounts_and_no_more(closed: Closed, somewhere: str) -> None:
    who = closed.user()
    assert [guess(closed, f"name{n}", somewhere, 1) for n in range(100)] == [[401]] * 100
    assert v2(closed, who, somewhere).status_code == 429
    assert "from your network" in v2(closed, who, somewhere).text
    assert v2(closed, who, elsewhere()).status_code == 200


def test_sec_24_an_account_that_is_not_there_is_counted_and_answered_like_one_that_is(closed: Closed) -> None:
    name, _ = closed.user()
    robot = closed.done(ADMIN, "POST", "/organisations", {"name": "crew"})
    assert robot is not None
    nobody = name.replace("user", "none")
    stories, took = [], {name: [0.0], nobody: [0.0]}
    for claimed in (name, nobody, "crew"):
        address, story = elsewhere(), []
        for n in range(12):
            began = time.perf_counter()
            answer = v2(closed, (claimed, f"wrong password {n}"), address)
            if answer.status_code == 401:
                took.setdefault(claimed, []).append(time.perf_counter() - began)
            kept = [pair for pair in answer.headers.items() if pair[0] not in {"date", "x-request-id"}]
            text = re.sub(r"in \d+ seconds|\"retry_after\": \d+", "", answer.text.replace(claimed, "NAME"))
            kept = [(key, "" if key in {"retry-after", "content-length"} else value) for key, value in kept]
            story.append((answer.status_code, kept, text))
        stories.append(story)
    assert stories[0] == stories[1] == stories[2]
    assert [status for status, *_ in stories[0]] == [401] * 10 + [429] * 2
    assert 1 / 3 < median(took[name]) / median(took[nobody]) < 3


def test_sec_24_a_lock_is_one_event_however_many_tries_it_refuses(closed: Closed, somewhere: str) -> None:
    name, _ = closed.user()
    assert guess(closed, name, somewhere, 40)[10:] == [429] * 30
    db = open_database(closed.database)
    try:
        found: list[events.Event] = []
        for _ in range(50):
            found = [one for one in db.scan_now(events.after, (0, 0), 10_000) if one.kind == "account.locked"]
            found = [one for one in found if one.facts["claimed"] == f"'{name}'"]
            if found:
                break
            time.sleep(0.2)
    finally:
        db.close_now()
    network = somewhere.rpartition(".")[0] + ".0/24"
    assert [one.facts for one in found] == [{"claimed": f"'{name}'", "network": network, "seconds": "30", "times": 1}]


def test_sec_24_an_old_password_is_guessed_no_more_often_by_who_holds_a_token(closed: Closed) -> None:
    who = closed.user()
    bearer = closed.bearer(who, "registry:api:*")
    change = {"new": "another horse battery"}
    path = f"/users/{who[0]}/password"
    tries = [closed.api(bearer, "PUT", path, change | {"old": f"wrong {n}"}) for n in range(11)]
    assert [one.status_code for one in tries] == [403] * 10 + [429]
    assert int(tries[-1].headers["Retry-After"]) > 0
    assert v2(closed, who, elsewhere()).status_code == 200


def test_sec_24_an_address_that_nobody_trusted_tells_is_not_believed(tmp_path: Path) -> None:
    direct = Closed(tmp_path)
    try:
        name, _ = direct.user()
        assert [guess(direct, name, elsewhere(), 1) for _ in range(11)] == [[401]] * 10 + [[429]]
    finally:
        direct.stop()


def test_sec_24_users_of_an_htpasswd_file_are_guessed_at_no_more_often(tmp_path: Path) -> None:
    import bcrypt

    users, config = tmp_path / "users", tmp_path / "config.yml"
    users.write_text(f"ann:{bcrypt.hashpw(PASSWORD.encode(), bcrypt.gensalt(4)).decode()}\n")
    config.write_text(f"version: 0.1\nauth: {{htpasswd: {{path: {users}}}}}\n")
    server = start(tmp_path / "data", config=config)
    try:
        with httpx.Client(base_url=server.url, verify=False) as client:
            assert client.get("/v2/", auth=("ann", PASSWORD)).status_code == 200
            tries = [client.get("/v2/", auth=("ann", f"wrong {n}")).status_code for n in range(11)]
            assert tries == [401] * 10 + [429]
            assert client.get("/v2/", auth=("ann", PASSWORD)).status_code == 429
    finally:
        server.stop()


def _flood(port: int, worker: int, answers: "dict[int, Synchronized[int]]") -> None:
    """Wrong passwords, a dozen at a time, each for another account from another network, until killed."""
    for round_ in range(100_000):
        with ExitStack() as stack, suppress(OSError):
            address = ("127.0.0.1", port)
            ways = [stack.enter_context(socket.create_connection(address, 30)) for _ in range(12)]
            for number, to in enumerate(ways):
                secret = base64.b64encode(f"n{worker}-{round_}-{number}:wrong".encode()).decode()
                place = f"10.{worker}.{round_ % 250}.{number}"
                to.sendall(request("GET", "/v2/", f"Authorization: Basic {secret}", f"X-Forwarded-For: {place}"))
            for to in ways:
                status = int(to.recv(65536).split()[1])
                with answers[status].get_lock():
                    answers[status].value += 1


@contextmanager
def flooded(port: int) -> "Iterator[dict[int, Synchronized[int]]]":
    """More sign-ins than the server can check; gives how many were checked (401) and refused (429)."""
    context = multiprocessing.get_context("fork")
    answers = {status: context.Value("i", 0) for status in (401, 429)}
    running = [context.Process(target=_flood, args=(port, n, answers), daemon=True) for n in range(4)]
    for one in running:
        one.start()
    try:
        yield answers
    finally:
        for one in running:
            one.kill()
            one.join()


def test_sec_24_a_flood_of_sign_ins_takes_no_pulls_away(closed: Closed) -> None:
    headers = {"Authorization": f"Bearer {closed.bearer(ADMIN, 'repository:honest/app:pull,push')}"}
    with httpx.Client(base_url=closed.served.url, headers=headers, timeout=60) as client:
        body = make.push_image(client, "honest/app", "1", b"{}")

        def pull() -> float:
            took = []
            for _ in range(150):
                began = time.perf_counter()
                assert client.get("/v2/honest/app/manifests/1").content == body
                took.append(time.perf_counter() - began)
            return median(took)

        before = pull()
        with flooded(closed.served.port) as answers:
            rounds = []
            while (len(rounds) < 2 or answers[401].value < 50) and len(rounds) < 50:
                rounds.append(pull())
            during, checked, refused = median(rounds), answers[401].value, answers[429].value
        print(f"a pull took {before * 1e3:.1f} ms, and {during * 1e3:.1f} ms while {checked} passwords were checked")
        assert checked >= 50
        assert refused > 0
        assert during < 15 * before
