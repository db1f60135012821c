"""What people type: passwords, which are never an argument, and spans of time."""

import sys
from typing import Annotated

import typer

from moorage.settings.values import parse_duration

Expires = Annotated[str | None, typer.Option("--expires", help="How long until it ends, such as 90d or 12h.")]
PasswordStdin = Annotated[bool, typer.Option("--password-stdin", help="Read the password from standard input.")]


def new_password(*, stdin: bool) -> str:
    """A password that somebody chooses: a line of standard input, or typed twice."""
    if stdin:
        return line()
    return str(typer.prompt("New password", hide_input=True, confirmation_prompt=True, err=True))


def old_password(*, stdin: bool) -> str:
    """The password so far: the next line, or typed once."""
    return line() if stdin else str(typer.prompt("Old password", hide_input=True, err=True))


def line() -> str:
    """The next line of standard input.  Raises BadParameter where there is none."""
    text = sys.stdin.readline()
    if not text.strip():
        raise typer.BadParameter("there is no password on standard input")
    return text.rstrip("\r\n")


def seconds(text: str | None) -> int | None:
    """A span of time in seconds.  Raises BadParameter."""
    if text is None:
        return None
    try:
        return int(parse_duration(text).total_seconds())
    except ValueError as reason:
        raise typer.BadParameter(str(reason)) from None
