"""What commands that manage a registry have in common: where they ask, how they show it, how they end.

Exit status: 0 done, 1 failed, 2 wrong usage, 3 not found, 4 not signed in or not allowed, 5 in conflict.
"""

import inspect
import json
import re
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Annotated, Any, Final

import typer

from moorage.cli.place import Answer, Place, target
from moorage.cli.words import folder
from moorage.edge.http import STATUS
from moorage.errors import RegistryError
from moorage.telemetry import visible

_STATUS: Final = {401: 4, 403: 4, 404: 3, 409: 5, 412: 5}
"""How a command ends by the HTTP status of a refusal; 1 for any other."""

_TIME: Final = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:[0-9.]+Z")
"""A time as the API writes it; people are shown the minute, in UTC."""

_PAGES: Final = 1000
"""Pages of a list that are followed."""

Columns = Sequence[str]


class Console:
    """One command's view of a registry."""

    def __init__(self, place: Place, *, as_json: bool) -> None:
        self.place, self._json = place, as_json

    def ask(self, method: str, *parts: str, body: dict[str, Any] | None = None, **query: object) -> Any:
        """The document that the API answers.  Ends the command where it refuses."""
        return self._checked(self.place.ask(method, target(*parts, **query), body)).document

    def everything(self, *parts: str, **query: object) -> list[Any]:
        """All entries of a list, page after page."""
        answer = self._checked(self.place.ask("GET", target(*parts, n=1000, **query)))
        entries: list[Any] = answer.document
        for _ in range(_PAGES):
            if answer.more is None:
                break
            answer = self._checked(self.place.ask("GET", answer.more))
            entries += answer.document
        return entries

    def me(self) -> str:
        """The name of whoever is signed in; on the data folder there is none, so the user has to be named."""
        if not self.place.name:
            raise typer.BadParameter("on the data folder nobody is signed in; name the user")
        return str(self.ask("GET", "me")["name"])

    def show(self, entries: list[Any], *columns: str) -> None:
        """A list: a table on a terminal, plain columns elsewhere, or JSON."""
        if self._json:
            _write(json.dumps(entries, indent=2))
            return
        rows = [[_cell(one.get(name) if isinstance(one, dict) else one) for name in columns] for one in entries]
        titles = [name.replace("_", " ").upper() for name in columns]
        if sys.stdout.isatty():
            _table(titles, rows)
        else:
            widths = [max(map(len, column)) for column in zip(titles, *rows, strict=True)]
            for row in [titles, *rows]:
                _write("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())

    def describe(self, document: dict[str, Any]) -> None:
        """One thing, a line for each of its facts."""
        if self._json:
            _write(json.dumps(document, indent=2))
            return
        for name, value in document.items():
            _write(f"{name.replace('_', ' '):12} {_cell(value)}")

    def done(self, document: Any, *words: str) -> None:
        """A deed is done: the document for programs, lines for people."""
        _write(json.dumps(document, indent=2) if self._json else "\n".join(visible(line) for line in words))

    def secret(self, document: dict[str, Any], words: str) -> None:
        """A secret, alone on standard output, so that it can be piped; what it is stands beside it."""
        if self._json:
            _write(json.dumps(document, indent=2))
            return
        print(visible(words), file=sys.stderr)
        _write(str(document.get("secret") or document.get("invitation")))

    def _checked(self, answer: Answer) -> Answer:
        if answer.status < 400:
            return answer
        raise Ended(str(answer.document.get("detail", "refused")), answer.status)


class Ended(Exception):  # noqa: N818 - the command has nothing more to do
    """The registry refused."""

    def __init__(self, words: str, status: int) -> None:
        super().__init__(words)
        self.status = status


Host = Annotated[
    str | None, typer.Option("--host", help="The server to ask; without it, the data folder on this machine.")
]
Config = Annotated[Path | None, typer.Option("--config", "-c", help="The config.yml that names the data folder.")]
Data = Annotated[
    Path | None,
    typer.Option("--data", parser=folder, metavar="<path>", help="The data folder; no config.yml is looked for."),
]
Json = Annotated[bool, typer.Option("--json", help="Write JSON.")]
_COMMON: Final[list[tuple[str, Any, Any]]] = [
    ("host", Host, None),
    ("config", Config, None),
    ("data", Data, None),
    ("as_json", Json, False),
]


def group(summary: str) -> typer.Typer:
    return typer.Typer(
        help=summary,
        no_args_is_help=True,
        add_completion=False,
        pretty_exceptions_enable=False,
        rich_markup_mode=None,
    )


def command(app: typer.Typer, name: str) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Register a command whose first argument is its `Console`; the options about where to ask are added to its own."""

    def register(function: Callable[..., None]) -> Callable[..., None]:
        def run(**given: Any) -> None:
            host, config, data, as_json = (given.pop(common) for common, _, _ in _COMMON)
            _run(function, given, host, config, data, as_json=as_json)

        own = list(inspect.signature(function, eval_str=True).parameters.values())[1:]
        common = [
            inspect.Parameter(common, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=kind)
            for common, kind, default in _COMMON
        ]
        parameters = [one.replace(kind=inspect.Parameter.KEYWORD_ONLY) for one in own] + common
        run.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
        run.__annotations__ = {one.name: one.annotation for one in parameters}
        run.__doc__ = function.__doc__
        app.command(name)(run)
        return function

    return register


def _run(
    function: Callable[..., None],
    given: dict[str, Any],
    host: str | None,
    config: Path | None,
    data: Path | None,
    *,
    as_json: bool,
) -> None:
    try:
        if host is not None:
            if config is not None or data is not None:
                raise typer.BadParameter("--host asks a server, --data and --config this machine; give either")
            from moorage.cli.remote import Remote

            function(Console(Remote(host), as_json=as_json), **given)
            return
        from moorage.cli.folder import Folder

        folder = Folder(config, data)
        try:
            function(Console(folder, as_json=as_json), **given)
        finally:
            folder.close()
    except Ended as refusal:
        _end(str(refusal), refusal.status)
    except RegistryError as error:
        _end(error.message, STATUS[error.code])


def _end(words: str, status: int) -> None:
    print(visible(f"moorage: {words}"), file=sys.stderr)
    raise typer.Exit(_STATUS.get(status, 1))


def _cell(value: Any) -> str:
    if value is None or value in ("", []):
        return "-"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, list):
        return visible(", ".join(map(str, value)))
    text = str(value)
    return text[:16].replace("T", " ") if _TIME.fullmatch(text) else visible(text)


def _table(titles: list[str], rows: list[list[str]]) -> None:
    from rich.console import Console as Screen
    from rich.table import Table
    from rich.text import Text

    table = Table(*titles, box=None, pad_edge=False, header_style="bold")
    for row in rows:
        table.add_row(*(Text(cell, overflow="fold") for cell in row))
    Screen().print(table)


def _write(line: str) -> None:
    print(line)
