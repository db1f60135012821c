"""`moorage fsck`: compare everything that is stored with what the database says of it."""

import json
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

import typer

from moorage.app import open_registry
from moorage.cli.data import Data, bytes_in_words
from moorage.cli.told import told
from moorage.features.integrity.fsck import Finding, Told, check
from moorage.features.integrity.settle import Then
from moorage.features.integrity.verify import Kind
from moorage.settings import load
from moorage.telemetry import visible

if TYPE_CHECKING:
    from rich.progress import Progress

_PATIENCE: Final = 30
"""Seconds between two lines of progress where there is no terminal."""


def fsck(
    config: Annotated[
        Path | None,
        typer.Option(help="The config.yml of the registry; without it and --data, the one that `serve` would find."),
    ] = None,
    data: Data = None,
    *,
    repair: Annotated[bool, typer.Option("--repair", help="Hold back what is damaged, mend what can be.")] = False,
    json_: Annotated[bool, typer.Option("--json", help="Write one JSON document.")] = False,
) -> None:
    """Compare everything that is stored with what the database says of it, beside a server or without one.

    Ends with 0 where everything is sound, with 1 where something is not, with 2 where not all of it could be found out.
    """
    totals = dict.fromkeys((then.value for then in Then), 0)
    kept, unchecked = [], False
    try:
        for one in _findings(config, data, repair=repair):
            totals[one.then] += 1
            unchecked |= one.kind is Kind.UNCHECKED
            if json_:
                kept.append(asdict(one))
            else:
                print(_line(one), flush=True)
    except Exception as error:  # noqa: BLE001 - whatever it was, 1 would say that something was found
        print(f"moorage: {told(error)}", file=sys.stderr)
        raise typer.Exit(2) from None
    if json_:
        print(json.dumps({"repair": repair, "totals": totals, "findings": kept}, indent=2))
    else:
        print(_summary(totals, repair=repair))
    if totals[Then.LEFT] or totals[Then.QUARANTINED]:
        raise typer.Exit(2 if unchecked else 1)


def _findings(config: Path | None, data: Path | None, *, repair: bool) -> Iterator[Finding]:
    settings = load(config, overrides={"data": str(data) if data else None}).settings
    registry = open_registry(settings)
    keep = round(settings.gc.trash.total_seconds() * 1_000_000)
    try:
        with _progress() as progress:
            yield from check(registry, repair=repair, keep=keep, told=progress)
    finally:
        registry.db.close_now()


def _line(one: Finding) -> str:
    where = f" in {one.where}" if one.where else ""
    then = "" if one.then is Then.LEFT else f" ({one.then})"
    return visible(f"{one.kind}: {one.what}{where}: {one.words}{then}")


def _summary(totals: dict[str, int], *, repair: bool) -> str:
    if not any(totals.values()):
        return "everything is sound"
    lines = [", ".join(f"{count} {name}" for name, count in totals.items() if count)]
    if totals[Then.QUARANTINED]:
        lines.append("what is quarantined is not served; pushing it again heals it")
    if totals[Then.LEFT] and not repair:
        lines.append("with --repair, what is damaged is quarantined, and what can be mended is")
    return "\n".join(lines)


@contextmanager
def _progress() -> Iterator[Told]:
    """Shows how far the pass has come, on standard error: a bar on a terminal, a line now and then elsewhere."""
    if not sys.stderr.isatty():
        lines = _Lines()
        yield lines
        lines.end()
        return
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (TextColumn("{task.description:>10}"), BarColumn(), TextColumn("{task.fields[shown]}"))
    console = Console(stderr=True)
    # On one terminal, findings are written above the bars.
    redirect = sys.stdout.isatty()
    with Progress(*columns, TimeRemainingColumn(), console=console, redirect_stdout=redirect) as progress:
        yield _Bars(progress)


class _Lines:
    """How far each part has come now and then, and at its end."""

    def __init__(self) -> None:
        self._part, self._last, self._unsaid = "", 0.0, ""

    def __call__(self, part: str, done: int, total: int | None) -> None:
        now = time.monotonic()
        if part != self._part:
            self.end()
            self._part, self._last = part, now
        self._unsaid = f"{part}: {_amount(done, total)}"
        # Of what has no total, nobody knows how long it takes until there is something to say.
        if (total is None and not done) or now - self._last >= _PATIENCE:
            self._last = now
            self.end()

    def end(self) -> None:
        if self._unsaid:
            print(self._unsaid, file=sys.stderr, flush=True)
            self._unsaid = ""


class _Bars:
    def __init__(self, progress: "Progress") -> None:
        self._progress = progress
        self._tasks: dict[str, int] = {}

    def __call__(self, part: str, done: int, total: int | None) -> None:
        shown = _amount(done, total)
        if part not in self._tasks:
            self._tasks[part] = self._progress.add_task(part, total=total, shown=shown)
        self._progress.update(self._tasks[part], completed=done, shown=shown)  # type: ignore[arg-type]


def _amount(done: int, total: int | None) -> str:
    if total is None:
        return f"{done} object{'s' if done > 1 else ''}" if done else "looking"
    return f"{bytes_in_words(done)} of {bytes_in_words(total)}"
