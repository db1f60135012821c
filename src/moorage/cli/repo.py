"""`moorage repo`."""

from typing import Annotated

import typer

from moorage.cli.console import Console, command, group
from moorage.cli.words import confirm

app = group("Repositories: list, show, make visible, delete.")

Name = Annotated[str, typer.Argument(metavar="REPOSITORY")]


@command(app, "list")
def list_(
    console: Console, owner: Annotated[str | None, typer.Argument(metavar="[OWNER]", help="Only this owner's.")] = None
) -> None:
    """List the repositories that you may pull from."""
    console.show(console.everything("repositories", owner=owner), "name", "visibility", "created_at")


@command(app, "show")
def show(console: Console, name: Name) -> None:
    """Show a repository, and how much is in it."""
    console.describe(console.ask("GET", "repositories", name))


@command(app, "set")
def set_(
    console: Console,
    name: Name,
    visibility: Annotated[
        str,
        typer.Option(
            "--visibility", help="Who may pull without a rule: private, nobody; internal, whoever signed in; public."
        ),
    ],
) -> None:
    """Set how visible a repository is."""
    changed = console.ask("PATCH", "repositories", name, body={"visibility": visibility})
    console.done(changed, f"{name} is {visibility}")


@command(app, "delete")
def delete(
    console: Console,
    name: Name,
    *,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
) -> None:
    """Delete a repository: everything in it goes to the trash."""
    if not yes:
        found = console.ask("GET", "repositories", name)
        what = f"{found['manifests']} manifests and {found['tags']} tags"
        confirm(f"Delete {name}, with {what}?")
    console.ask("DELETE", "repositories", name)
    console.done({"name": name}, f"{name} is deleted")
