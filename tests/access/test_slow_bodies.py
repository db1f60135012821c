"""Who sends the head of a request, is dismissed, and then sends its body, has come too late."""

import base64
import json
import socket
from collections.abc import Callable, Iterator

import pytest

from tests import make
from tests.closed import ADMIN, PASSWORD, Closed, Login


@pytest.fixture(scope="module")
def closed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Closed]:
    one = Closed(tmp_path_factory.mktemp("slow"))
    yield one
    one.stop()


NO_CHUNKS = b"0\r\n\r\n"
"""An empty body, of which that is said late."""


def late(
    closed: Closed,
    who: Login,
    request: str,
    body: bytes,
    media_type: str,
    meanwhile: Callable[[], object],
) -> bytes:
    """The answer to a request whose body is sent once the handler waits for it, and `meanwhile` is done."""
    length = "Transfer-Encoding: chunked" if body == NO_CHUNKS else f"Content-Length: {len(body)}"
    basic = base64.b64encode(":".join(who).encode()).decode()
    head = (
        f"{request} HTTP/1.1\r\nHost: here\r\nAuthorization: Basic {basic}\r\nContent-Type: {media_type}\r\n"
        f"{length}\r\nExpect: 100-continue\r\nConnection: close\r\n\r\n"
    )
    with socket.create_connection(("127.0.0.1", closed.served.port), 60) as one:
        one.sendall(head.encode())
        assert one.recv(1024).startswith(b"HTTP/1.1 100 "), "the handler waits for the body"
        meanwhile()
        one.sendall(body)
        return one.recv(65536)


def status(answer: bytes) -> int:
    return int(answer.split()[1])


def nothing() -> None:
    """Happens meanwhile."""


def test_no_token_is_made_with_a_password_that_was_changed(closed: Closed) -> None:
    user = closed.user()
    change = {"new": "another horse battery", "old": PASSWORD}

    def make_token(name: str, meanwhile: Callable[[], object]) -> bytes:
        body = json.dumps({"name": name}).encode()
        return late(closed, user, f"POST /api/v1/users/{user[0]}/tokens", body, "application/json", meanwhile)

    assert status(make_token("ci", nothing)) == 201
    assert status(make_token("thief", lambda: closed.done(user, "PUT", f"/users/{user[0]}/password", change))) == 401
    made = closed.done((user[0], change["new"]), "GET", f"/users/{user[0]}/tokens")
    assert [one["name"] for one in made] == ["ci"]  # type: ignore[index]


def test_an_administrator_who_is_dismissed_makes_no_other(closed: Closed) -> None:
    body = json.dumps({"name": "backdoor", "password": PASSWORD, "admin": True}).encode()
    closed.done(ADMIN, "POST", "/users", {"name": "mallory", "password": PASSWORD, "admin": True})

    def dismiss() -> None:
        closed.done(ADMIN, "PATCH", "/users/mallory", {"disabled": True})

    assert status(late(closed, ("mallory", PASSWORD), "POST /api/v1/users", body, "application/json", dismiss)) == 401
    assert closed.api(ADMIN, "GET", "/users/backdoor").status_code == 404


def test_an_empty_body_is_waited_for_as_well(closed: Closed) -> None:
    owner, friend = closed.user(), closed.user()
    name = closed.organisation(owner)
    closed.done(owner, "PUT", f"/organisations/{name}/members/{friend[0]}", {"role": "member"})
    closed.done(owner, "POST", f"/organisations/{name}/teams", {"name": "dev"})
    target = f"PUT /api/v1/organisations/{name}/teams/dev/members/{friend[0]}"

    def dismiss() -> None:
        closed.done(ADMIN, "PATCH", f"/users/{owner[0]}", {"disabled": True})

    assert status(late(closed, owner, target, NO_CHUNKS, "application/json", dismiss)) == 401
    assert closed.done(ADMIN, "GET", f"/organisations/{name}/teams/dev/members") == []
    closed.done(ADMIN, "PATCH", f"/users/{owner[0]}", {"disabled": False})
    assert status(late(closed, owner, target, NO_CHUNKS, "application/json", nothing)) == 204


def test_no_manifest_is_pushed_with_a_grant_that_was_taken_back(closed: Closed) -> None:
    owner, friend = closed.user(), closed.user()
    name = f"{owner[0]}/app"
    grant = closed.done(ADMIN, "POST", "/grants", {"subject": friend[0], "pattern": name, "actions": "pull,push"})
    with closed.signed_in(owner) as client:
        content = make.push_image(client, name, "1", b"{}")

        def push(tag: str, meanwhile: Callable[[], object]) -> bytes:
            return late(closed, friend, f"PUT /v2/{name}/manifests/{tag}", content, make.IMAGE, meanwhile)

        assert status(push("2", nothing)) == 201
        assert status(push("3", lambda: closed.done(ADMIN, "DELETE", f"/grants/{grant['id']}"))) == 403  # type: ignore[index]
        assert client.get(f"/v2/{name}/tags/list").json()["tags"] == ["1", "2"]


def test_who_comes_too_late_with_a_manifest_is_told_which_scope_to_ask_for(closed: Closed) -> None:
    user = closed.user()
    name = f"{user[0]}/app"
    with closed.signed_in(user) as client:
        content = make.push_image(client, name, "1", b"{}")

    def dismiss() -> None:
        closed.done(ADMIN, "PATCH", f"/users/{user[0]}", {"disabled": True})

    answer = late(closed, user, f"PUT /v2/{name}/manifests/2", content, make.IMAGE, dismiss)
    assert status(answer) == 401
    assert f'scope="repository:{name}:pull,push"'.encode() in answer
