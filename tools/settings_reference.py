"""Writes the tables of docs/configuration.md from the settings themselves: `python tools/settings_reference.py`."""

from datetime import timedelta
from pathlib import Path
from typing import Any, Literal, get_args, get_origin

from pydantic_core import PydanticUndefined

from moorage.settings.keys import Key, bare, element_of, is_free, section_of, walk
from moorage.settings.schema import descriptions, sections
from moorage.settings.values import format_duration

PAGE = Path(__file__).parent.parent / "docs" / "configuration.md"
MARK = "<!-- From here on written by tools/settings_reference.py -->\n"

OURS = (
    "accounts.",
    "admin.",
    "auth.certificates",
    "auth.open",
    "auth.refreshtokens",
    "auth.tokenlife",
    "data",
    "database.",
    "gc.",
    "http.accel",
    "http.allow",
    "http.debug.allow",
    "http.debug.deny",
    "http.deny",
    "http.trusted_proxies",
    "http.workers",
    "limits.",
    "scrub.",
    "storage.reserve",
    "validation.sparse",
)
"""Docker Registry does not know these."""


def tables() -> str:
    """Everything below the mark: a heading and a table for each section."""
    texts = {
        id(section.model_fields[name]): text for section in sections() for name, text in descriptions(section).items()
    }
    parts: dict[str, list[str]] = {}
    for key in walk():
        alone = section_of(key.field.annotation) is None and not key.ignored
        title = key.path[0] if len(key.path) > 1 or not alone else "General"
        title = {"loglevel": "log", "data": "General", "version": "General"}.get(key.path[0], title)
        title = "Ignored sections" if len(key.path) == 1 and key.ignored else title
        parts.setdefault(title, []).append(row(key, texts[id(key.field)]))
    last = parts.pop("Ignored sections")
    head = "| Setting and variable | Kind | Default | Meaning |\n|---|---|---|---|\n"
    found = "".join(f"\n## {title}\n\n{head}" + "".join(rows) for title, rows in parts.items())
    return found + f"\n## Ignored sections\n\n{head}" + "".join(last)


def row(key: Key, text: str) -> str:
    meaning = " ".join(text.split())
    if key.path[:2] == ("auth", "silly"):
        meaning += " *`serve` refuses to start.*"
    if key.ignored:
        meaning += f" *Ignored: {key.ignored}.*"
    if key.name.startswith(OURS):
        meaning += " **Ours.**"
    return f"| `{key.name}`<br>`{key.variable}` | {kind(key.field)} | {default(key)} | {meaning} |\n"


KINDS = {bool: "true or false", int: "number", str: "text", Path: "path", Any: "any"}
PARSED = {
    "parse_duration": "duration",
    "parse_size": "size",
    "parse_seconds": "seconds or duration",
    "parse_share": "share",
    "parse_rate": "rate",
    "parse_workers": "number or `auto`",
}


def kind(field: Any) -> str:
    annotation = bare(field.annotation)
    parser = next((name for name in PARSED if name in f"{field.metadata} {field.annotation}"), None)
    if parser:
        return PARSED[parser]
    if get_origin(annotation) is Literal:
        return "one of " + ", ".join(f"`{value}`" for value in get_args(annotation))
    if element_of(annotation) is not None:
        return "list"
    if section_of(annotation) is not None:
        return "section"
    return KINDS.get(annotation) or ("names and values" if is_free(annotation) else "number")


def default(key: Key) -> str:
    value = key.field.get_default(call_default_factory=True)
    if value is PydanticUndefined:
        return "required"
    if value is None or value in ((), {}):
        return "none"
    if isinstance(value, timedelta):
        return f"`{format_duration(value)}`"
    if isinstance(value, bool):
        return f"`{str(value).lower()}`"
    if isinstance(value, float) and value < 1:
        value = f"{value:.0%}"
    if kind(key.field) == "size":
        return f"`{value // 1024**2}MiB`" if value >= 1024**2 else f"`{value // 1024}KiB`"
    return f"`{value}s`" if key.name.endswith("_seconds") else f"`{value}`"


def whole() -> str:
    """The page with its tables as the settings are now."""
    by_hand, mark, _ = PAGE.read_text().partition(MARK)
    return by_hand + mark + tables()


if __name__ == "__main__":
    PAGE.write_text(whole())
