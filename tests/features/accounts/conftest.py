"""A desk on either database, with real credentials; time stands until a test moves it."""

import dataclasses
import time

import pytest

from moorage.access.bearer import Bearer
from moorage.access.credentials import Credentials, Login
from moorage.access.keys import KeyRing
from moorage.access.passwords import Passwords
from moorage.access.rules import Authority
from moorage.access.scopes import Scopes
from moorage.core.registry import Registry
from moorage.db import events
from moorage.features.accounts.desk import Desk
from moorage.storage.memory import MemoryStore

PASSWORD = "correct horse battery"


class Clock:
    def __init__(self):
        self.at = time.time_ns() // 1000

    def __call__(self):
        return self.at

    def pass_(self, seconds):
        self.at += int(seconds * 1_000_000)


class House:
    """A desk, and who signs in at it."""

    def __init__(self, database, data):
        self.clock = Clock()
        self.passwords = Passwords()
        self.credentials = Credentials(
            database,
            self.passwords,
            Bearer(KeyRing(database, b"s", self.clock), "moorage", 600, self.clock),
            self.clock,
        )
        authority = Authority(database, self.credentials, self.clock)
        self.db = database
        self.desk = Desk(Registry(database, MemoryStore(), now=self.clock), authority, self.passwords, data)

    def with_(self, **changes):
        self.desk = dataclasses.replace(self.desk, **changes)

    async def who(self, name, secret=PASSWORD):
        return await self.credentials.sign_in(Login(name, secret), "192.0.2.1")

    async def bearer(self, identity, scope):
        """Who a bearer token proves that somebody gets for the scope."""
        given = await self.desk.authority.grant(identity, Scopes.parse([scope]))
        text = await self.credentials.bearer.mint(
            identity.actor.name,
            identity.actor.id,
            identity.token_id,
            identity.credential,
            given,
            identity.credentials_at,
        )
        return await self.credentials.identify(f"Bearer {text}", "192.0.2.1")

    def events(self):
        """Every event so far: its kind, actor and facts."""
        with_cursor = self.db.scan_now(events.after, (0, 0), 10_000)
        return [(one.kind, one.actor, one.facts) for one in with_cursor]


@pytest.fixture
def house(database, tmp_path):
    made = House(database, tmp_path)
    yield made
    made.passwords.close()
