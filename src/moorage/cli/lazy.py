"""Commands that are imported when they are asked for, so that `moorage --help` answers at once."""

from importlib import import_module
from typing import Any, ClassVar

import typer
from typer.core import TyperCommand, TyperGroup

from moorage.cli.imports import keep_imports


class LazyGroup(TyperGroup):
    """A group some of whose commands are only a line in a table until one of them is run."""

    table: ClassVar[dict[str, tuple[str, str]]] = {}
    """By command: where it is, as `module:name` of a function or a `typer.Typer`, and its line in the help."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        for name, (_, summary) in self.table.items():
            self.commands[name] = TyperCommand(name, help=summary)

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        name, command, rest = super().resolve_command(ctx, args)
        if name in self.table:
            command = imported(name, self.table[name][0])
        return name, command, rest


def imported(name: str, place: str) -> Any:
    module, _, attribute = place.partition(":")
    target = getattr(import_module(module), attribute)
    keep_imports()
    if not isinstance(target, typer.Typer):
        function, target = target, typer.Typer(add_completion=False, rich_markup_mode=None)
        target.command(name)(function)
    command = typer.main.get_command(target)
    command.name = name
    return command
