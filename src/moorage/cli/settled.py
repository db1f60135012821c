"""Settings as plain values, which are read and checked in another process than the one that serves by them."""

import tempfile
from collections.abc import Mapping
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Never, cast

from moorage.errors import Code, RegistryError

if TYPE_CHECKING:
    from moorage.settings import Loaded


class Plain:
    """What a section of the settings, or all that was loaded, has as attributes; never changed, and never shown."""

    def __init__(self, **values: Any) -> None:
        self.__dict__.update(values)

    def __setattr__(self, name: str, value: object) -> Never:
        raise AttributeError(f"{name} is a setting, which cannot be changed")

    def __repr__(self) -> str:
        return "<settings>"


def settled(config: Path | None, overrides: Mapping[str, object]) -> "Loaded":
    """The settings to serve by, in stand-ins that need nothing of `moorage.settings`; `origins` is left out.

    Raises what `load` raises, and DENIED for what nobody should serve by.
    """
    from moorage.settings import load

    loaded = load(config, overrides=overrides)
    settings = loaded.settings
    if settings.auth.silly is not None:
        raise RegistryError(Code.DENIED, _silly(loaded.source))
    if settings.ephemeral:
        settings = settings.moved(Path(tempfile.mkdtemp(prefix="moorage-")))
    told = {"warnings": loaded.warnings, "ignored": loaded.ignored, "notices": loaded.notices}
    return cast("Loaded", Plain(settings=plain(settings), source=loaded.source, **told))


def plain(value: Any) -> Any:
    """A section with all in it, and what it computes."""
    from moorage.settings.values import Section

    if isinstance(value, Section):
        kind = type(value)
        ours = [name for name in dir(kind) if not hasattr(Section, name)]
        computed = [name for name in ours if isinstance(getattr(kind, name), property)]
        return Plain(**{name: plain(getattr(value, name)) for name in [*kind.model_fields, *computed]})
    if isinstance(value, list | tuple):
        return type(value)(map(plain, value))
    return value


def written(value: Any) -> Any:
    """Plain values, as JSON can say them: what it has no word for is an object of one member, its kind."""
    kind = type(value)
    if value is None or kind in {bool, int, float, str}:
        return value
    if kind is Plain:
        return {"section": {name: written(one) for name, one in value.__dict__.items()}}
    if kind is dict:
        return {"dict": {name: written(one) for name, one in value.items()}}
    if isinstance(value, Path):
        return {"path": str(value)}
    if kind is timedelta:
        return {"microseconds": value // timedelta(microseconds=1)}
    return {_LISTS[kind]: [written(one) for one in value]}


def read(value: Any) -> Any:
    """The same, back from JSON."""
    if not isinstance(value, dict):
        return value
    ((kind, inner),) = value.items()
    if kind == "section":
        return Plain(**{name: read(one) for name, one in inner.items()})
    if kind == "dict":
        return {name: read(one) for name, one in inner.items()}
    if kind == "path":
        return Path(inner)
    if kind == "microseconds":
        return timedelta(microseconds=inner)
    return _KINDS[kind](map(read, inner))


_KINDS: Final[dict[str, Any]] = {"list": list, "tuple": tuple, "set": frozenset}
_LISTS: Final = {kind: name for name, kind in _KINDS.items()}


def _silly(source: Path | None) -> str:
    return (
        f"auth.silly is configured ({source or 'environment'}): it lets in whoever sends an Authorization header, "
        "so it is refused; leave it away to use the registry's own accounts, or start a laboratory with --open"
    )
