"""`moorage access`."""

from typing import Annotated

import typer

from moorage.cli.console import Console, command, group
from moorage.cli.words import Expires, seconds

app = group("Access: who may do what, and why.")


@command(app, "grant")
def grant(
    console: Console,
    subject: Annotated[
        str,
        typer.Argument(
            metavar="SUBJECT", help="A user, a robot, ORGANISATION/TEAM, everyone (who is signed in) or anyone."
        ),
    ],
    actions: Annotated[
        str,
        typer.Argument(
            metavar="ACTIONS", help="pull, push, overwrite, delete, manage, or reader, writer, maintainer, owner."
        ),
    ],
    pattern: Annotated[str, typer.Argument(metavar="PATTERN", help="A repository, or as in 'acme/*' or 'acme/**'.")],
    expires: Expires = None,
) -> None:
    """Let somebody do something; it takes the place of what they had on the same pattern."""
    body = {"subject": subject, "pattern": pattern, "actions": actions, "expires_in": seconds(expires)}
    made = console.ask("POST", "grants", body=body)
    console.done(made, f"{subject} may {made['actions']} on {pattern} (rule {made['id']})")


@command(app, "revoke")
def revoke(
    console: Console, rule: Annotated[int, typer.Argument(metavar="RULE", help="The id that `list` shows.")]
) -> None:
    """Take a rule back."""
    console.ask("DELETE", "grants", str(rule))
    console.done({"id": rule}, f"the rule {rule} is gone")


@command(app, "list")
def list_(
    console: Console,
    owner: Annotated[str | None, typer.Option("--owner", help="The rules on this owner's repositories.")] = None,
    repository: Annotated[
        str | None, typer.Option("--repository", help="The rules that matter to this repository.")
    ] = None,
) -> None:
    """List rules: of an owner, of a repository, or without either those that are for several owners."""
    found = console.everything("grants", owner=owner, repository=repository)
    console.show(found, "id", "subject", "role", "pattern", "created_by", "expires_at")


@command(app, "explain")
def explain(
    console: Console,
    user: Annotated[str, typer.Argument(metavar="USER", help="A user, a robot, or anonymous.")],
    action: Annotated[str, typer.Argument(metavar="ACTION", help="pull, push, overwrite, delete or manage.")],
    repository: Annotated[str, typer.Argument(metavar="REPOSITORY")],
) -> None:
    """Tell why somebody may do something in a repository, or not. Ends with 0 either way."""
    found = console.ask("GET", "access", "explain", user=user, action=action, repository=repository)
    console.done(found, found["summary"], *(f"  {', '.join(one['actions'])}: {one['why']}" for one in found["reasons"]))
