"""What people type: passwords, which are never an argument, and spans of time."""

import os
import sys
from contextlib import suppress
from pathlib import Path
from typing import Annotated

import typer

from moorage.settings.values import parse_duration

Expires = Annotated[str | None, typer.Option("--expires", help="How long until it ends, such as 90d or 12h.")]
PasswordStdin = Annotated[bool, typer.Option("--password-stdin", help="Read the password from standard input.")]


def new_password(*, stdin: bool) -> str:
    """A password that somebody chooses: a line of standard input, or typed twice."""
    if stdin:
        return line("the new password")
    _need_terminal()
    return str(typer.prompt("New password", hide_input=True, confirmation_prompt=True, err=True))


def old_password(*, stdin: bool) -> str:
    """The password so far: the next line, or typed once."""
    if stdin:
        return line("your old password, on a line behind the new one,")
    _need_terminal()
    return str(typer.prompt("Old password", hide_input=True, err=True))


def line(what: str) -> str:
    """The next line of standard input.  Raises BadParameter where there is none."""
    text = sys.stdin.readline()
    if not text.strip():
        raise typer.BadParameter(f"{what} is missing from standard input")
    return text.rstrip("\r\n")


def confirm(question: str) -> None:
    """Go on only if somebody says yes.  Raises Abort, or BadParameter where nobody is there to ask."""
    try:
        typer.confirm(question, abort=True, err=True)
    except typer.Abort:
        if sys.stdin.isatty():
            raise
        raise typer.BadParameter("nobody said yes on standard input; --yes does not ask") from None


def folder(text: str) -> Path:
    """A folder that is named.  Raises BadParameter for an empty name, which would be the current one."""
    if not text:
        raise typer.BadParameter("is empty, as a variable that is not set; name a folder")
    return Path(text)


def _need_terminal() -> None:
    """Raise BadParameter where nobody can type a password unseen."""
    if sys.stdin.isatty():
        return
    with suppress(OSError):
        os.close(os.open("/dev/tty", os.O_RDWR | os.O_NOCTTY))
        return
    raise typer.BadParameter("there is no terminal to type a password at; give it with --password-stdin")


def seconds(text: str | None) -> int | None:
    """A span of time in seconds.  Raises BadParameter."""
    if text is None:
        return None
    try:
        return int(parse_duration(text).total_seconds())
    except ValueError as reason:
        raise typer.BadParameter(str(reason)) from None
