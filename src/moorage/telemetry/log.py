"""The log: structured events, one per line, on one stream; the standard library's loggers come along.

Each request is handled in a context of its own, so its id is a context variable: `begin_request` sets it, and
every line that is logged on the way carries it.
"""

import logging
import os
import sys
import time
import traceback
from collections.abc import Callable, Mapping
from contextvars import Context, ContextVar
from functools import partial
from json.encoder import encode_basestring_ascii as _quote
from typing import Any, Final, Protocol, TextIO

from moorage.telemetry.lines import Render, as_json, as_text, renderer
from moorage.telemetry.outlet import Outlet
from moorage.telemetry.redact import redact, redact_text

_LEVELS: Final = {"debug": 10, "info": 20, "warn": 30, "error": 40}
_NAMES: Final = {"warning": "warn", "exception": "error", "critical": "error", "fatal": "error"}
_FIRST: Final = ("logger", "request_id")
"""What comes first behind the message."""
_CHATTY: Final = ("alembic", "asyncio", "httpcore", "httpx")
"""Libraries that tell at `info` what is ours to tell, some of them with signed URLs."""
_request_id: Final[ContextVar[str]] = ContextVar("request_id", default="")
begin_request: Final = _request_id.set
"""Says whose work is done in this context from now on: the lines logged in it carry the request's id."""


class AccessLog(Protocol):
    """Writes the line of one finished request."""

    def __call__(
        self,
        *,
        request_id: str,
        method: str,
        path: str,
        status: int,
        seconds: float,
        size: int,
        ip: str,
        ua: str = "",
        actor: str = "",
        repo: str = "",
        ref: str = "",
        trace_id: str = "",
    ) -> None: ...


class _Sink:
    """Where lines go.  A log that cannot be written is no reason to fail a request."""

    def __init__(self, stream: TextIO) -> None:
        self.stream = stream
        self.terminal = stream.isatty()
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")
        self.write: Callable[[str], None] = stream.put if isinstance(stream, Outlet) else self._write

    def tell_losses(self, shape: "_Shape") -> None:
        """Have a line of that shape say how many were lost, where that may be."""
        if isinstance(self.stream, Outlet):
            self.stream.tell_loss = partial(_loss, shape)

    def _write(self, line: str) -> None:
        try:
            self.stream.write(line + "\n")
            self.stream.flush()
        except (OSError, ValueError):
            return


class _Clock:
    """The time of day in RFC 3339 with milliseconds, UTC; the part before them is made once a second."""

    def __init__(self) -> None:
        self._second = -1
        self._text = ""

    def now(self) -> str:
        moment = time.time()
        second = int(moment)
        if second != self._second:
            self._text = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(second))
            self._second = second
        return f"{self._text}.{int((moment - second) * 1000):03d}Z"


class _Shape:
    """From an event to its line: order, time, traceback, masking."""

    def __init__(self, render: Render, fields: Mapping[str, Any]) -> None:
        self.render = render
        self.fields = dict(fields)
        self.clock = _Clock()

    def __call__(self, level: str, message: str, event: dict[str, Any]) -> str:
        line: dict[str, Any] = {"ts": self.clock.now(), "level": level, "msg": redact_text(message)}
        trace = _trace(event.pop("exc_info", None))
        if request_id := _request_id.get():
            event.setdefault("request_id", request_id)
        for name in _FIRST:
            if name in event:
                line[name] = redact(event.pop(name))
        line |= {name: value for name, value in redact(event).items() if name not in line}
        line |= {name: value for name, value in self.fields.items() if name not in line}
        if trace:
            line["exc"] = redact_text(trace)
        return self.render(line)


def _trace(exc_info: Any) -> str:
    if isinstance(exc_info, BaseException):
        reason: BaseException | None = exc_info
    elif isinstance(exc_info, tuple):
        reason = exc_info[1]
    else:
        reason = sys.exc_info()[1] if exc_info else None
    return "".join(traceback.format_exception(reason)).rstrip() if reason else ""


def _loss(shape: _Shape, lost: int) -> str:
    """The line of those that nobody read, which belongs to no request."""
    event = {"logger": "moorage.log", "lost": lost}
    return Context().run(shape, "warn", "nobody read the log, and lines of it are lost", event)


class _Bridge(logging.Handler):
    """Brings the standard library's records (uvicorn, Alembic) to the same stream in the same shape."""

    def __init__(self, shape: _Shape, sink: _Sink) -> None:
        super().__init__()
        self._shape = shape
        self._sink = sink

    def emit(self, record: logging.LogRecord) -> None:
        try:
            message = record.getMessage()
        except (TypeError, ValueError):
            message = str(record.msg)
        level = record.levelname.lower()
        event = {"logger": record.name, "exc_info": record.exc_info}
        self._sink.write(self._shape(_NAMES.get(level, level), message, event))


class _State:
    """What `configure` last decided; before that, only failures are told."""

    least: int = _LEVELS["error"]
    shape = _Shape(lambda event: as_text(event, colour=False), {})
    sink = _Sink(sys.stderr)
    access: AccessLog | None = None


def configure(
    level: str = "info",
    formatter: str | None = None,
    stream: TextIO | None = None,
    *,
    fields: Mapping[str, Any] | None = None,
    access: bool = True,
) -> None:
    """Sets how the whole process logs; may be called again (SIGHUP changes the level).

    `level` is error, warn, info or debug; `formatter` text, json or logfmt, and None means text on a terminal,
    JSON elsewhere; `fields` go on every line; without `access` there is no line per request.
    """
    sink = _Sink(stream or sys.stdout)
    formatter = formatter or ("text" if sink.terminal else "json")
    render = renderer(formatter, colour=sink.terminal and not os.environ.get("NO_COLOR"))
    shape = _Shape(render, redact(fields or {}))
    sink.tell_losses(shape)
    number = _LEVELS[level]
    _State.least, _State.shape, _State.sink = number, shape, sink
    root = logging.getLogger()
    root.handlers = [handler for handler in root.handlers if not isinstance(handler, _Bridge)]
    root.addHandler(_Bridge(shape, sink))
    root.setLevel(number)
    for name in _CHATTY:
        logging.getLogger(name).setLevel(number if number != _LEVELS["info"] else _LEVELS["warn"])
    _State.access = _access_log(shape, sink) if access else None


class Logger:
    """`log.info("what happened", key=value)`; it follows `configure`, so a module may keep one."""

    __slots__ = ("_bound",)

    def __init__(self, **bound: Any) -> None:
        self._bound = bound

    def bind(self, **values: Any) -> "Logger":
        """A logger that adds these to each of its lines."""
        return Logger(**self._bound | values)

    def debug(self, message: str, **values: Any) -> None:
        self._tell("debug", message, values)

    def info(self, message: str, **values: Any) -> None:
        self._tell("info", message, values)

    def warning(self, message: str, **values: Any) -> None:
        self._tell("warn", message, values)

    def error(self, message: str, **values: Any) -> None:
        self._tell("error", message, values)

    def exception(self, message: str, **values: Any) -> None:
        """An error with the traceback of the exception that is being handled."""
        self._tell("error", message, {"exc_info": True} | values)

    def _tell(self, level: str, message: str, values: dict[str, Any]) -> None:
        if _LEVELS[level] >= _State.least:
            _State.sink.write(_State.shape(level, message, self._bound | values))


def logger(name: str) -> Logger:
    """The logger of a module or a part."""
    return Logger(logger=name)


def access_log() -> AccessLog | None:
    """The writer of access lines as last configured, or None where they are off.  Ask once, after `configure`."""
    return _State.access


def _access_log(shape: _Shape, sink: _Sink) -> AccessLog:
    # Written for every request, so the common format is put together by hand: a third of json.dumps.
    fast = shape.render is as_json
    tail = "".join(f",{_quote(str(key))}:{as_json(value)}" for key, value in shape.fields.items())
    now = shape.clock.now

    def write(
        *,
        request_id: str,
        method: str,
        path: str,
        status: int,
        seconds: float,
        size: int,
        ip: str,
        ua: str = "",
        actor: str = "",
        repo: str = "",
        ref: str = "",
        trace_id: str = "",
    ) -> None:
        if fast:
            trace = f'"trace_id":{_quote(trace_id)},' if trace_id else ""
            sink.write(
                f'{{"ts":"{now()}","level":"info","msg":"request","request_id":{_quote(request_id)},'
                f'{trace}"actor":{_quote(actor)},"repo":{_quote(repo)},"ref":{_quote(ref)},"method":{_quote(method)},'
                f'"path":{_quote(path)},"status":{status},"dur_ms":{seconds * 1000:.3f},"bytes":{size},'
                f'"ua":{_quote(ua[:256])},"ip":{_quote(ip)}{tail}}}'
            )
            return
        line: dict[str, Any] = {"ts": now(), "level": "info", "msg": "request", "request_id": request_id}
        names = {"trace_id": trace_id, "actor": actor, "repo": repo, "ref": ref, "method": method, "path": path}
        line |= {name: value for name, value in names.items() if value}
        line |= {"status": status, "dur_ms": round(seconds * 1000, 3), "bytes": size, "ua": ua[:256], "ip": ip}
        sink.write(shape.render(line | shape.fields))

    return write
