"""How `moorage serve` starts: a child reads the command line and the settings, its parent imports what serves.

    parent   import the server ────────────────────┐
    └── child   typer, pydantic, YAML ── settings ─┴─ serve

So what reads and checks them takes neither time of the start, where there are two processors, nor the memory of a
server: typer and pydantic need as much as SQLAlchemy.
"""

import gc
import sys
from typing import TYPE_CHECKING

from moorage.db.apart import begin

if TYPE_CHECKING:
    from moorage.settings import Loaded


def start() -> None:
    """Serve as the command line wants it, or exit as it is answered."""
    asked = begin(_asked)
    from moorage.cli.server import run

    # What was imported stays for good, so the collector, which `main` holds still, need never look at it.
    gc.freeze()
    gc.enable()
    answer = asked()
    if isinstance(answer, int):
        sys.exit(answer)
    run(*answer)


def _asked() -> "tuple[Loaded, str | None] | int":
    """The settings, and where to listen; an exit status where the command line asks for something else."""
    from moorage.cli.commands import app
    from moorage.cli.serve import wanted

    try:
        app(prog_name="moorage")
    except SystemExit as end:
        if not wanted:
            return end.code if isinstance(end.code, int) else 1
    return wanted[0]
