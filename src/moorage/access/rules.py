"""Authenticate, decide, mint: what the edge asks before anything else happens.

    Authorization header ──> Identity ──┐
    repository, action  ────────────────┴──> decide (rows) ──> Permit, or a refusal that says why

Identities and permits are remembered under the access generation: a repeated request costs two look-ups in
dictionaries, and a change bites within about a second, in every process.
"""

import asyncio
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from typing import Final, Protocol

from moorage.access import refusal
from moorage.access.action import Action
from moorage.access.actor import NOBODY, Actor, Identity
from moorage.access.certificates import Certificate, certified
from moorage.access.decide import EVERYTHING, Grant, Reason, decide, reasons
from moorage.access.memory import Memory
from moorage.access.notes import Notes, write
from moorage.access.passwords import Passwords
from moorage.access.permit import SEAL, CatalogPermit, Permit
from moorage.access.roles import parse_actions
from moorage.access.scopes import Scopes, granted
from moorage.db import generation, grants, teams
from moorage.db.engine import Database, Tx
from moorage.errors import Code, RegistryError
from moorage.oci.names import RepositoryName
from moorage.oci.pattern import Pattern
from moorage.telemetry import logger

log: Final = logger("moorage.access")

RHYTHM: Final = 1.0
"""Seconds between two looks at the access generation."""

BLIND: Final = 5.0
"""Seconds without a look, as when the database is away, after which nothing remembered is believed."""


class Identifies(Protocol):
    """Proves identities: from rows, from an htpasswd file, from a token service outside."""

    async def identify(self, header: str, peer: str, /) -> Identity:
        """Who an Authorization header from the address `peer` proves.  Raises UNAUTHORIZED or TOOMANYREQUESTS."""
        ...

    def version(self) -> object:
        """Changes with whatever it knows that no access generation tells of."""
        ...


class Rules(Protocol):
    """Decides.  Every decision is a permit or a refusal that says why."""

    async def authenticate(self, header: str | None, peer: str, certificate: Certificate | None = None, /) -> Identity:
        """Who is asking, by an Authorization header or else a verified client certificate.

        Raises UNAUTHORIZED for a header that proves nothing; none at all is no error, nor is a certificate of nobody.
        """
        ...

    def recognised(self, header: str | None, peer: str, certificate: Certificate | None = None, /) -> Identity | None:
        """What `authenticate` would say, where that is remembered."""
        ...

    def remembered(self, identity: Identity, repository: RepositoryName, action: Action, /) -> Permit | None:
        """What `permit` would say, where that is remembered."""
        ...

    async def permit(self, identity: Identity, repository: RepositoryName, action: Action, /) -> Permit:
        """A permit that includes `action`.  Raises UNAUTHORIZED, DENIED or NAME_UNKNOWN."""
        ...

    async def permit_catalog(self, identity: Identity, /) -> CatalogPermit:
        """A permit to list repositories.  Raises UNAUTHORIZED or DENIED."""
        ...

    async def visible(self, identity: Identity, names: Sequence[RepositoryName], /) -> list[RepositoryName]:
        """Those of the repositories that the actor may know of: what lists and searches show."""
        ...


class OpenRules:
    """Whoever reaches the registry may do everything: for laboratories (`--open`)."""

    def __init__(self) -> None:
        self._permits: dict[str, Permit] = {}

    async def authenticate(self, _header: str | None, _peer: str, _: Certificate | None = None, /) -> Identity:
        return NOBODY

    def recognised(self, _header: str | None, _peer: str, _: Certificate | None = None, /) -> Identity:
        return NOBODY

    def remembered(self, _identity: Identity, repository: RepositoryName, _action: Action, /) -> Permit | None:
        return self._permits.get(repository.value)

    async def permit(self, identity: Identity, repository: RepositoryName, _action: Action, /) -> Permit:
        found = self._permits.get(repository.value)
        if found is None:
            if len(self._permits) > 8192:
                self._permits.clear()
            found = self._permits[repository.value] = Permit(identity.actor, repository, EVERYTHING, SEAL)
        return found

    async def permit_catalog(self, identity: Identity, /) -> CatalogPermit:
        return CatalogPermit(identity.actor, None, SEAL)

    async def visible(self, _identity: Identity, names: Sequence[RepositoryName], /) -> list[RepositoryName]:
        return list(names)


class NoCredentials:
    """Proves nobody: where whoever asks was proved in another way."""

    async def identify(self, _header: str, _peer: str, /) -> Identity:
        raise RegistryError(Code.UNAUTHORIZED, "nobody signs in here")

    def version(self) -> object:
        return None


class Authority:
    """The rules of a registry that knows who is asking."""

    def __init__(
        self, db: Database, identifies: Identifies, now: Callable[[], int], passwords: Passwords | None = None
    ) -> None:
        self._db, self._identifies, self._now, self._passwords = db, identifies, now, passwords
        self._memory = Memory(None)
        self._looked = 0.0
        self.notes = passwords.notes if passwords is not None else Notes()
        """What is written to the outbox in the next round of `watch`."""

    async def authenticate(self, header: str | None, peer: str, certificate: Certificate | None = None, /) -> Identity:
        identity = self.recognised(header, peer, certificate)
        if identity is None:
            credentials = header if header is not None else certificate
            assert credentials is not None
            memory = self._memory_now()
            identity = await self._identify(credentials, peer)
            memory.remember_identity(credentials, identity)
            if identity.token_id is not None:
                self.notes.use(identity.token_id, identity.actor.name, peer)
        return identity

    def recognised(self, header: str | None, peer: str, certificate: Certificate | None = None, /) -> Identity | None:
        credentials = header if header is not None else certificate
        if credentials is None:
            return NOBODY
        identity = self._memory_now().identity(credentials, time.time())
        if identity is None:
            return None
        if identity.by_password and self._passwords is not None:
            # Or whoever has guessed too often could guess on among the passwords that are remembered.
            self._passwords.again(identity.actor.name, peer)
        if identity.token_id is not None:
            self.notes.use(identity.token_id, identity.actor.name, peer)
        return identity

    async def _identify(self, credentials: str | Certificate, peer: str) -> Identity:
        if isinstance(credentials, Certificate):
            identity = await self._db.read(certified, credentials, self._now())
            if identity.unproved:
                self.notes.fail(RegistryError(Code.UNAUTHORIZED, identity.unproved), peer)
            return identity
        try:
            return await self._identifies.identify(credentials, peer)
        except RegistryError as error:
            if error.code is Code.UNAUTHORIZED:
                self.notes.fail(error, peer)
            raise

    async def permit(self, identity: Identity, repository: RepositoryName, action: Action, /) -> Permit:
        found = self.remembered(identity, repository, action)
        if found is not None:
            return found
        memory = self._memory_now()
        actions, lasting = await self._db.read(_decided, identity, repository, self._now())
        left = actions if identity.asked is None else actions & identity.asked.on(repository)
        if action in left:
            made = Permit(identity.actor, repository, left, SEAL)
            if lasting:
                memory.remember_permit(identity, made)
            return made
        raise self._refused(identity, repository, action, actions)

    def remembered(self, identity: Identity, repository: RepositoryName, action: Action, /) -> Permit | None:
        found = self._memory_now().permit(identity, repository)
        return found if found is not None and action in found.actions else None

    async def permit_manage(self, identity: Identity, repository: RepositoryName, /) -> Permit:
        """A permit to say who may do what in a repository, and how visible it is; with it come the actor's others.

        Raises UNAUTHORIZED, DENIED, or NAME_UNKNOWN where the actor may not even know of it.  What a bearer token
        was asked for is not looked at: that it was asked for the API, `moorage.access.management` has seen.
        """
        actions, _ = await self._db.read(_decided, identity, repository, self._now())
        if Action.MANAGE in actions:
            return Permit(identity.actor, repository, actions, SEAL)
        seen = Action.PULL in actions
        raise self._refused(identity, repository, Action.MANAGE if seen else Action.PULL, actions - {Action.PULL})

    def _refused(
        self, identity: Identity, repository: RepositoryName, action: Action, actions: frozenset[Action]
    ) -> RegistryError:
        if action in actions:
            return refusal.ask_for_more(identity, repository, action)
        if not identity.actor.signed_in:
            return refusal.sign_in_first(identity, repository, action)
        if identity.vouched:  # only the token service knows whether a token asked for more would cover it
            return refusal.ask_for_more(identity, repository, action)
        if action is Action.PULL:
            return refusal.unknown(repository)
        self.notes.add("access.denied", identity.actor.name, repository.value, action=action.value)
        return refusal.denied(identity, repository, action, limited=identity.limit is not None)

    async def permit_catalog(self, identity: Identity, /) -> CatalogPermit:
        covered = identity.asked is None or identity.asked.catalog
        if not covered or not (identity.actor.signed_in or identity.vouched):
            raise refusal.no_catalog(identity)
        return CatalogPermit(identity.actor, None if _sees_all(identity) else partial(self.visible, identity), SEAL)

    async def visible(self, identity: Identity, names: Sequence[RepositoryName], /) -> list[RepositoryName]:
        if _sees_all(identity):
            return list(names)
        return await self._db.scan(_visible, identity, names, self._now())

    async def grant(self, identity: Identity, wanted: Scopes) -> Scopes:
        """Of the scopes that a token is asked for, those that the actor may have."""
        found = {}
        for repository, words in wanted.repositories.items():
            actions, _ = await self._db.read(_decided, identity, repository, self._now())
            if some := granted(words, actions):
                found[repository] = some
        return Scopes(found, wanted.catalog and identity.actor.signed_in, wanted.api and identity.actor.signed_in)

    def forget(self) -> None:
        """Believe nothing remembered: what this process has just changed bites at once."""
        self._memory = Memory(None)

    async def watch(self) -> None:
        """Look at the access generation in its rhythm, and write down which tokens were used; until cancelled."""
        while True:
            try:
                await self.look()
                if (taken := self.notes.take()) is not None:
                    await self._db.write(write, *taken, self._now(), durable=False)
            except RegistryError as error:
                log.warning("the access generation could not be read", error=error.message)
            except Exception:  # whatever it is: nothing would be remembered any more
                log.exception("the access generation could not be read")
            await asyncio.sleep(RHYTHM)

    async def look(self) -> None:
        """See now whether what is remembered still stands, instead of within a second."""
        began = time.monotonic()
        found = (await self._db.read(generation.current), self._identifies.version())
        if found != self._memory.generation:
            self._memory = Memory(found)
        self._looked = began

    def _memory_now(self) -> Memory:
        if time.monotonic() > self._looked + BLIND:
            return Memory(None)
        return self._memory


def explain(tx: Tx, actor: Actor, repository: RepositoryName, now: int) -> list[Reason]:
    """Every reason that gives an actor something on a repository, in words that people know: the whole derivation."""
    called = [replace(one, called=_called(tx, actor, one.subject)) for one in _grants(tx, actor, repository)]
    return reasons(actor, repository, grants.visibility(tx, repository.value), called, now)


def _called(tx: Tx, actor: Actor, subject: str) -> str:
    if subject == f"account:{actor.id}":
        return actor.name
    kind, _, identity = subject.partition(":")
    return f"the team {teams.called(tx, int(identity))}" if kind == "team" else subject


def _decided(tx: Tx, identity: Identity, repository: RepositoryName, now: int) -> tuple[frozenset[Action], bool]:
    """The actions, and whether that stands until the access generation changes.

    It does not where a grant ends by the clock, nor for a repository that does not exist: the first push makes it,
    perhaps for everybody, and changes no generation.
    """
    visibility = grants.visibility(tx, repository.value)
    applying = _applying(tx, identity, repository)
    lasting = visibility is not None and all(one.expires_at is None for one in applying)
    return decide(identity, repository, visibility, applying, now), lasting


def _applying(tx: Tx, identity: Identity, repository: RepositoryName) -> list[Grant]:
    return [] if identity.vouched else _grants(tx, identity.actor, repository)


def _grants(tx: Tx, actor: Actor, repository: RepositoryName) -> list[Grant]:
    return [
        Grant(subject, Pattern.parse(pattern), parse_actions(actions), ends)
        for subject, pattern, actions, ends in grants.applying(tx, repository.owner, actor.subjects)
    ]


def _sees_all(identity: Identity) -> bool:
    return identity.actor.admin and identity.limit is None and not identity.vouched


def _visible(tx: Tx, identity: Identity, names: Sequence[RepositoryName], now: int) -> list[RepositoryName]:
    visibilities = grants.visibilities(tx, [name.value for name in names])
    of_owner = {owner: _applying(tx, identity, name) for owner, name in {one.owner: one for one in names}.items()}
    return [
        name
        for name in names
        if Action.PULL in decide(identity, name, visibilities.get(name.value), of_owner[name.owner], now)
    ]


_: tuple[type[Rules], ...] = (OpenRules, Authority)
