"""`moorage serve`: a registry in this process, until it is told to stop."""

import asyncio
import fcntl
import os
import ssl
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Final

import uvloop

from moorage import telemetry
from moorage.app import build
from moorage.cli.tls import renew_certificate, tls_context
from moorage.edge.ops import measurements
from moorage.edge.server import Limits, Server
from moorage.edge.server.signals import run_until_signalled
from moorage.errors import Code, RegistryError
from moorage.settings import Loaded, Settings, SettingsError, load

_THREADS: Final = 8
_DEFAULT: Final = "127.0.0.1:5000"


def serve(config: Path | None, data: Path | None, listen: str | None, *, opened: bool) -> None:
    """Load the settings, open the data, and serve.  Raises RegistryError; bad settings end the process."""
    try:
        loaded = load(config, overrides={"data": str(data) if data else None})
    except SettingsError as error:
        sys.exit(str(error))
    settings = loaded.settings
    if not (opened or settings.auth.open) or settings.auth.provider is not None:
        raise RegistryError(Code.DENIED, _closed(settings, loaded.source))
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
    settings.data.mkdir(parents=True, exist_ok=True)
    guard = _only_one(settings)
    place = listen or _configured(loaded)
    sys.setswitchinterval(0.0005)
    try:
        uvloop.run(_serve(settings, place))
    finally:
        if guard is not None:
            os.close(guard)


def _closed(settings: Settings, source: Path | None) -> str:
    if settings.auth.provider is not None:
        return (
            f"auth.{settings.auth.provider} is configured ({source or 'environment'}), "
            "but this version cannot authenticate anybody yet, and "
            "will not let everybody in instead; without that section, --open starts a registry for laboratories"
        )
    return (
        "there are no accounts yet, so nobody could be let in: start with --open to let anyone who reaches the "
        "registry push, pull and delete"
    )


def _announce(loaded: Loaded) -> None:
    log = telemetry.logger("moorage")
    for line in loaded.warnings:
        log.warning(line)
    for line in loaded.ignored:
        log.warning("a setting is ignored", setting=line)
    for line in loaded.notices:
        log.info(line)


def _configured(loaded: Loaded) -> str:
    return _DEFAULT if loaded.origins.get("http.addr") == "default" else loaded.settings.http.addr


def _address(text: str) -> tuple[str, int]:
    host, colon, port = text.rpartition(":")
    if not colon or not port.isdigit() or int(port) > 65535:
        raise RegistryError(Code.REQUEST_INVALID, f"cannot listen on {text!a}: write HOST:PORT, as in {_DEFAULT}")
    return host.strip("[]") or "0.0.0.0", int(port)  # noqa: S104 - what Docker Registry's ':5000' means


def _only_one(settings: Settings) -> int | None:
    """Hold the data folder's lock, if its database is SQLite: one server at a time.  Raises UNAVAILABLE."""
    if not settings.database_url.startswith("sqlite"):
        return None
    fd = os.open(settings.data / "serve.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o640)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(fd)
        raise RegistryError(
            Code.UNAVAILABLE,
            f"another server is already using {settings.data}; stop it, or give this one another --data",
        ) from None
    return fd


async def _serve(settings: Settings, place: str) -> None:
    loop = asyncio.get_running_loop()
    loop.set_default_executor(ThreadPoolExecutor(_THREADS, thread_name_prefix="bytes"))
    application = build(settings)
    server = Server(
        application.handler,
        limits=_limits(settings),
        observe=application.observe,
        trusted_proxies=settings.http.trusted_proxies,
    )
    tls = tls_context(settings.http.tls)
    try:
        _greet(settings, *await _listen(server, place, tls))
        debug = await _debug(settings)
    except BaseException:
        server.abort()
        await application.close()
        raise
    working = asyncio.ensure_future(application.work())
    await run_until_signalled(
        server,
        seconds=settings.http.draintimeout.total_seconds(),
        reload=lambda: renew_certificate(server, settings.http.tls) if tls else None,
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
        connections=limits.connections,
    )


async def _listen(server: Server, place: str, tls: ssl.SSLContext | None) -> tuple[str, str]:
    """Listen on HOST:PORT or the path of a socket; gives the URL, and the name docker knows it by."""
    scheme = "https" if tls else "http"
    try:
        if place.startswith("/"):
            await server.listen_unix(place, tls)
            return f"{scheme}+unix://{place}", "localhost"
        host, port = await server.listen(*_address(place), tls)
    except OSError as reason:
        raise RegistryError(
            Code.UNAVAILABLE, f"cannot listen on {place}: {reason.strerror}; choose another with --listen"
        ) from reason
    name = "localhost" if host in {"127.0.0.1", "0.0.0.0", "::"} else host  # noqa: S104 - only compared
    return f"{scheme}://{host}:{port}", f"{name}:{port}"


async def _debug(settings: Settings) -> Server | None:
    debug = settings.http.debug
    if debug.addr is None or not debug.prometheus.enabled:
        return None
    server = Server(measurements(debug.prometheus.path))
    await _listen(server, debug.addr, None)
    return server


def _greet(settings: Settings, url: str, name: str) -> None:
    print(
        f"Moorage listens on {url} and keeps its data in {settings.data.absolute()}.\n"
        f"OPEN: anyone who reaches it may push, pull and delete.\n\n"
        f"  docker tag IMAGE {name}/acme/app:1\n"
        f"  docker push {name}/acme/app:1\n",
        flush=True,
    )
