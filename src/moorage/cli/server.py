"""A registry in this process, or in several, until it is told to stop."""

import ctypes
import os
import sys
from contextlib import suppress
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Final

import uvloop

from moorage import telemetry
from moorage.access.first import PASSWORD_FILE
from moorage.app import ALONE, Application, Duty
from moorage.cli import serving
from moorage.cli.cpus import usable_cpus
from moorage.cli.greeting import greet
from moorage.cli.lock import lock
from moorage.cli.serving import Places, Team, take_places
from moorage.edge.server.turns import Turns, shared_numbers

if TYPE_CHECKING:
    from moorage.settings import Loaded, Settings

_M_MMAP_THRESHOLD: Final = -3
_LARGE: Final = 1024 * 1024


def run(loaded: "Loaded", listen: str | None) -> None:
    """Serve by the settings, at `listen` if they are not to say where."""
    settings = loaded.settings
    sys.stdout, sys.stderr = telemetry.patient(sys.stdout), telemetry.patient(sys.stderr)
    telemetry.configure(
        settings.log.level,
        settings.log.formatter,
        sys.stderr,
        fields=settings.log.fields,
        access=not settings.log.accesslog.disabled,
    )
    _announce(loaded)
    guard = lock(settings)
    sys.setswitchinterval(0.0005)
    _free_large_blocks()
    try:
        places = take_places(settings, listen or settings.http.addr)
        count = _workers(settings)
        if count == 1:
            _serve_alone(settings, places)
        else:
            _serve_together(settings, places, count)
    finally:
        if guard is not None:
            os.close(guard)


def _serve_alone(settings: "Settings", places: Places) -> None:
    def started(application: Application) -> None:
        _greet(settings, places, application.first_password)

    uvloop.run(serving.serve(settings, places, started, ALONE))


def _serve_together(settings: "Settings", places: Places, count: int) -> None:
    """Be the parent of so many workers.  What they share is made here, before any of them."""
    from moorage.cli.crew import AT_ONCE, Crew, report_ready
    from moorage.telemetry.tallies import Tallies

    listening, connections, damaged, made = map(shared_numbers, (count, count, 1, 1))
    debug = settings.http.debug
    tallies = Tallies(count) if debug.addr is not None and debug.prometheus.enabled else None
    _import_ahead(settings)

    def work(number: int, first: bool) -> None:
        def started(application: Application) -> None:
            made[0] = made[0] or application.first_password is not None
            report_ready()

        duty = Duty(number, first, damaged, tallies)
        uvloop.run(
            serving.serve(settings, places, started, duty, Team(count, Turns(listening, connections, number), AT_ONCE))
        )

    def greet_all() -> None:
        _greet(settings, places, settings.data / PASSWORD_FILE if made[0] else None)

    def bury(number: int) -> None:
        listening[number] = connections[number] = 0
        if tallies is not None:
            tallies.bury(number)

    Crew(listening, work, greet=greet_all, leave=places.close, bury=bury).run()


def _import_ahead(settings: "Settings") -> None:
    """Import what every worker will sooner or later, so that they have it in common."""
    kind = settings.database_url.partition(":")[0]
    metrics = settings.http.debug.prometheus.enabled
    accounts = settings.auth.provider is None and not settings.auth.open
    names = [f"moorage.db.{kind}", *(["prometheus_client"] if metrics else []), *(_SIGNING_IN if accounts else ())]
    for name in names:
        import_module(name)


_SIGNING_IN: Final = ("argon2", "cryptography.fernet", "jwt")


def _greet(settings: "Settings", places: Places, first_password: Path | None) -> None:
    debug = places.debug.url if places.debug is not None else None
    greet(settings, places.front.url, places.front.name, debug, first_password)


def _workers(settings: "Settings") -> int:
    """How many processes are to serve."""
    if settings.http.workers != "auto":
        return settings.http.workers
    return 1 if settings.ephemeral else usable_cpus()


def _free_large_blocks() -> None:
    """Have what is large, such as the 19 MiB of a password's hash, go back to the system when it is freed.

    By itself glibc learns from the first such block to keep all later ones, in each thread's own heap.
    """
    with suppress(OSError, AttributeError):  # another C library
        ctypes.CDLL(None).mallopt(_M_MMAP_THRESHOLD, _LARGE)


def _announce(loaded: "Loaded") -> None:
    log = telemetry.logger("moorage")
    for line in loaded.warnings:
        log.warning(line)
    for line in loaded.ignored:
        log.warning("a setting is ignored", setting=line)
    for line in loaded.notices:
        log.info(line)
