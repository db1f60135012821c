"""`moorage robot`."""

from typing import Annotated

import typer

from moorage.cli.console import Console, command, group
from moorage.cli.words import Expires, seconds

app = group("Robots: accounts for programs, such as CI. They act within their owner's repositories only.")

Name = Annotated[str, typer.Argument(metavar="OWNER.ROBOT")]


@command(app, "create")
def create(
    console: Console,
    name: Name,
    allow: Annotated[
        list[str] | None, typer.Option("--allow", help="What it may do: PATTERN:ACTIONS, as in acme/*:pull,push.")
    ] = None,
    description: Annotated[str, typer.Option("--description", help="One line.")] = "",
    expires: Expires = None,
) -> None:
    """Create a robot. Its secret is printed, this once."""
    owner, dot, own = name.rpartition(".")
    if not dot:
        raise typer.BadParameter("write OWNER.ROBOT, as in acme.ci")
    body = {"owner": owner, "name": own, "rules": allow or [], "description": description}
    made = console.ask("POST", "robots", body=body | {"expires_in": seconds(expires)})
    _show_secret(console, name, made)


@command(app, "list")
def list_(
    console: Console, owner: Annotated[str, typer.Argument(metavar="OWNER", help="An organisation or a user.")]
) -> None:
    """List an owner's robots."""
    console.show(console.everything("robots", owner=owner), "name", "description", "disabled", "created_at")


@command(app, "rotate")
def rotate(
    console: Console,
    name: Name,
    grace: Annotated[str, typer.Option("--grace", help="How long the secret before stays good, such as 1h.")] = "0",
    expires: Expires = None,
) -> None:
    """Give a robot another secret, which is printed, this once. The one before ends after the grace."""
    body = {"grace": seconds(grace) or 0, "expires_in": seconds(expires)}
    _show_secret(console, name, console.ask("POST", "robots", name, "rotate", body=body))


@command(app, "disable")
def disable(console: Console, name: Name) -> None:
    """Shut a robot out."""
    console.done(console.ask("PATCH", "robots", name, body={"disabled": True}), f"{name} is shut out")


@command(app, "enable")
def enable(console: Console, name: Name) -> None:
    """Let a robot in again."""
    console.done(console.ask("PATCH", "robots", name, body={"disabled": False}), f"{name} may sign in")


@command(app, "delete")
def delete(console: Console, name: Name) -> None:
    """Take a robot away, with its secrets and rules."""
    console.ask("DELETE", "robots", name)
    console.done({"name": name}, f"{name} is gone, with its secrets and rules")


def _show_secret(console: Console, name: str, made: dict[str, object]) -> None:
    token = made["token"]
    ends = token.get("expires_at") if isinstance(token, dict) else None
    where = console.place.name or "HOST"
    console.secret(
        made,
        f"docker login {where} -u {name} --password-stdin, with this secret, which is shown this once"
        f" and is good {f'until {ends}' if ends else 'until it is rotated'}:",
    )
