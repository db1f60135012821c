"""The map of all settings: which keys there are, found by walking the model."""

import types
from collections.abc import Iterator
from dataclasses import dataclass
from difflib import get_close_matches
from functools import cache
from typing import Annotated, Any, Union, get_args, get_origin

from pydantic.fields import FieldInfo

from moorage.settings.model import Settings
from moorage.settings.values import Ignored, Section, is_hidden

Path = tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Key:
    """One setting that holds a value; sections are not keys, an ignored section is."""

    path: Path
    field: FieldInfo

    @property
    def name(self) -> str:
        return ".".join(self.path)

    @property
    def variable(self) -> str:
        """The environment variable that sets it."""
        return "REGISTRY_" + "_".join(self.path).upper()

    @property
    def hidden(self) -> bool:
        return is_hidden(self.field.metadata)

    @property
    def ignored(self) -> str | None:
        """Why it is not acted on, or None where it is."""
        return next((mark.why for mark in self.field.metadata if isinstance(mark, Ignored)), None)


def bare(annotation: Any) -> Any:
    """A type without `Annotated` and without `| None`."""
    while True:
        origin = get_origin(annotation)
        if origin is Annotated:
            annotation = get_args(annotation)[0]
        elif origin in (Union, types.UnionType):
            annotation = next(arm for arm in get_args(annotation) if arm is not type(None))
        else:
            return annotation


def section_of(annotation: Any) -> type[Section] | None:
    """The section that a type is, or None where it is a value."""
    kind = bare(annotation)
    return kind if isinstance(kind, type) and issubclass(kind, Section) else None


def element_of(annotation: Any) -> Any:
    """The type of a list's elements, or None where the type is no list."""
    kind = bare(annotation)
    return get_args(kind)[0] if get_origin(kind) is tuple else None


def is_free(annotation: Any) -> bool:
    """Whether any key may stand below it."""
    kind = bare(annotation)
    return kind is Any or kind is dict or get_origin(kind) is dict


def walk(section: type[Section] = Settings, path: Path = ()) -> Iterator[Key]:
    """Every setting, in the order of the model."""
    for name, field in section.model_fields.items():
        child = section_of(field.annotation)
        if child is not None and child.model_fields:
            yield from walk(child, (*path, name))
        else:
            yield Key((*path, name), field)


@cache
def known() -> dict[Path, Key]:
    return {key.path: key for key in walk()}


def ignored_keys(tree: Any, section: type[Section] = Settings, path: Path = ()) -> Iterator[Key]:
    """The settings in a tree that are accepted and not acted on."""
    if not isinstance(tree, dict):
        return
    for name, value in tree.items():
        field = section.model_fields.get(name)
        if field is None:
            continue
        key = Key((*path, name), field)
        child = section_of(field.annotation)
        if key.ignored:
            yield key
        elif child is not None:
            yield from ignored_keys(value, child, key.path)


def near_key(path: Path) -> str | None:
    """The setting that was perhaps meant by an unknown one."""
    section: type[Section] | None = Settings
    for name in path[:-1]:
        if section is None or name not in section.model_fields:
            return None
        annotation = section.model_fields[name].annotation
        section = section_of(annotation) or section_of(element_of(annotation))
    word = path[-1].lower()
    if section is not None:
        close = get_close_matches(word, section.model_fields, n=1, cutoff=0.7)
        if close:
            return ".".join((*path[:-1], close[0]))
    elsewhere = [key.name for key in walk() if key.path[-1] == word]
    return elsewhere[0] if len(elsewhere) == 1 else None


def near_variable(name: str) -> str | None:
    """The environment variable that was perhaps meant by an unknown one."""
    close = get_close_matches(name.upper(), [key.variable for key in walk()], n=1, cutoff=0.8)
    return close[0] if close else None
