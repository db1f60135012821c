"""`moorage config check|show|schema`."""

import json
import sys
from pathlib import Path

from moorage.settings import Settings, SettingsError, load


def run(what: str, file: Path | None) -> None:
    """Carry out one of the three; ends the process with 1 for faults and 2 for an unknown word."""
    if what == "schema":
        print(json.dumps(Settings.model_json_schema(), indent=2))
        return
    if what not in {"check", "show"}:
        print("moorage: say 'config check', 'config show' or 'config schema'", file=sys.stderr)
        sys.exit(2)
    try:
        loaded = load(file)
    except SettingsError as error:
        sys.exit(str(error))
    for line in (*loaded.warnings, *loaded.ignored):
        print(line, file=sys.stderr)
    if what == "check":
        print(f"{loaded.source or 'the defaults'}: fine")
        return
    print(loaded.settings.model_dump_json(indent=2))
