"""The table of commands."""

from typing import Annotated, ClassVar

import typer

import moorage
from moorage.cli.lazy import LazyGroup


class Commands(LazyGroup):
    """A new command is a line here: where it is, and what the help says of it."""

    table: ClassVar = {
        "serve": ("moorage.cli.serve:serve", "Run a registry."),
        "backup": ("moorage.cli.backup:backup", "Back up a registry, running or not."),
        "restore": ("moorage.cli.backup:restore", "Restore a backup into an empty registry."),
        "fsck": ("moorage.cli.fsck:fsck", "Compare what is stored with what the database says of it."),
        "gc": ("moorage.cli.gc:app", "See and say whether unreferenced content may be destroyed."),
        "user": ("moorage.cli.user:app", "Users: add, list, disable, change passwords."),
        "org": ("moorage.cli.org:app", "Organisations and who is in them."),
        "team": ("moorage.cli.team:app", "Teams of organisations."),
        "robot": ("moorage.cli.robot:app", "Robots: accounts for programs."),
        "token": ("moorage.cli.token:app", "Tokens in place of your password."),
        "repo": ("moorage.cli.repo:app", "Repositories: list, show, make visible, delete."),
        "access": ("moorage.cli.access:app", "Who may do what, and why."),
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
