"""`moorage org`."""

from typing import Annotated

import typer

from moorage.cli.console import Console, command, group

app = group("Organisations: owners of repositories whom several people rule.")

Name = Annotated[str, typer.Argument(metavar="ORGANISATION")]
User = Annotated[str, typer.Argument(metavar="USER")]


@command(app, "add")
def add(
    console: Console,
    name: Name,
    owner: Annotated[str | None, typer.Option("--owner", help="Its first owner; you by default.")] = None,
    description: Annotated[str, typer.Option("--description", help="One line.")] = "",
    visibility: Annotated[
        str, typer.Option("--visibility", help="Of its new repositories: private, internal, public.")
    ] = "private",
) -> None:
    """Add an organisation."""
    body = {"name": name, "owner": owner, "description": description, "visibility": visibility}
    console.done(console.ask("POST", "organisations", body=body), f"{name} is there; push to {name}/…")


@command(app, "list")
def list_(console: Console) -> None:
    """List the organisations that you are in; all, for administrators."""
    console.show(console.everything("organisations"), "name", "visibility", "description", "created_at")


@command(app, "show")
def show(console: Console, name: Name) -> None:
    """Show an organisation."""
    console.describe(console.ask("GET", "organisations", name))


@command(app, "set")
def set_(
    console: Console,
    name: Name,
    visibility: Annotated[str, typer.Option("--visibility", help="Of new repositories: private, internal, public.")],
) -> None:
    """Set how visible repositories are that are made below its name from now on."""
    changed = console.ask("PATCH", "organisations", name, body={"visibility": visibility})
    console.done(changed, f"new repositories of {name} are {visibility}")


@command(app, "members")
def members(console: Console, name: Name) -> None:
    """List who is in it."""
    console.show(console.everything("organisations", name, "members"), "name", "role")


@command(app, "add-member")
def add_member(
    console: Console,
    name: Name,
    user: User,
    *,
    owner: Annotated[bool, typer.Option("--owner", help="As an owner, who may do everything in it.")] = False,
) -> None:
    """Let a user in, or change what they are there."""
    role = "owner" if owner else "member"
    made = console.ask("PUT", "organisations", name, "members", user, body={"role": role})
    console.done(made, f"{user} is {'an owner' if owner else 'a member'} of {name}")


@command(app, "remove-member")
def remove_member(console: Console, name: Name, user: User) -> None:
    """Take a user out, and out of its teams."""
    console.ask("DELETE", "organisations", name, "members", user)
    console.done({"name": user}, f"{user} is not in {name} any more")
