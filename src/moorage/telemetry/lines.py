"""How an event looks: JSON, logfmt, or text for people.  Every event is one line, whatever its values contain.

(On a terminal a traceback takes further lines, each behind a bar, so that no text can pose as an event.)
"""

import json
import re
from collections.abc import Callable
from typing import Any, Final

Render = Callable[[dict[str, Any]], str]

_UNSEEN: Final = re.compile("[\x00-\x1f\x7f-\x9f\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff\ud800-\udfff]")
_NEEDS_QUOTES: Final = re.compile(r'[\s="\\]|^$')
_COLOURS: Final = {"debug": "\x1b[2m", "info": "\x1b[32m", "warn": "\x1b[33m", "error": "\x1b[31m"}
_DIM: Final = "\x1b[2m"
_PLAIN: Final = "\x1b[0m"


def visible(text: str) -> str:
    """A text without characters that could break a line or steer a terminal; they are shown as escapes."""
    return _UNSEEN.sub(_escape, text)


def _escape(match: re.Match[str]) -> str:
    code = ord(match[0])
    named = {9: "\\t", 10: "\\n", 13: "\\r"}.get(code)
    return named or (f"\\x{code:02x}" if code < 256 else f"\\u{code:04x}")


def as_json(event: dict[str, Any]) -> str:
    return json.dumps(event, default=str, separators=(",", ":"), skipkeys=True)


def as_logfmt(event: dict[str, Any]) -> str:
    return " ".join(f"{_name(name)}={_quoted(value)}" for name, value in event.items())


def _name(name: str) -> str:
    return re.sub(r'[\s="]', "_", visible(str(name))) or "_"


def _quoted(value: Any) -> str:
    if isinstance(value, dict | list | tuple):
        value = as_json(value) if isinstance(value, dict) else json.dumps(value, default=str)
    if value is None or isinstance(value, bool):
        return json.dumps(value)
    text = str(value)
    shown = visible(text)
    if shown == text and not _NEEDS_QUOTES.search(text):
        return text
    return '"' + visible(text.replace("\\", "\\\\").replace('"', '\\"')) + '"'


def as_text(event: dict[str, Any], *, colour: bool) -> str:
    """Time, level and message first, then the rest in logfmt."""
    rest = dict(event)
    time, level, message = rest.pop("ts", ""), str(rest.pop("level", "")), visible(str(rest.pop("msg", "")))
    trace = rest.pop("exc", "") if colour else ""
    pairs = as_logfmt(rest)
    if not colour:
        return f"{time} {level.upper():5} {message}" + (f"  {pairs}" if pairs else "")
    clock = str(time)[11:23]
    line = f"{_DIM}{clock}{_PLAIN} {_COLOURS.get(level, '')}{level.upper():5}{_PLAIN} {message}"
    line += f"  {_DIM}{pairs}{_PLAIN}" if pairs else ""
    return line + "".join(f"\n  {_DIM}│{_PLAIN} {visible(part)}" for part in str(trace).split("\n") if part)


def renderer(formatter: str, *, colour: bool) -> Render:
    """The way events look by the name of a format: `json` (also `logstash`), `logfmt` or `text`."""
    if formatter in {"json", "logstash"}:
        return as_json
    if formatter == "logfmt":
        return as_logfmt
    return lambda event: as_text(event, colour=colour)
