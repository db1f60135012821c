"""Composition: settings become a running registry.  The one page that knows everyone."""

import asyncio
import re
from collections.abc import Awaitable, Callable, Coroutine, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from moorage.access.bearer import Bearer
from moorage.access.credentials import Credentials
from moorage.access.external import external
from moorage.access.first import PASSWORD_FILE, first_administrator, sealing_secret
from moorage.access.htpasswd import Htpasswd
from moorage.access.keys import KeyRing
from moorage.access.offline import Offline
from moorage.access.passwords import Passwords
from moorage.access.rules import Authority, NoCredentials, OpenRules, Rules
from moorage.core.identity import is_known, recognise
from moorage.core.intake import in_thread
from moorage.core.registry import Policy, Registry
from moorage.db.aftermath import check_after_crash
from moorage.db.apart import apart
from moorage.db.ballast import SIZE as BALLAST
from moorage.db.engine import Database, open_database, parse_url
from moorage.db.link import is_damaged
from moorage.db.migrate import current, migrate
from moorage.db.migrations.head import HEAD
from moorage.edge.api.bridge import Api
from moorage.edge.challenge import Challenge
from moorage.edge.dress import with_headers
from moorage.edge.http import Handler, Observer, Request, Response
from moorage.edge.meter import Meter
from moorage.edge.ops import front, private
from moorage.edge.token import TokenEndpoint
from moorage.edge.v2.lists import catalog
from moorage.edge.v2.routes import V2, Router
from moorage.edge.v2.table import ROWS
from moorage.errors import Code, RegistryError
from moorage.features.accounts.desk import Desk
from moorage.features.gc.job import Windows, collector, purger, sweeper
from moorage.features.integrity.scrub import Pace, scrubber
from moorage.features.integrity.watch import Watch
from moorage.jobs.job import Job
from moorage.jobs.worker import run as run_jobs
from moorage.storage.filesystem import FilesystemStore
from moorage.storage.memory import MemoryStore
from moorage.telemetry import access_log, exposition, logger, redact_text, redact_url
from moorage.telemetry.exchanges import Exchanges

if TYPE_CHECKING:
    from moorage.settings import Settings
    from moorage.settings.model import Token
    from moorage.telemetry.tallies import Tallies

log: Final = logger("moorage")

SERVICE: Final = "moorage"
"""What the registry is called in challenges and tokens."""


@dataclass(frozen=True, slots=True)
class Application:
    """A registry that is ready to serve."""

    handler: Handler
    private: Handler
    """What the debug address serves."""
    registry: Registry
    observe: Observer
    work: Callable[[], Awaitable[None]]
    """Runs the background jobs until cancelled; returns where there is nothing to do."""
    close: Callable[[], Awaitable[None]]
    first_password: Path | None = None
    """Where the password lies that was made up for the first administrator, at this very start."""


@dataclass(frozen=True, slots=True)
class Doors:
    """Who may come in, and how they are asked."""

    rules: Rules
    challenge: Challenge | None = None
    tokens: TokenEndpoint | None = None
    watch: Callable[[], Coroutine[Any, Any, None]] | None = None
    first_password: Path | None = None
    desk: Desk | None = None


@dataclass(frozen=True, slots=True)
class Duty:
    """What falls to this process, where several of one machine serve the same registry together."""

    number: int = 0
    """Number 0 runs the background jobs."""
    first: bool = True
    """Whether nobody else has opened the registry yet: the database is looked at, and its schema brought up to date."""
    damaged: "memoryview[int] | None" = None
    """What all know of the database's file: of this, see `Watch`."""
    tallies: "Tallies | None" = None
    """Where all write down what they have counted."""


ALONE: Final = Duty()


def build(settings: "Settings", duty: Duty = ALONE) -> Application:
    """Open rows and bytes, bring the schema up to date, and put the floors together.  Raises RegistryError."""
    db = _database(settings.database_url, checked=not duty.first)
    store = MemoryStore() if settings.ephemeral else FilesystemStore(Path(settings.blobs))
    registry = Registry(db, store, _policy(settings))
    if not settings.ephemeral:
        recognise(db, store, settings.blobs_in_words, registry.now())
    watch = Watch(db, duty.damaged)
    jobs = _jobs(registry, settings, watch) if duty.number == 0 else []
    meter = _meter(settings)
    doors = _doors(settings, registry, meter)
    lists = V2(settings.catalog.maxentries, settings.tags.maxtags, settings.http.accel)
    router = Router(registry, doors.rules, ROWS, catalog, lists, doors.challenge, meter)

    async def database_check() -> None:
        await db.ping()
        await watch.check()

    async def storage_check() -> None:
        await in_thread(store.check)

    async def work() -> None:
        # The server's lock keeps others away from SQLite's rows, and of its processes one runs jobs.
        running = [run_jobs(db, jobs, registry.now, alone=db.dialect == "sqlite")] if jobs else []
        if duty.tallies is not None:
            running.append(_count(duty.tallies, duty.number))
        async with asyncio.TaskGroup() as group:
            for one in [*running, *([doors.watch()] if doors.watch else [])]:
                group.create_task(one)

    async def close() -> None:
        await db.close()
        store.close()

    checks = {"database": database_check, "storage": storage_check}
    api = Api(doors.desk, doors.challenge, meter).respond if doors.desk is not None else None
    handler = front(router.respond, checks, settings.http.prefix, doors.tokens, api)
    if meter is not None:
        handler = meter.dress(handler)
    if settings.http.further_headers:
        handler = with_headers(settings.http.further_headers, handler)
    prometheus = settings.http.debug.prometheus
    expose = partial(duty.tallies.exposition, duty.number) if duty.tallies is not None else exposition
    aside = private(checks, prometheus.path if prometheus.enabled else None, expose)
    return Application(handler, aside, registry, _observer(), work, close, doors.first_password)


def _meter(settings: "Settings") -> Meter | None:
    rates = settings.limits.rates
    if rates.anonymous is None and rates.signed_in is None:
        return None
    from moorage.access.rates import Rates

    return Meter(Rates(rates.anonymous, rates.signed_in))


def _doors(settings: "Settings", registry: Registry, meter: Meter | None) -> Doors:
    if settings.auth.open:
        return Doors(OpenRules())
    db, now = registry.db, registry.now
    passwords = Passwords()
    if settings.auth.htpasswd is not None:
        known = Authority(db, Htpasswd(settings.auth.htpasswd.path, passwords), now, passwords)
        return Doors(known, Challenge("Basic", settings.auth.htpasswd.realm), watch=known.watch)
    if settings.auth.token is not None:
        return _outside(settings.auth.token, registry)
    made = first_administrator(db, passwords, settings.data, settings.admin.password, now())
    keys = KeyRing(db, sealing_secret(settings.data, settings.http.secret), now)
    bearer = Bearer(keys, SERVICE, int(settings.auth.tokenlife.total_seconds()), now)
    credentials = Credentials(db, passwords, bearer, now)
    authority = Authority(db, credentials, now, passwords)
    endpoint = TokenEndpoint(authority, credentials, bearer, Offline(db, now, settings.auth.refreshtokens), meter)
    realm = f"{settings.http.host.rstrip('/')}/token" if settings.http.host else None
    first = settings.data / PASSWORD_FILE if made else None
    desk = _desk(settings, registry, authority, passwords)
    return Doors(authority, Challenge("Bearer", SERVICE, realm), endpoint, authority.watch, first, desk)


def _desk(settings: "Settings", registry: Registry, authority: Authority, passwords: Passwords) -> Desk:
    longest = settings.accounts.tokenlife
    life = _microseconds(longest) if longest is not None else None
    return Desk(registry, authority, passwords, settings.data, settings.accounts.signup, life)


def beside(settings: "Settings") -> tuple[Api, Database]:
    """The management API on the rows themselves, for whoever has the data folder; a server may run meanwhile.

    It is asked by `Api.answer`, and the database is the caller's to close.  Raises UNAVAILABLE where there is nothing
    yet, or what there is another version's.
    """
    db = existing(settings, ", or, to manage accounts elsewhere, name a server with --host")
    registry = Registry(db, MemoryStore(), _policy(settings))
    return Api(_desk(settings, registry, Authority(db, NoCredentials(), registry.now), Passwords())), db


def _outside(token: "Token", registry: Registry) -> Doors:
    """Docker Registry's `auth.token`: somebody else decides, and we believe what they sign."""
    algorithms = tuple(token.signingalgorithms)
    believed = external(token.issuer, token.service, algorithms, token.rootcertbundle, token.jwks)
    authority = Authority(registry.db, believed, registry.now)
    realm = None if token.autoredirect else token.realm
    return Doors(authority, Challenge("Bearer", token.service, realm, token.autoredirectpath), watch=authority.watch)


def open_registry(settings: "Settings") -> Registry:
    """Rows and bytes of a registry that is there already, perhaps beside its server, for commands.

    Neither is made, moved or migrated.  Raises RegistryError that says what is missing, or belongs to others.
    """
    if settings.ephemeral:
        raise RegistryError(Code.UNAVAILABLE, "this registry keeps its blobs in memory: only its server can reach them")
    db = existing(settings)
    if not (settings.blobs / "blobs").is_dir():
        db.close_now()
        raise RegistryError(
            Code.UNAVAILABLE, f"there are no blobs in {settings.blobs_in_words}; name its --data or --config"
        )
    store = FilesystemStore(settings.blobs)
    try:
        is_known(db, store, settings.blobs_in_words)
    except RegistryError:
        db.close_now()
        store.close()
        raise
    return Registry(db, store, _policy(settings))


def existing(settings: "Settings", otherwise: str = "") -> Database:
    """The database of a registry that is there, at this version's schema.

    Raises UNAVAILABLE, which says what to name: its data, or what else the command takes.
    """
    url = parse_url(settings.database_url)
    if url.drivername == "sqlite" and not Path(url.database or "").exists():
        raise RegistryError(
            Code.UNAVAILABLE, f"there is no registry: {url.database} is missing; name its --data{otherwise}"
        )
    with _explained(settings.database_url):
        revision = current(settings.database_url)
        if revision != HEAD:
            raise RegistryError(
                Code.UNAVAILABLE, f"its schema is at {revision}, not {HEAD}; `moorage serve` migrates it"
            )
        return open_database(settings.database_url)


async def _count(tallies: "Tallies", number: int) -> None:
    """Write down what this process has counted, in a rhythm and at its end."""
    from moorage.telemetry.tallies import RHYTHM

    def put() -> None:
        try:
            tallies.put(number)
        except Exception:  # where memory has run out, say
            log.exception("what was counted could not be written down")

    try:
        while True:
            await in_thread(put)
            await asyncio.sleep(RHYTHM)
    finally:
        put()


def _database(url: str, *, checked: bool) -> Database:
    """The database, with the schema that this program needs.  Raises RegistryError that says which, and why not."""
    if not checked:
        with _explained(url):
            check_after_crash(url)
            due = current(url) != HEAD
        if due:  # or Alembic and all that it imports would be kept in memory
            apart(_migrate, url)
    with _explained(url):
        return open_database(url, ballast=BALLAST)


def _migrate(url: str) -> bool:
    with _explained(url):
        return migrate(url)


@contextmanager
def _explained(url: str) -> Iterator[None]:
    """Say which database a failure was about, and why."""
    try:
        yield
    except RegistryError as error:
        # There is no client yet whom the driver's own words would tell too much.
        cause = getattr(error.__cause__, "orig", error.__cause__)
        if cause is None or isinstance(cause, RegistryError | OSError):
            why = error.message
        else:
            why = redact_text(" ".join(str(cause).split()))
            if is_damaged(error.__cause__):
                why = f"{error.message} ({why})"
        raise RegistryError(error.code, f"the database {redact_url(url)} cannot be used: {why}") from error


def _policy(settings: "Settings") -> Policy:
    validation = settings.validation
    return Policy(
        sparse=validation.sparse,
        platforms=validation.platforms,
        delete=settings.storage.delete.enabled,
        read_only=settings.storage.maintenance.readonly.enabled,
        urls_allowed=validation.urls.allow,
        urls_denied=validation.urls.deny,
        manifest_bytes=settings.limits.manifest_bytes,
        tags_per_push=settings.limits.tags_per_push,
        lease=_microseconds(settings.gc.window),
        undo=_microseconds(settings.gc.undo),
        reserve=settings.storage.reserve,
    )


def _jobs(registry: Registry, settings: "Settings", watch: Watch) -> list[Job]:
    """What runs in the background.  A read-only registry changes nothing by itself either."""
    purging = settings.storage.maintenance.uploadpurging
    windows = Windows(
        trash=_microseconds(settings.gc.trash),
        interval=_microseconds(settings.gc.interval),
        upload_age=_microseconds(purging.age),
        upload_interval=_microseconds(purging.interval),
        orphan_interval=_microseconds(settings.gc.orphans),
        gap=max(_MINUTE, 2 * _microseconds(settings.gc.interval if settings.gc.enabled else purging.interval)),
        breaker=settings.gc.breaker,
    )
    if registry.policy.read_only:
        return []
    jobs = [collector(registry, windows), sweeper(registry, windows)] if settings.gc.enabled else []
    if purging.enabled:
        jobs.append(purger(registry, windows, dry=purging.dryrun))
    scrub = settings.scrub
    if scrub.enabled:
        pace = Pace(_microseconds(scrub.period), _microseconds(scrub.interval), scrub.rate)
        jobs += [scrubber(registry, pace), watch.job()]
    return jobs


_MINUTE: Final = 60_000_000


def _microseconds(span: timedelta) -> int:
    return span // timedelta(microseconds=1)


_EXCHANGES: Final = Exchanges()


def _observer() -> Observer:
    """Counts every exchange, and writes its line where access lines are wanted."""
    write = access_log()

    def observe(request: Request, response: Response, sent: int, seconds: float) -> None:
        method = request.method if request.method in _METHODS else "other"
        _EXCHANGES.add(method, request.route or "other", response.status, sent, seconds)
        if write is not None:
            write(
                request_id=request.id,
                method=request.method,
                path=request.route or request.path,
                status=response.status,
                seconds=seconds,
                size=sent,
                ip=request.peer,
                ua=request.header("user-agent") or "",
                actor=str(request.facts.get("actor", "")),
                repo=str(request.facts.get("repo", "")),
                ref=str(request.facts.get("ref", "")),
                trace_id=_trace_id(request),
            )

    return observe


def _trace_id(request: Request) -> str:
    """The trace that the client says this request is part of (W3C Trace Context)."""
    found = _TRACEPARENT.fullmatch(request.header("traceparent") or "")
    return found[1] if found else ""


_TRACEPARENT: Final = re.compile("[0-9a-f]{2}-(?!0{32})([0-9a-f]{32})-[0-9a-f]{16}-[0-9a-f]{2}")
_METHODS: Final = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE"})
