"""Settings from the environment: `REGISTRY_HTTP_TLS_KEY` is `http.tls.key`.

Keys contain underscores themselves, so a name is resolved by walking the model.  Elements of a list are named
by their index; a list or a section as a whole is a YAML value; `REGISTRY_STORAGE=inmemory` picks the driver;
`REGISTRY_…_FILE` names a file that holds the value, as container platforms mount secrets.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path as File
from typing import Any, Final

from moorage.settings.document import Document, value_of
from moorage.settings.faults import Fault
from moorage.settings.keys import Path, element_of, is_free, near_variable, section_of
from moorage.settings.model import Settings
from moorage.settings.values import Section

PREFIX: Final = "REGISTRY_"
_NOT_SETTINGS: Final = {"REGISTRY_CONFIGURATION_PATH", "REGISTRY_VERSION"}
_SERVICE_LINK: Final = re.compile(
    r"REGISTRY_(.+_)?(PORT(_\d+_(TCP|UDP|SCTP)(_(PORT|PROTO|ADDR))?)?|SERVICE_(HOST|PORT.*))"
)


Steps = tuple[str | int, ...]
"""A path into the tree, elements of lists as numbers."""


@dataclass(frozen=True, slots=True)
class _Target:
    """A setting, or a part of one; its type is None where anything may stand."""

    path: Steps
    annotation: Any


def resolve(rest: str, annotation: Any = Settings, path: Steps = ()) -> _Target | None:
    """The setting below a type that the rest of a variable's name means, or None."""
    section = section_of(annotation)
    if section is not None:
        return _in_section(rest, section, path)
    element = element_of(annotation)
    if element is not None:
        index, _, inner = rest.partition("_")
        if not re.fullmatch(r"\d{1,4}", index):
            return None
        here = (*path, int(index))
        return resolve(inner, element, here) if inner else _Target(here, element)
    if is_free(annotation):
        return _Target((*path, _free_name(rest, path)), None)
    return None


def _in_section(rest: str, section: type[Section], path: Steps) -> _Target | None:
    # The longest name first: of `a` and `a_b`, A_B_C means the second.
    for name in sorted(section.model_fields, key=len, reverse=True):
        field = section.model_fields[name]
        annotation = field.annotation
        if rest == name.upper():
            return _Target((*path, name), annotation)
        if rest.startswith(name.upper() + "_"):
            found = resolve(rest[len(name) + 1 :], annotation, (*path, name))
            if found:
                return found
    return None


def _free_name(rest: str, path: Steps) -> str:
    """A header may be written as `X-Frame-Options` or, where a shell does not allow it, `X_FRAME_OPTIONS`."""
    if path == ("http", "headers"):
        return rest.replace("_", "-").title() if rest.isupper() else rest.replace("_", "-")
    return rest.lower()


def apply(document: Document, environ: Mapping[str, str]) -> list[str]:
    """Sets what the environment sets in a document.  Returns warnings; faults go to the document."""
    warnings: list[str] = []
    links: list[str] = []
    targets: list[tuple[_Target, str, str]] = []
    for name in sorted(environ):
        if not name.startswith(PREFIX) or name in _NOT_SETTINGS:
            continue
        target, from_file = _meant(name.removeprefix(PREFIX))
        if (target is None or target.annotation is None) and _SERVICE_LINK.fullmatch(name):
            links.append(name)
            continue
        if target is None:
            warnings.append(_unknown(name))
            continue
        value = _contents(document, name, target, environ) if from_file else environ[name]
        if value == "":
            warnings.append(f"{name} is empty and changes nothing")
        elif value is not None:
            targets.append((target, name, value))
    if links:
        warnings.append(
            f"{', '.join(links)}: not settings; they look like Kubernetes' links to a Service named registry "
            "(enableServiceLinks: false turns them off)"
        )
    for target, name, value in sorted(targets, key=lambda item: _order(item[0].path)):
        _assign(document, target, name, value)
    return warnings


def _meant(rest: str) -> tuple[_Target | None, bool]:
    """What the rest of a variable's name sets, and whether its value is the name of a file."""
    target = resolve(rest)
    if rest.endswith("_FILE") and (target is None or target.annotation is None):
        # Where any key may stand, `…_FILE` is one of them, unless it means the whole section.
        whole = resolve(rest.removesuffix("_FILE"))
        if target is None or (whole is not None and whole.annotation is not None):
            return whole, True
    return target, False


def _order(path: Steps) -> tuple[tuple[int, str], ...]:
    """Whole sections before what is inside them, elements of a list by number."""
    return tuple((part, "") if isinstance(part, int) else (-1, part) for part in path)


def _unknown(name: str) -> str:
    near = near_variable(name)
    return f"{name} is not a setting and is ignored" + (f"; did you mean {near}?" if near else "")


def _contents(document: Document, name: str, target: _Target, environ: Mapping[str, str]) -> str | None:
    plain = name.removesuffix("_FILE")
    key = ".".join(_names(target.path))
    if plain in environ:
        document.faults.append(Fault(name, key, f"is given twice, by {plain} as well; keep one"))
        return None
    try:
        return File(environ[name]).read_text(encoding="utf-8").rstrip("\r\n")
    except (OSError, UnicodeDecodeError) as reason:
        why = reason.strerror if isinstance(reason, OSError) else "it is not UTF-8 text"
        document.faults.append(Fault(name, key, f"the file {environ[name]} cannot be read: {why}"))
        return None


def _assign(document: Document, target: _Target, name: str, text: str) -> None:
    section = section_of(target.annotation)
    if section is None and not _is_structure(target.annotation):
        put(document, target.path, text, name)
        return
    value, parsed = value_of(text, _names(target.path), name)
    document.faults += parsed.faults
    if section is not None and section.choices and isinstance(value, str):
        _choose(document, target.path, section, str(value), name)
        return
    put(document, target.path, value, name)
    document.places |= parsed.places


def _is_structure(annotation: Any) -> bool:
    return annotation is None or element_of(annotation) is not None or is_free(annotation)


def _choose(document: Document, path: Steps, section: type[Section], choice: str, name: str) -> None:
    """Picks a driver or provider by its name: the others leave, its own settings stay."""
    here = _at(document.tree, path)
    for other in section.choices:
        if other != choice and isinstance(here, dict) and here.pop(other, here) is not here:
            _forget(document, _names((*path, other)))
    if not isinstance(here, dict) or not isinstance(here.get(choice), dict):
        put(document, (*path, choice), {}, name)


def _at(tree: Any, path: Steps) -> Any:
    for part in path:
        tree = tree.get(part) if isinstance(tree, dict) else None
    return tree


def _names(path: Steps) -> Path:
    return tuple(str(part) for part in path)


def _forget(document: Document, path: Path) -> None:
    for old in [old for old in document.places if old[: len(path)] == path]:
        del document.places[old]


def put(document: Document, path: Steps, value: Any, place: str) -> None:
    """Sets one part of a document's tree; an element of a list may be replaced or added at the end."""
    here: Any = document.tree
    for depth, part in enumerate(path[:-1]):
        here = _below(here, part, list if isinstance(path[depth + 1], int) else dict)
        document.places.setdefault(_names(path[: depth + 1]), place)
    _forget(document, _names(path))
    document.places[_names(path)] = place
    last = path[-1]
    if isinstance(last, str):
        here[last] = value
    elif last > len(here):
        problem = f"there is no element {len(here)} before it; number them from 0"
        document.faults.append(Fault(place, ".".join(_names(path)), problem))
    else:
        here[last : last + 1] = [value]


def _below(here: Any, part: str | int, kind: type) -> Any:
    """The dictionary or list below a key, made where there is none."""
    if isinstance(part, int):
        part = min(part, len(here))
        here += [kind()] * (part == len(here))
    old = here[part] if isinstance(part, int) else here.get(part)
    if not isinstance(old, kind):
        # `auth: htpasswd` is short for a section with nothing in it, and one value for a list of one.
        here[part] = kind() if not isinstance(old, str) else [old] if kind is list else {str(old): {}}
    return here[part]
