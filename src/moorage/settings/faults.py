"""What is wrong with a configuration, all of it together, in words that tell what to do."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from pydantic_core import ErrorDetails

from moorage.settings.keys import Path, known, near_key

Places = dict[Path, str]
"""Where each part of a configuration was written: `config.yml:12`, an environment variable, the command line."""


@dataclass(frozen=True, slots=True)
class Fault:
    """One thing wrong: where it was written, at which key (may be empty), and what to do about it."""

    where: str
    key: str
    problem: str

    def __str__(self) -> str:
        # A key with a colon inside may be a key and a secret with no space between them.
        key = self.key.partition(":")[0]
        return ": ".join(part for part in (self.where, key, self.problem) if part)


class SettingsError(ValueError):
    """The configuration cannot be used.  Holds every fault, and what would only have been reported."""

    def __init__(self, faults: Sequence[Fault], warnings: Sequence[str] = (), ignored: Sequence[str] = ()) -> None:
        count = "1 fault" if len(faults) == 1 else f"{len(faults)} faults"
        super().__init__(f"the configuration has {count}:\n" + "\n".join(f"  {fault}" for fault in faults))
        self.faults = list(faults)
        self.warnings = list(warnings)
        self.ignored = list(ignored)


def place_of(path: Path, places: Mapping[Path, str]) -> str:
    """Where a part of the configuration was written, or the nearest part around it."""
    for end in range(len(path), 0, -1):
        if path[:end] in places:
            return places[path[:end]]
    return ""


def fault_of(error: ErrorDetails, places: Mapping[Path, str]) -> Fault:
    """A fault from what pydantic says."""
    path = tuple(str(part) for part in error["loc"] if part != "[key]")
    return Fault(place_of(path, places), ".".join(path), _problem(error, path))


def _problem(error: ErrorDetails, path: Path) -> str:
    key = known().get(path)
    context = error.get("ctx", {})
    kind = error["type"]
    given = error["input"]
    # Where a section is expected, a text may be a key and a secret with no space between them: never repeat it.
    secret = kind.startswith("model") or (key is not None and key.hidden)
    shown = f", not '{given}'" if isinstance(given, str | int | float) and not secret else ""
    if kind == "extra_forbidden":
        if ":" in path[-1]:
            return "there is no such key; a colon needs a space behind it"
        near = near_key(path)
        return "there is no such key" + (f"; did you mean '{near}'?" if near else "")
    if kind == "value_error":
        return str(context["error"])
    if kind == "literal_error":
        return f"must be {context['expected']}{shown}"
    if kind in {"greater_than", "greater_than_equal"}:
        bound = context.get("gt", context.get("ge"))
        return f"must be {'more than' if kind == 'greater_than' else 'at least'} {bound}"
    words = _WORDS.get(kind)
    return words + (shown if kind != "missing" else "") if words else error["msg"]


_WORDS = {
    "missing": "is required",
    "bool_parsing": "must be true or false",
    "bool_type": "must be true or false",
    "int_parsing": "must be a whole number",
    "int_type": "must be a whole number",
    "int_from_float": "must be a whole number",
    "float_parsing": "must be a number",
    "string_type": "must be one value",
    "path_type": "must be a path",
    "model_type": "must be a section of keys",
    "model_attributes_type": "must be a section of keys",
    "dict_type": "must be a section of keys",
    "tuple_type": "must be a list",
}
