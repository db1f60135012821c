"""The `moorage` command."""

import sys
from pathlib import Path
from typing import Annotated

import typer

import moorage
from moorage.errors import RegistryError

app = typer.Typer(
    name="moorage",
    help="A self-hosted container registry: teams push images and any OCI artifact, machines pull them.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)


@app.callback(invoke_without_command=True)
def moorage_command(
    *, version: Annotated[bool, typer.Option("--version", help="Print the version and stop.")] = False
) -> None:
    """A self-hosted container registry."""
    if version:
        print(moorage.__version__)
        raise typer.Exit


@app.command()
def serve(
    config: Annotated[Path | None, typer.Option(help="A config.yml, with Docker Registry's keys.")] = None,
    data: Annotated[Path | None, typer.Option(help="The folder to keep everything in.")] = None,
    listen: Annotated[str | None, typer.Option(help="HOST:PORT to listen on; 127.0.0.1:5000 by default.")] = None,
    *,
    open_: Annotated[
        bool, typer.Option("--open", help="Anyone who reaches the registry may push, pull and delete.")
    ] = False,
) -> None:
    """Run a registry."""
    from moorage.cli import serve as serving

    serving.serve(config, data, listen, opened=open_)


@app.command()
def config(
    what: Annotated[str, typer.Argument(help="check, show or schema.")],
    file: Annotated[Path | None, typer.Option("--config", help="The config.yml.")] = None,
) -> None:
    """Check a configuration, show what is in force, or print its JSON schema."""
    from moorage.cli import config as configuring

    configuring.run(what, file)


def run() -> None:
    """The entry point: whatever goes wrong is told in a line, never as a traceback."""
    try:
        app()
    except RegistryError as error:
        sys.exit(f"moorage: {error.message}")
    except KeyboardInterrupt:
        sys.exit(130)
    except OSError as error:
        place = f": {error.filename}" if error.filename else ""
        sys.exit(f"moorage: {error.strerror or error}{place}")
