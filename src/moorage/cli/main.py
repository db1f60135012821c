"""The `moorage` command."""

import os
import sys
from pathlib import Path
from typing import Annotated, ClassVar

import typer

import moorage
from moorage.cli.lazy import LazyGroup
from moorage.errors import RegistryError


class Commands(LazyGroup):
    """A new command is a line here: where it is, and what the help says of it."""

    table: ClassVar = {
        "config": ("moorage.cli.config:app", "Check, show and describe the configuration."),
    }


app = typer.Typer(
    name="moorage",
    cls=Commands,
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


def run() -> None:
    """The entry point: whatever goes wrong is told in a line, never as a traceback."""
    try:
        app(prog_name="moorage")
    except KeyboardInterrupt:
        sys.exit(130)
    except Exception as error:  # noqa: BLE001 - the last place where it can be told
        sys.exit(f"moorage: {_told(error)}")


def _told(error: Exception) -> str:
    from moorage.telemetry import redact_text, visible

    settings = sys.modules.get("moorage.settings")
    if settings is not None and isinstance(error, settings.SettingsError):
        return "\n".join(visible(line) for line in str(error).split("\n"))
    if isinstance(error, RegistryError):
        return visible(error.message)
    if isinstance(error, OSError) and error.strerror:
        return visible(": ".join(str(part) for part in (error.strerror, error.filename) if part))
    if os.environ.get("REGISTRY_LOG_LEVEL") == "debug":
        raise error
    words = redact_text(" ".join(f"{type(error).__name__}: {error}".split()))
    return visible(f"this is a fault of the program: {words} (REGISTRY_LOG_LEVEL=debug shows where)")
