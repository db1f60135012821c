"""`moorage team`."""

from typing import Annotated

import typer

from moorage.cli.console import Console, command, group

app = group("Teams: members of an organisation whom rules name together.")

Team = Annotated[str, typer.Argument(metavar="ORGANISATION/TEAM")]
User = Annotated[str, typer.Argument(metavar="USER")]


@command(app, "add")
def add(console: Console, team: Team) -> None:
    """Add a team."""
    organisation, name = _split(team)
    made = console.ask("POST", "organisations", organisation, "teams", body={"name": name})
    console.done(made, f"{team} is there")


@command(app, "list")
def list_(console: Console, organisation: Annotated[str, typer.Argument(metavar="ORGANISATION")]) -> None:
    """List the teams of an organisation."""
    console.show(console.everything("organisations", organisation, "teams"), "organisation", "name")


@command(app, "delete")
def delete(console: Console, team: Team) -> None:
    """Take a team away, and with it what it was granted."""
    organisation, name = _split(team)
    console.ask("DELETE", "organisations", organisation, "teams", name)
    console.done({"name": name}, f"{team} is gone, and what it was granted")


@command(app, "members")
def members(console: Console, team: Team) -> None:
    """List who is in a team."""
    organisation, name = _split(team)
    console.show(console.everything("organisations", organisation, "teams", name, "members"), "name")


@command(app, "add-member")
def add_member(console: Console, team: Team, user: User) -> None:
    """Put a user into a team, and into its organisation where they are not in yet."""
    organisation, name = _split(team)
    console.ask("PUT", "organisations", organisation, "teams", name, "members", user)
    console.done({"name": user}, f"{user} is in {team}")


@command(app, "remove-member")
def remove_member(console: Console, team: Team, user: User) -> None:
    """Take a user out of a team; in the organisation they stay."""
    organisation, name = _split(team)
    console.ask("DELETE", "organisations", organisation, "teams", name, "members", user)
    console.done({"name": user}, f"{user} is not in {team} any more")


def _split(team: str) -> tuple[str, str]:
    organisation, slash, name = team.partition("/")
    if not slash or not organisation or not name:
        raise typer.BadParameter("write ORGANISATION/TEAM, as in acme/developers")
    return organisation, name
