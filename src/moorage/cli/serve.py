"""`moorage serve`: its options.  See `cli/start.py`."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

import typer

from moorage.cli.settled import settled
from moorage.cli.words import folder

if TYPE_CHECKING:
    from moorage.settings import Loaded

wanted: Final[list["tuple[Loaded, str | None]"]] = []
"""The settings and where to listen, once this process has read them: another one serves."""


def serve(
    config: Annotated[
        Path | None,
        typer.Option(help="A config.yml, with Docker Registry's keys; without it and --data, one in /etc, if any."),
    ] = None,
    data: Annotated[
        Path | None,
        typer.Option(
            parser=folder,
            metavar="<path>",
            help="The folder for everything, and no config.yml is looked for; /var/lib/registry by default, or one in "
            "your home where that is not writable.",
        ),
    ] = None,
    listen: Annotated[
        str | None,
        typer.Option(help="HOST:PORT, or the path of a socket; 127.0.0.1:5000 by default: this machine alone."),
    ] = None,
    workers: Annotated[
        str | None, typer.Option(help="How many processes share the work; auto: as many as there are CPUs to use.")
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
    given = {"data": str(data) if data else None, "auth.open": open_ or None, "http.workers": workers}
    wanted.append((settled(config, given), listen))
