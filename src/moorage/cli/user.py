"""`moorage user`."""

from typing import Annotated

import typer

from moorage.cli.console import Console, command, group
from moorage.cli.words import Expires, PasswordStdin, new_password, old_password, seconds

app = group("Users: who may sign in.")

Name = Annotated[str, typer.Argument(metavar="USER")]


@command(app, "add")
def add(
    console: Console,
    name: Name,
    *,
    admin: Annotated[bool, typer.Option("--admin", help="Make them an administrator.")] = False,
    expires: Expires = None,
    password_stdin: PasswordStdin = False,
) -> None:
    """Add a user, whose password is asked for."""
    ends = seconds(expires)
    body = {"name": name, "password": new_password(stdin=password_stdin), "admin": admin, "expires_in": ends}
    console.done(console.ask("POST", "users", body=body), f"{name} may sign in")


@command(app, "invite")
def invite(console: Console, name: Name) -> None:
    """Add a user who chooses their own password, with the invitation that is printed."""
    made = console.ask("POST", "invitations", body={"name": name})
    console.secret(made, f"the invitation for {name}, for 7 days; it is shown this once:")


@command(app, "list")
def list_(console: Console) -> None:
    """List the users."""
    columns = ("name", "admin", "disabled", "expired", "visibility", "created_at", "expires_at")
    console.show(console.everything("users"), *columns)


@command(app, "show")
def show(console: Console, name: Name) -> None:
    """Show a user."""
    console.describe(console.ask("GET", "users", name))


@command(app, "disable")
def disable(console: Console, name: Name) -> None:
    """Shut a user out, with their tokens and robots."""
    console.done(console.ask("PATCH", "users", name, body={"disabled": True}), f"{name} is shut out")


@command(app, "enable")
def enable(
    console: Console,
    name: Name,
    *,
    expires: Annotated[
        str | None, typer.Option("--expires", help="How long until the account ends, such as 90d, or never.")
    ] = None,
) -> None:
    """Let a user in again."""
    if expires is not None:
        ends = 0 if expires == "never" else seconds(expires)
        console.ask("PATCH", "users", name, body={"expires_in": ends})
    changed = console.ask("PATCH", "users", name, body={"disabled": False})
    over = f"{name} is not disabled, but the account has ended, and {name} cannot sign in; give --expires 90d, or never"
    console.done(changed, over if changed["expired"] else f"{name} may sign in")


@command(app, "admin")
def admin(
    console: Console,
    name: Name,
    *,
    revoke: Annotated[bool, typer.Option("--revoke", help="Make an administrator a user like others.")] = False,
) -> None:
    """Make a user an administrator."""
    words = f"{name} is no administrator any more" if revoke else f"{name} is an administrator"
    console.done(console.ask("PATCH", "users", name, body={"admin": not revoke}), words)


@command(app, "passwd")
def passwd(
    console: Console,
    name: Annotated[str | None, typer.Argument(metavar="[USER]", help="Yourself by default.")] = None,
    *,
    password_stdin: Annotated[
        bool,
        typer.Option("--password-stdin", help="Read the new password from standard input, then your old one."),
    ] = False,
) -> None:
    """Change a password: your own, or as an administrator another's. What the old one got is void."""
    own = console.me() if console.place.name or name is None else None
    whose = name or str(own)
    body = {"new": new_password(stdin=password_stdin)}
    if whose == own:
        body["old"] = old_password(stdin=password_stdin)
    console.ask("PUT", "users", whose, "password", body=body)
    console.done({"name": whose}, f"{whose} has another password; whoever signed in with the old one has to again")


@command(app, "set")
def set_(
    console: Console,
    name: Name,
    visibility: Annotated[str, typer.Option("--visibility", help="Of new repositories: private, internal, public.")],
) -> None:
    """Set how visible repositories are that are made below a user's name from now on."""
    changed = console.ask("PATCH", "users", name, body={"visibility": visibility})
    console.done(changed, f"new repositories of {name} are {visibility}")
