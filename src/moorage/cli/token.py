"""`moorage token`."""

from typing import Annotated

import typer

from moorage.cli.console import Console, command, group
from moorage.cli.words import Expires, seconds

app = group("Tokens: what your programs sign in with in place of your password.")

Account = Annotated[
    str | None, typer.Option("--user", help="Whose, a user or a robot; yours by default.", metavar="ACCOUNT")
]


@command(app, "create")
def create(
    console: Console,
    name: Annotated[str, typer.Argument(metavar="NAME", help="What it is for, such as laptop.")],
    scope: Annotated[
        list[str] | None,
        typer.Option("--scope", help="Limit it: PATTERN:ACTIONS, as in acme/*:pull. Several add up."),
    ] = None,
    expires: Expires = None,
    user: Account = None,
) -> None:
    """Create a token. It is printed, this once."""
    whose = user or console.me()
    body = {"name": name, "scopes": scope or [], "expires_in": seconds(expires)}
    made = console.ask("POST", "users", whose, "tokens", body=body)
    limits = ", ".join(made["token"]["scopes"]) or f"whatever {whose} may"
    ends = made["token"]["expires_at"] or "it is revoked"
    console.secret(made, f"the token '{name}' of {whose}, for {limits}, until {ends}; it is shown this once:")


@command(app, "list")
def list_(console: Console, user: Account = None) -> None:
    """List tokens, with when and from where they were used last."""
    found = console.ask("GET", "users", user or console.me(), "tokens")
    console.show(found, "id", "name", "scopes", "expires_at", "expired", "used_at", "used_from")


@command(app, "revoke")
def revoke(
    console: Console,
    token: Annotated[int, typer.Argument(metavar="ID", help="As `list` shows it.")],
    user: Account = None,
) -> None:
    """End a token, and what was got with it, at once."""
    console.ask("DELETE", "users", user or console.me(), "tokens", str(token))
    console.done({"id": token}, f"the token {token} is good for nothing any more")
