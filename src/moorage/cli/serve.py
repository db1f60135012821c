"""`moorage serve`: a registry in this process, until it is told to stop."""

import asyncio
import fcntl
import os
import signal
import ssl
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Final

import uvloop

from moorage import telemetry
from moorage.app import build
from moorage.edge.ops import measurements
from moorage.edge.server import Limits, Server
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
    host, port = _address(listen or _configured(loaded))
    sys.setswitchinterval(0.0005)
    try:
        uvloop.run(_serve(settings, host, port))
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


async def _serve(settings: Settings, host: str, port: int) -> None:
    loop = asyncio.get_running_loop()
    loop.set_default_executor(ThreadPoolExecutor(_THREADS, thread_name_prefix="bytes"))
    application = build(settings)
    limits = settings.limits
    server = Server(
        application.handler,
        limits=Limits(
            limits.header_bytes,
            limits.header_seconds,
            limits.idle_seconds,
            limits.body_seconds,
            limits.send_seconds,
        ),
        observe=application.observe,
    )
    tls = _tls(settings)
    debug = settings.http.debug
    try:
        address = await server.listen(host, port, tls)
        if debug.addr is not None and debug.prometheus.enabled:
            await Server(measurements(debug.prometheus.path)).listen(*_address(debug.addr))
    except OSError as reason:
        await application.close()
        raise RegistryError(
            Code.UNAVAILABLE, f"cannot listen on {host}:{port}: {reason.strerror}; choose another with --listen"
        ) from reason
    _greet(settings, *address, "https" if tls else "http")
    working = asyncio.ensure_future(application.work())
    await _until_stopped(server, settings, tls)
    working.cancel()
    await asyncio.gather(working, return_exceptions=True)
    await application.close()


def _tls(settings: Settings) -> ssl.SSLContext | None:
    files = settings.http.tls
    if files.certificate is None or files.key is None:
        return None
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    if files.minimumtls == "tls1.3":
        context.minimum_version = ssl.TLSVersion.TLSv1_3
    context.set_alpn_protocols(["http/1.1"])
    _load_certificate(context, settings)
    return context


def _load_certificate(context: ssl.SSLContext, settings: Settings) -> None:
    files = settings.http.tls
    try:
        context.load_cert_chain(files.certificate or "", files.key)
    except (OSError, ssl.SSLError) as reason:
        raise RegistryError(
            Code.UNAVAILABLE, f"the TLS certificate {files.certificate} with key {files.key} cannot be used: {reason}"
        ) from reason


async def _until_stopped(server: Server, settings: Settings, tls: ssl.SSLContext | None) -> None:
    """SIGTERM or SIGINT drains, a second one stops at once; SIGHUP reads the certificate again."""
    loop = asyncio.get_running_loop()
    stop, at_once = asyncio.Event(), asyncio.Event()

    def told() -> None:
        (at_once if stop.is_set() else stop).set()

    def reload() -> None:
        if tls is None:
            return
        try:
            _load_certificate(tls, settings)
        except RegistryError as error:
            telemetry.logger("moorage").error("the certificate stays as it was", error=error.message)

    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, told)
    loop.add_signal_handler(signal.SIGHUP, reload)
    await stop.wait()
    draining = asyncio.ensure_future(server.drain(settings.http.draintimeout.total_seconds()))
    second = asyncio.ensure_future(at_once.wait())
    await asyncio.wait({draining, second}, return_when=asyncio.FIRST_COMPLETED)
    server.abort()
    for task in (draining, second):
        task.cancel()


def _greet(settings: Settings, host: str, port: int, scheme: str) -> None:
    name = "localhost" if host in {"127.0.0.1", "0.0.0.0", "::"} else host  # noqa: S104 - only compared
    print(
        f"Moorage listens on {scheme}://{host}:{port} and keeps its data in {settings.data.absolute()}.\n"
        f"OPEN: anyone who reaches it may push, pull and delete.\n\n"
        f"  docker tag IMAGE {name}:{port}/acme/app:1\n"
        f"  docker push {name}:{port}/acme/app:1\n",
        flush=True,
    )
