"""What it costs to know who asks and what they may: asked of the rules themselves, among very many rules.

No server answers here, so no peer takes part: the figures are this process's own CPU time.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from bench.rounds import Sample, Stage, Unit, Workload
from bench.seeds.rules import rules
from bench.servers import PEERS, Server
from bench.wire import Wrong
from bench.workloads.scale import Scale
from moorage.access.action import Action
from moorage.access.actor import Actor, Identity
from moorage.access.bearer import Bearer
from moorage.access.credentials import Credentials, actor_of
from moorage.access.keys import KeyRing
from moorage.access.passwords import Passwords
from moorage.access.rules import Authority
from moorage.access.scopes import Scopes
from moorage.db import accounts
from moorage.db.engine import Database, Tx, open_database
from moorage.db.migrate import migrate
from moorage.oci.names import RepositoryName

_REPEATED = 20_000
_PEER = "127.0.0.1"


@dataclass(frozen=True, slots=True)
class _Door:
    """Rules, people who ask, each with a repository that a rule opens to them, and the first one's bearer token."""

    db: Database
    authority: Authority
    people: Sequence[tuple[Identity, RepositoryName]]
    header: str


def access(scale: Scale) -> Stage:
    doors: list[_Door] = []

    def prepare(server: Server) -> None:
        if server.peer is PEERS[0]:
            doors.append(asyncio.run(_door(server.folder, scale)))

    def repeated(_server: Server, _round: int) -> Sample:
        authority, name = doors[0].authority, doors[0].people[0][1]

        async def ask() -> None:
            for _ in range(_REPEATED):
                await authority.permit(await authority.authenticate(doors[0].header, _PEER), name, Action.PULL)

        return asyncio.run(_measured(authority, _REPEATED, ask))

    def decided(_server: Server, _round: int) -> Sample:
        authority, people = doors[0].authority, doors[0].people

        async def ask() -> None:
            for identity, name in people:
                await authority.permit(identity, name, Action.PULL)

        authority.forget()
        return asyncio.run(_measured(authority, len(people), ask))

    only = frozenset({PEERS[0].name})
    among = f"{scale.users:,} users, {scale.organisations:,} organisations, {scale.rules:,} rules"
    return Stage(
        "access",
        [
            Workload("who asks, and may they: the same bearer token again", Unit.MICROSECONDS, repeated, only),
            Workload(f"a first decision among {among}", Unit.MICROSECONDS, decided, only),
        ],
        prepare,
    )


async def _measured(authority: Authority, times: int, ask: Callable[[], Awaitable[None]]) -> Sample:
    watching = asyncio.ensure_future(authority.watch())
    await asyncio.sleep(0)
    try:
        began, cpu = time.monotonic(), time.thread_time()
        await ask()
        return Sample(times, time.thread_time() - cpu, time.monotonic() - began, 0, 0)
    finally:
        watching.cancel()
        await asyncio.gather(watching, return_exceptions=True)


async def _door(folder: Path, scale: Scale) -> _Door:
    url = f"sqlite:///{folder}/rules.db"
    migrate(url)
    rules(folder / "rules.db", scale.users, scale.organisations, scale.rules)
    db = open_database(url)

    def now() -> int:
        return time.time_ns() // 1000

    bearer = Bearer(KeyRing(db, b"of this benchmark only", now), "moorage", 1800, now)
    authority = Authority(db, Credentials(db, Passwords(), bearer, now), now)
    step = max(1, scale.users // scale.decisions)
    people = [
        (Identity(db.read_now(_actor, number)), RepositoryName.parse(f"org-{number % scale.organisations}/app"))
        for number in range(0, scale.users, step)
    ]
    (first, name), *_ = people
    scopes = Scopes({name: frozenset({"pull"})})
    account = db.read_now(accounts.find, first.actor.name)
    assert account is not None
    token = await bearer.mint(account.name, account.id, None, "a password", scopes, account.credentials_at)
    return _Door(db, authority, people, f"Bearer {token}")


def _actor(tx: Tx, number: int) -> Actor:
    account = accounts.find(tx, f"user-{number}")
    if account is None:
        raise Wrong(f"there is no user-{number}")
    return actor_of(tx, account)
