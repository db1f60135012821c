"""`moorage config`: check a configuration, show what is in force, describe what can be set."""

import json
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer

from moorage.cli.foresight import refusals
from moorage.settings import Loaded, Settings, SettingsError, load
from moorage.settings.keys import walk
from moorage.telemetry import redact, redact_url, visible
from moorage.telemetry.redact import MASK

app = typer.Typer(
    help="Check, show and describe the configuration.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)

Config = Annotated[
    Path | None, typer.Option("--config", "-c", help="The config.yml; without it, the one that `serve` would find.")
]


class Output(StrEnum):
    yaml = "yaml"
    json = "json"


@app.command()
def check(config: Config = None) -> None:
    """Tell every fault, and every setting that is not acted on. Ends with 1 where there is a fault."""
    try:
        loaded = load(config)
    except SettingsError as error:
        _report("faults", [str(fault) for fault in error.faults])
        _report("warnings", error.warnings)
        _report("ignored", error.ignored)
        raise typer.Exit(1) from None
    faults = list(refusals(loaded))
    _report("faults", [str(fault) for fault in faults])
    _report("warnings", loaded.warnings)
    _report("ignored", loaded.ignored)
    _report("different from Docker Registry", loaded.notices)
    if faults:
        raise typer.Exit(1)
    print(visible(f"{loaded.source or 'no configuration file, and the environment'}: fine"))


@app.command()
def show(
    config: Config = None,
    *,
    origin: Annotated[bool, typer.Option("--origin", help="Tell where each value comes from.")] = False,
    output: Annotated[Output, typer.Option("--output", "-o", help="How to write it.")] = Output.yaml,
) -> None:
    """Show the settings in force. File, environment and defaults are put together; secrets are masked."""
    loaded = load(config)
    shown = with_origins(loaded) if origin else in_force(loaded.settings)
    if output is Output.json:
        print(json.dumps(shown, indent=2))
    elif not origin:
        print(_yaml(shown), end="")
    else:
        for name, entry in shown.items():
            print(f"{name}: {_flow(entry['value'])}  # {visible(entry['origin'])}")


@app.command()
def schema() -> None:
    """Print the JSON schema of config.yml."""
    from moorage.settings.schema import json_schema

    print(json.dumps(json_schema(), indent=2))


def in_force(settings: Settings) -> dict[str, Any]:
    """What is acted on, as a configuration that means the same; secrets are masked, what is unset is left out."""
    tree: dict[str, Any] = {}
    for path, value in _values(settings):
        here = tree
        for part in path[:-1]:
            here = here.setdefault(part, {})
        here[path[-1]] = value
    return tree


def with_origins(loaded: Loaded) -> dict[str, dict[str, Any]]:
    """The same by dotted key, with the place that each value comes from."""
    return {
        ".".join(path): {"value": value, "origin": loaded.origins[".".join(path)]}
        for path, value in _values(loaded.settings)
    }


def _values(settings: Settings) -> list[tuple[tuple[str, ...], Any]]:
    everything = settings.model_dump(mode="json")
    everything["database"]["url"] = settings.database_url
    everything["storage"]["filesystem"]["rootdirectory"] = str(settings.blobs)
    if settings.ephemeral:
        del everything["storage"]["filesystem"]
    found = []
    for key in walk():
        value: Any = everything
        for part in key.path:
            value = value.get(part) if isinstance(value, dict) else None
        if value is None or key.ignored:
            continue
        if key.name == "database.url":
            value = redact_url(value)
        elif key.hidden:
            value = MASK
        found.append((key.path, redact(value)))
    return found


def _report(title: str, lines: list[str]) -> None:
    if lines:
        print(f"{title}:")
        for line in lines:
            print(f"  {visible(line)}")


def _yaml(value: Any) -> str:
    import yaml

    return str(yaml.safe_dump(value, sort_keys=False, allow_unicode=True, width=1000))


def _flow(value: Any) -> str:
    import yaml

    text = str(yaml.safe_dump(value, default_flow_style=True, allow_unicode=True, width=100_000))
    return text.removesuffix("\n").removesuffix("\n...")
