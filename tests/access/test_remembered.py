"""Rows that the database remembers for one who may are not told to another (SQLite: `db.memory`)."""

import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests import make
from tests.closed import ADMIN, Closed

WITHIN = 5.0
"""Seconds until what is taken away bites (ruling 17)."""


@pytest.fixture
def closed(tmp_path: Path) -> Iterator[Closed]:
    one = Closed(tmp_path)
    yield one
    one.stop()


def test_what_one_has_pulled_often_is_hidden_from_who_may_not_and_gone_when_it_is_deleted(closed: Closed) -> None:
    owner, friend, stranger = closed.user(), closed.user(), closed.user()
    name = f"{owner[0]}/app"
    grant = closed.done(ADMIN, "POST", "/grants", {"subject": friend[0], "pattern": name, "actions": "pull"})
    with (
        closed.signed_in(owner) as owners,
        closed.signed_in(friend) as friends,
        closed.signed_in(stranger) as strangers,
    ):
        body = make.push_image(owners, name, "1", b"{}")
        places = [f"/v2/{name}/{what}" for what in ("manifests/1", f"blobs/{make.digest(b'{}')}", "tags/list?n=10")]
        for place in places * 4:
            assert friends.get(place).status_code == 200
        for place in places:
            assert strangers.get(place).status_code == 404, place
            assert closed.client.get(place).status_code == 401, place
        assert friends.get(places[0]).content == body

        closed.done(ADMIN, "DELETE", f"/grants/{grant['id']}")  # type: ignore[index]
        end = time.monotonic() + WITHIN
        while [friends.get(place).status_code for place in places] != [404] * 3:
            assert time.monotonic() < end
            time.sleep(0.1)

        assert [owners.get(places[0]).status_code for _ in range(4)] == [200] * 4
        assert owners.delete(places[0]).status_code == 202
        assert owners.get(places[0]).status_code == 404
