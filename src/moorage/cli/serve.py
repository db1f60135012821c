"""`moorage serve`: a registry in this process, until it is told to stop."""

import asyncio
import ctypes
import os
import resource
import socket
import ssl
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Annotated, Final

import typer
import uvloop

from moorage import telemetry
from moorage.app import Application, build
from moorage.cli.data import lock
from moorage.cli.greeting import greet
from moorage.cli.tls import renew_certificate, tls_context
from moorage.edge.server import Admission, Limits, Server
from moorage.edge.server.signals import run_until_signalled
from moorage.errors import Code, RegistryError
from moorage.settings import Loaded, Settings, load

_THREADS: Final = 8
_M_MMAP_THRESHOLD: Final = -3
_LARGE: Final = 1024 * 1024
_OWN_FILES: Final = 100
"""File descriptors for databases, libraries and the loop."""


def serve(
    config: Annotated[
        Path | None, typer.Option(help="A config.yml, with Docker Registry's keys; without it, one in /etc, if any.")
    ] = None,
    data: Annotated[
        Path | None,
        typer.Option(
            help="The folder for everything; /var/lib/registry by default, or one in your home where that is not "
            "writable."
        ),
    ] = None,
    listen: Annotated[
        str | None,
        typer.Option(help="HOST:PORT, or the path of a socket; 127.0.0.1:5000 by default: this machine alone."),
    ] = None,
    *,
    open_: Annotated[
        bool,
        typer.Option(
            "--open",
            help="Let anyone who reaches the registry push, pull and delete: for laboratories.",
        ),
    ] = False,
) -> None:
    """Run a registry."""
    loaded = load(config, overrides={"data": str(data) if data else None, "auth.open": open_ or None})
    settings = loaded.settings
    if settings.auth.silly is not None:
        raise RegistryError(Code.DENIED, _silly(loaded.source))
    if settings.ephemeral:
        settings = settings.moved(Path(tempfile.mkdtemp(prefix="moorage-")))
    telemetry.configure(
        settings.log.level,
        settings.log.formatter,
        sys.stderr,
        fields=settings.log.fields,
        access=not settings.log.accesslog.disabled,
    )
    _announce(loaded)
    guard = lock(settings)
    place = listen or settings.http.addr
    sys.setswitchinterval(0.0005)
    _give_memory_back()
    try:
        uvloop.run(_serve(settings, place))
    finally:
        if guard is not None:
            os.close(guard)


def _give_memory_back() -> None:
    """Have what is large, such as the 19 MiB of a password's hash, go back to the system when it is freed.

    By itself glibc learns from the first such block to keep all later ones, in each thread's own heap.
    """
    with suppress(OSError, AttributeError):  # another C library
        ctypes.CDLL(None).mallopt(_M_MMAP_THRESHOLD, _LARGE)


def _silly(source: Path | None) -> str:
    return (
        f"auth.silly is configured ({source or 'environment'}): it lets in whoever sends an Authorization header, "
        "so it is refused; leave it away to use the registry's own accounts, or start a laboratory with --open"
    )


def _announce(loaded: Loaded) -> None:
    log = telemetry.logger("moorage")
    for line in loaded.warnings:
        log.warning(line)
    for line in loaded.ignored:
        log.warning("a setting is ignored", setting=line)
    for line in loaded.notices:
        log.info(line)


def _address(text: str) -> tuple[str, int]:
    host, colon, port = text.rpartition(":")
    if not colon or not port.isdigit() or int(port) > 65535:
        raise RegistryError(Code.REQUEST_INVALID, f"cannot listen on {text!a}: write HOST:PORT, as in 127.0.0.1:5000")
    return host.strip("[]") or "0.0.0.0", int(port)  # noqa: S104 - what Docker Registry's ':5000' means


async def _serve(settings: Settings, place: str) -> None:
    loop = asyncio.get_running_loop()
    loop.set_default_executor(ThreadPoolExecutor(_THREADS, thread_name_prefix="bytes"))
    application = build(settings)
    server = Server(
        application.handler,
        limits=_limits(settings),
        observe=application.observe,
        trusted_proxies=settings.http.trusted_proxies,
        admission=Admission(settings.http.allow, settings.http.deny, "http"),
        certificates=settings.auth.certificates,
    )
    tls = tls_context(settings.http.tls)
    try:
        url, name = await _listen(server, place, tls, "--listen")
        debug, debug_url = await _debug(application, settings)
    except BaseException:
        server.abort()
        await application.close()
        raise
    working = asyncio.ensure_future(application.work())
    await run_until_signalled(
        server,
        seconds=settings.http.draintimeout.total_seconds(),
        reload=lambda: renew_certificate(server, settings.http.tls) if tls else None,
        started=lambda: greet(settings, url, name, debug_url, application.first_password),
    )
    if debug is not None:
        debug.abort()
    working.cancel()
    await asyncio.gather(working, return_exceptions=True)
    await application.close()


def _limits(settings: Settings) -> Limits:
    limits = settings.limits
    return Limits(
        header_bytes=limits.header_bytes,
        header_seconds=limits.header_seconds,
        idle_seconds=limits.idle_seconds,
        body_seconds=limits.body_seconds,
        send_seconds=limits.send_seconds,
        connections=limits.connections or _seats(),
    )


def _seats() -> int:
    """How many connections there are file descriptors for: one that sends a blob has three."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != hard:
        with suppress(OSError, ValueError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
            soft = hard
    return max(16, (soft - _OWN_FILES) // 3)


async def _listen(server: Server, place: str, tls: ssl.SSLContext | None, setting: str) -> tuple[str, str]:
    """Listen on HOST:PORT or the path of a socket; gives the URL, and the name docker knows it by.

    Raises UNAVAILABLE, and names the setting to change.
    """
    scheme = "https" if tls else "http"
    try:
        if place.startswith("/"):
            await server.listen_unix(place, tls)
            return f"{scheme}+unix://{place}", "localhost"
        host, port = await server.listen(*_address(place), tls)
    except OSError as reason:
        raise RegistryError(
            Code.UNAVAILABLE, f"cannot listen on {place}: {_strerror(reason)}; choose another with {setting}"
        ) from reason
    name = "localhost" if host in {"127.0.0.1", "0.0.0.0", "::"} else host  # noqa: S104 - only compared
    return f"{scheme}://{host}:{port}", f"{name}:{port}"


async def _debug(application: Application, settings: Settings) -> tuple[Server | None, str | None]:
    debug = settings.http.debug
    if debug.addr is None:
        return None, None
    server = Server(
        application.private,
        trusted_proxies=settings.http.trusted_proxies,
        admission=Admission(debug.allow, debug.deny, "http.debug"),
    )
    url, _ = await _listen(server, debug.addr, None, "http.debug.addr")
    return server, url


def _strerror(reason: OSError) -> str:
    """The system's own words; asyncio puts the address into them once more."""
    plain = reason.errno is not None and reason.errno > 0 and not isinstance(reason, socket.gaierror)
    return os.strerror(reason.errno or 0) if plain else str(reason.strerror or reason)
