"""The settings as a JSON schema, for editors that complete and check a `config.yml`."""

import ast
import inspect
from collections.abc import Iterator
from typing import Any

from moorage.settings.keys import element_of, section_of, walk
from moorage.settings.model import Settings
from moorage.settings.values import Section


def json_schema() -> dict[str, Any]:
    """The schema, each setting with the sentence that stands below it in the model."""
    schema = Settings.model_json_schema()
    ignored = {(id(key.field)): key.ignored for key in walk() if key.ignored}
    for section in sections():
        part = schema if section is Settings else schema["$defs"][section.__name__]
        for name, text in descriptions(section).items():
            why = ignored.get(id(section.model_fields[name]))
            part["properties"][name]["description"] = text + (f" Accepted and not acted on: {why}." if why else "")
    return schema


def sections(start: type[Section] = Settings) -> Iterator[type[Section]]:
    """Every section, the whole first."""
    yield start
    for field in start.model_fields.values():
        child = section_of(field.annotation) or section_of(element_of(field.annotation))
        if child is not None:
            yield from sections(child)


def descriptions(section: type[Section]) -> dict[str, str]:
    """The docstrings below a section's fields.  Read from the source, so that nobody else pays for them."""
    (definition,) = ast.parse(inspect.getsource(section)).body
    assert isinstance(definition, ast.ClassDef)
    found: dict[str, str] = {}
    for before, after in zip(definition.body, definition.body[1:], strict=False):
        if (
            isinstance(before, ast.AnnAssign)
            and isinstance(before.target, ast.Name)
            and before.target.id in section.model_fields
            and isinstance(after, ast.Expr)
            and isinstance(after.value, ast.Constant)
        ):
            found[before.target.id] = str(after.value.value)
    return found
