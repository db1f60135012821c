"""One process that serves: alone, or with others of the same registry."""

import asyncio
import os
import resource
import signal
import socket
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from moorage.app import Application, Duty, build
from moorage.cli.addresses import check_apart, host_and_port
from moorage.cli.tls import renew_certificate, tls_context
from moorage.edge.server import Admission, Limits, Server
from moorage.edge.server.binding import bound, bound_unix
from moorage.edge.server.signals import STOP, run_until_signalled
from moorage.edge.server.turns import Turns
from moorage.errors import Code, RegistryError
from moorage.telemetry import logger, retry

if TYPE_CHECKING:
    from moorage.settings import Settings
    from moorage.settings.model import Limits as Asked

log: Final = logger("moorage")

_THREADS: Final = 8
_OWN_FILES: Final = 100
"""File descriptors for databases, libraries and the loop."""
_IDLE: Final = 1.0
_BEHIND: Final = 0.05
"""Seconds between two looks at what the log's reader has not taken: while there is nothing, and while there is."""


@dataclass(frozen=True, slots=True)
class Place:
    """Where to listen."""

    text: str
    setting: str
    """What to change where that cannot be done."""
    scheme: str
    sockets: list[socket.socket]

    @property
    def url(self) -> str:
        if self.text.startswith("/"):
            return f"{self.scheme}+unix://{self.text}"
        host, port, *_ = self.sockets[0].getsockname()
        return f"{self.scheme}://{host}:{port}"

    @property
    def name(self) -> str:
        """What docker knows it by."""
        if self.text.startswith("/"):
            return "localhost"
        host, port, *_ = self.sockets[0].getsockname()
        return f"{'localhost' if host in _THIS_MACHINE else host}:{port}"


_THIS_MACHINE: Final = frozenset({"127.0.0.1", "0.0.0.0", "::"})  # noqa: S104 - only compared


@dataclass(frozen=True, slots=True)
class Places:
    """Where a registry listens, and where what is private to its operator."""

    front: Place
    debug: Place | None

    def close(self) -> None:
        """Let go of them: who waits to be accepted is refused once every process has."""
        for place in (self.front, self.debug):
            for one in place.sockets if place is not None else ():
                one.close()


@dataclass(frozen=True, slots=True)
class Team:
    """What one of several processes shares with the others: `size` of them."""

    size: int
    turns: Turns
    at_once: signal.Signals
    """The signal after which nothing is waited for."""


def take_places(settings: "Settings", listen: str) -> Places:
    """Bind everything; nobody is let in yet.  Raises REQUEST_INVALID, UNAVAILABLE, which name the setting to change."""
    debug = settings.http.debug.addr
    check_apart(listen, debug)
    front = _place(listen, "--listen", "https" if settings.http.tls.certificate else "http")
    return Places(front, _place(debug, "http.debug.addr", "http") if debug is not None else None)


async def serve(
    settings: "Settings",
    places: Places,
    started: Callable[[Application], None],
    duty: Duty,
    team: Team | None = None,
) -> None:
    """Serve until told to stop.  `started` is called once there is an answer for everybody.

    Raises UNAVAILABLE where the background work has ended: this process then ends too, and is replaced by whoever
    watches over it, instead of serving on as half a registry.
    """
    loop = asyncio.get_running_loop()
    writing = asyncio.ensure_future(_write_on())
    loop.set_default_executor(ThreadPoolExecutor(_THREADS, thread_name_prefix="bytes"))
    application = build(settings, duty)
    server = Server(
        application.handler,
        limits=_limits(settings.limits, team.size if team is not None else 1),
        observe=application.observe,
        trusted_proxies=settings.http.trusted_proxies,
        admission=Admission(settings.http.allow, settings.http.deny, "http"),
        certificates=settings.auth.certificates,
        turns=team.turns if team is not None else None,
    )
    debug = None
    try:
        tls = tls_context(settings.http.tls)
        with _named(places.front):
            await server.listen_on(places.front.sockets, tls)
        if places.debug is not None:
            debug = await _debug(application, settings, places.debug, serves=duty.number == 0)
    except BaseException:
        server.abort()
        await application.close()
        raise
    working = asyncio.ensure_future(_work(application))
    await run_until_signalled(
        server,
        seconds=settings.http.draintimeout.total_seconds(),
        reload=lambda: renew_certificate(server, settings.http.tls) if tls else None,
        started=lambda: started(application),
        stop=STOP if team is None else (signal.SIGTERM,),
        at_once=team.at_once if team is not None else None,
        beside=working,
    )
    if debug is not None:
        debug.abort()
    writing.cancel()
    working.cancel()
    (ended,) = await asyncio.gather(working, return_exceptions=True)
    await application.close()
    if isinstance(ended, Exception):
        raise ended


async def _write_on() -> None:
    """Write what is left of the log when somebody reads it again, also where nothing more happens."""
    while True:  # noqa: ASYNC110 - it is a reader elsewhere who is waited for
        await asyncio.sleep(_IDLE if retry() else _BEHIND)


async def _work(application: Application) -> None:
    """Do in the background what falls to this process, until cancelled.  Raises UNAVAILABLE where that ends early."""
    try:
        await application.work()
    except Exception as error:
        log.exception("the background work has ended, and so does this process")
        raise RegistryError(Code.UNAVAILABLE, "the background work has ended by a fault; the log says more") from error
    await asyncio.get_running_loop().create_future()


def _limits(asked: "Asked", processes: int) -> Limits:
    return Limits(
        header_bytes=asked.header_bytes,
        header_seconds=asked.header_seconds,
        idle_seconds=asked.idle_seconds,
        body_seconds=asked.body_seconds,
        send_seconds=asked.send_seconds,
        connections=-(-asked.connections // processes) if asked.connections else _seats(),
    )


def _seats() -> int:
    """How many connections there are file descriptors for: one that sends a blob has three."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != hard:
        with suppress(OSError, ValueError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
            soft = hard
    return max(16, (soft - _OWN_FILES) // 3)


async def _debug(application: Application, settings: "Settings", place: Place, *, serves: bool) -> Server | None:
    """The server of the debug address; None in a process that leaves that to another."""
    if not serves:
        for one in place.sockets:
            one.close()
        return None
    debug = settings.http.debug
    server = Server(
        application.private,
        trusted_proxies=settings.http.trusted_proxies,
        admission=Admission(debug.allow, debug.deny, "http.debug"),
    )
    with _named(place):
        await server.listen_on(place.sockets)
    return server


def _place(text: str, setting: str, scheme: str) -> Place:
    place = Place(text, setting, scheme, [])
    with _named(place):
        place.sockets.extend([bound_unix(text)] if text.startswith("/") else bound(*host_and_port(text)))
    return place


@contextmanager
def _named(place: Place) -> Iterator[None]:
    """Say which place it was that could not be listened on."""
    try:
        yield
    except OSError as reason:
        raise RegistryError(
            Code.UNAVAILABLE,
            f"cannot listen on {place.text}: {_strerror(reason)}; choose another with {place.setting}",
        ) from reason


def _strerror(reason: OSError) -> str:
    """The system's own words; asyncio puts the address into them once more."""
    plain = reason.errno is not None and reason.errno > 0 and not isinstance(reason, socket.gaierror)
    return os.strerror(reason.errno or 0) if plain else str(reason.strerror or reason)
