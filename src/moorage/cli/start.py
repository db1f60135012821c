"""How `moorage serve` starts: a child reads the command line and the settings, its parent imports what serves.

    parent   import the server ────────────────────┐
    └── child   typer, pydantic, YAML ── settings ─┴─ serve

So what reads and checks them takes neither time of the start, where there are two processors, nor the memory of a
server: typer and pydantic need as much as SQLAlchemy.
"""

import sys
from typing import Any

from moorage.cli.imports import keep_imports
from moorage.cli.settled import read, written
from moorage.db.apart import begin


def start() -> None:
    """Serve as the command line wants it, or exit as it is answered."""
    asked = begin(_asked)
    from moorage.cli.server import run

    keep_imports()
    answer = asked()
    if isinstance(answer, int):
        sys.exit(answer)
    loaded, listen = answer
    run(read(loaded), listen)


def _asked() -> tuple[Any, str | None] | int:
    """The settings as `written`, and where to listen; an exit status where the command line is answered already."""
    from moorage.cli.commands import app
    from moorage.cli.serve import wanted
    from moorage.cli.told import told

    try:
        app(prog_name="moorage")
    except SystemExit as end:
        if not wanted:
            return end.code if isinstance(end.code, int) else 1
    except Exception as error:  # noqa: BLE001 - here it is known what it means
        print(f"moorage: {told(error)}", file=sys.stderr)
        return 1
    loaded, listen = wanted[0]
    return written(loaded), listen
