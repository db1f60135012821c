"""Reading a YAML file into a tree that remembers on which line everything stands.

Leaves are `Text`, or None for an empty value.  Faults of form are collected: a key given twice, a key that is
no text, an alias inside itself.
"""

from dataclasses import dataclass, field
from pathlib import Path as File
from typing import Any, Final

import yaml

from moorage.settings.faults import Fault, Places
from moorage.settings.keys import Path
from moorage.settings.values import Text

_MERGE: Final = "tag:yaml.org,2002:merge"
_LARGEST: Final = 1024 * 1024
_DEEPEST: Final = 32


@dataclass(slots=True)
class Document:
    """A configuration file, or the YAML value of an environment variable."""

    tree: dict[str, Any] = field(default_factory=dict)
    places: Places = field(default_factory=dict)
    faults: list[Fault] = field(default_factory=list)


def read(file: File) -> Document:
    """The document in a file.  What prevents reading it is among its faults."""
    try:
        with file.open("rb") as stream:
            raw = stream.read(_LARGEST + 1)
    except OSError as reason:
        return Document(faults=[Fault(str(file), "", f"cannot be read: {reason.strerror}")])
    if len(raw) > _LARGEST:
        return Document(faults=[Fault(str(file), "", "is larger than 1 MiB, so hardly a configuration")])
    try:
        return parse(raw.decode("utf-8-sig"), str(file))
    except UnicodeDecodeError as reason:
        line = raw[: reason.start].count(b"\n") + 1
        return Document(faults=[Fault(f"{file}:{line}", "", "is not UTF-8 text")])


def parse(text: str, name: str) -> Document:
    """The document in a text; `name` is what faults call it."""
    reader = _Reader(name)
    try:
        node = yaml.compose(text, Loader=yaml.SafeLoader)
    except yaml.MarkedYAMLError as reason:
        return Document(faults=[_syntax(reason, name)])
    except yaml.YAMLError as reason:
        line = text[: getattr(reason, "position", 0)].count("\n") + 1
        return Document(faults=[Fault(f"{name}:{line}", "", "has a character that YAML does not allow")])
    except RecursionError:
        return Document(faults=[Fault(name, "", "is nested too deeply")])
    tree = reader.value(node, ()) if node is not None else None
    if tree is None and not reader.document.faults:
        return reader.document
    if isinstance(tree, dict):
        reader.document.tree = tree
    else:
        reader.document.faults.append(Fault(name, "", "must be keys and values, such as 'version: 0.1'"))
    return reader.document


def value_of(text: str, path: Path, place: str) -> tuple[Any, Document]:
    """The value that a text in YAML's flow style means, for one key; the document has its places and faults."""
    reader = _Reader(place, lines=False)
    try:
        node = yaml.compose(text, Loader=yaml.SafeLoader)
    except (yaml.YAMLError, RecursionError):
        reader.document.faults.append(Fault(place, ".".join(path), "is not valid YAML"))
        return None, reader.document
    return (reader.value(node, path) if node is not None else None), reader.document


def _syntax(reason: yaml.MarkedYAMLError, name: str) -> Fault:
    mark = reason.problem_mark or reason.context_mark
    words = " ".join(part for part in (reason.context, reason.problem) if part)
    if "'\\t'" in words:
        words = "is indented by a tab; YAML wants spaces"
    elif isinstance(reason, yaml.composer.ComposerError) and "alias" in words:
        # What looks like an alias may be a password that begins with an asterisk: never repeat it.
        words = "names an anchor that is not there; a value that begins with * needs quotes"
    return Fault(f"{name}:{mark.line + 1}" if mark else name, "", f"YAML: {words}")


class _Reader:
    """Turns nodes into a tree, noting places and faults on the way."""

    def __init__(self, name: str, *, lines: bool = True) -> None:
        self.name = name
        self.lines = lines
        self.document = Document()
        self._scalars = yaml.SafeLoader("")

    def _place(self, node: yaml.Node) -> str:
        return f"{self.name}:{node.start_mark.line + 1}" if self.lines else self.name

    def _fault(self, node: yaml.Node, path: Path, problem: str) -> None:
        self.document.faults.append(Fault(self._place(node), ".".join(path), problem))

    def value(self, node: yaml.Node, path: Path) -> Any:
        self.document.places.setdefault(path, self._place(node))
        if len(path) > _DEEPEST:
            self._fault(node, path[:4], "is nested too deeply, or contains itself")
            return None
        if isinstance(node, yaml.MappingNode):
            return self._mapping(node, path)
        if isinstance(node, yaml.SequenceNode):
            return [self.value(child, (*path, str(index))) for index, child in enumerate(node.value)]
        return self._scalar(node, path)

    def _scalar(self, node: yaml.Node, path: Path) -> Text | None:
        try:
            resolved = self._scalars.construct_object(node)
        except yaml.YAMLError:
            self._fault(node, path, "has a YAML tag, which means nothing here; a value that begins with ! needs quotes")
            return None
        except ValueError:
            # It looks like a date or a number and is none (2024-02-30): then it is text.
            resolved = node.value
        return None if resolved is None else Text(node.value, resolved)

    def _mapping(self, node: yaml.MappingNode, path: Path) -> dict[str, Any]:
        tree: dict[str, Any] = {}
        merged: dict[str, Any] = {}
        seen: dict[str, int] = {}
        for key, child in node.value:
            if key.tag == _MERGE:
                for source in child.value if isinstance(child, yaml.SequenceNode) else [child]:
                    value = self.value(source, path)
                    merged = (value if isinstance(value, dict) else {}) | merged
                continue
            if not isinstance(key, yaml.ScalarNode):
                self._fault(key, path, "has a key that is not text")
                continue
            name = str(key.value)
            where = (*path, name)
            if name in seen:
                self._fault(key, where, f"is given twice; the first time on line {seen[name]}")
                continue
            seen[name] = key.start_mark.line + 1
            self.document.places[where] = self._place(key)
            tree[name] = self.value(child, where)
        return merged | tree
