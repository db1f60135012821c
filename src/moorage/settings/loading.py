"""From a file, the environment and the command line to `Settings`, with every fault told at once.

The command line wins over the environment, the environment over the file, the file over the defaults.  A data folder
that the command line names is a registry by itself: no file in `SEARCH` is read, and none moves its blobs elsewhere.
"""

import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path as File
from typing import Any, Final

from pydantic import ValidationError

from moorage.settings import environment
from moorage.settings.document import Document, read
from moorage.settings.faults import Fault, SettingsError, fault_of, place_of
from moorage.settings.keys import Path, element_of, ignored_keys, known, section_of
from moorage.settings.model import Settings
from moorage.settings.values import Section

SEARCH: Final = (
    File("/etc/distribution/config.yml"),
    File("/etc/docker/registry/config.yml"),
    File("/etc/moorage/config.yml"),
)
"""Where a configuration file is looked for when neither one nor a data folder is named."""

_DEFAULT_DATA: Final = File("/var/lib/registry")
_COMMAND_LINE: Final = "command line"
_ROOT: Final[Path] = ("storage", "filesystem", "rootdirectory")


@dataclass(frozen=True, slots=True)
class Loaded:
    """Settings, and what is to be said about them at the start."""

    settings: Settings
    source: File | None
    """The configuration file, where there is one."""
    warnings: list[str]
    ignored: list[str]
    """Docker Registry's settings that are not acted on, each with its place and the reason."""
    notices: list[str]
    """Where the meaning differs from Docker Registry's."""
    origins: dict[str, str]
    """Where each setting's value comes from, by dotted key; `default` where nobody set it."""


def load(
    config: File | None = None,
    *,
    environ: Mapping[str, str] | None = None,
    overrides: Mapping[str, object] | None = None,
    search: tuple[File, ...] = SEARCH,
) -> Loaded:
    """The settings in force.  `overrides` are the command line's, by dotted key; None means not given.

    Raises `SettingsError` with all faults of all sources.
    """
    environ = os.environ if environ is None else environ
    given = {key: value for key, value in (overrides or {}).items() if value is not None}
    alone = "data" in given
    named, found = _named(config, environ), _found(search)
    source = named or (None if alone else found)
    document = read(source) if source else Document()
    warnings = _left_alone(document, found if named is None else None) if alone else []
    warnings += environment.apply(document, environ)
    for key, value in given.items():
        environment.put(document, tuple(key.split(".")), value, _COMMAND_LINE)
    _old_level(document, warnings)
    tree = _without_nulls(document.tree, Settings)
    ignored = [_why_ignored(key.path, key.ignored or "", document) for key in ignored_keys(tree)]
    settings = _validated(tree, document, warnings, ignored)
    settings, data_origin = _with_data(settings.read_from(source), document, environ)
    origins = {key.name: document.places.get(key.path, "default") for key in known().values()}
    origins["data"] = data_origin
    return Loaded(settings, source, warnings, ignored, list(_notices(settings, origins)), origins)


def _named(config: File | None, environ: Mapping[str, str]) -> File | None:
    return config or (File(value) if (value := environ.get("REGISTRY_CONFIGURATION_PATH")) else None)


def _found(search: tuple[File, ...]) -> File | None:
    return next((file for file in search if file.is_file()), None)


def _left_alone(document: Document, found: File | None) -> list[str]:
    """Take from a file what would move the blobs out of the folder that `--data` names; gives the warnings."""
    warnings = [f"{found} is not read, because --data is given; name it with --config if you mean it"] if found else []
    storage = document.tree.get("storage")
    driver = storage.get("filesystem") if isinstance(storage, dict) else None
    if isinstance(driver, dict) and driver.pop("rootdirectory", None) is not None:
        where = document.places.pop(_ROOT, "")
        warnings.append(
            f"{where}: {'.'.join(_ROOT)} is not used, because --data names the folder for everything; to keep blobs "
            "elsewhere than the database, set `data` in the file"
        )
    return warnings


def _old_level(document: Document, warnings: list[str]) -> None:
    level = document.tree.pop("loglevel", None)
    if level is None:
        return
    where = place_of(("loglevel",), document.places)
    warnings.append(f"{where}: loglevel is Docker Registry's former name of log.level")
    log = document.tree.get("log")
    if log is None or (isinstance(log, dict) and log.get("level") is None):
        environment.put(document, ("log", "level"), level, where)


def _without_nulls(tree: Any, annotation: Any) -> Any:
    """A key without a value is an empty section, or else as good as not written."""
    section = section_of(annotation)
    if section is None or not isinstance(tree, dict):
        element = section_of(element_of(annotation))
        return [_without_nulls(part, element) for part in tree] if element and isinstance(tree, list) else tree
    return {
        name: _without_nulls({} if value is None else value, _annotation(section, name))
        for name, value in tree.items()
        if value is not None or _means_something_alone(section, name)
    }


def _means_something_alone(section: type[Section], name: str) -> bool:
    """A section, a driver, or a key that we do not know and have to complain about."""
    known_key = name in section.model_fields
    return not known_key or name in section.choices or section_of(_annotation(section, name)) is not None


def _annotation(section: type[Section], name: str) -> Any:
    field = section.model_fields.get(name)
    return field.annotation if field else None


def _validated(tree: Any, document: Document, warnings: list[str], ignored: list[str]) -> Settings:
    try:
        settings = Settings.model_validate(tree)
    except ValidationError as reason:
        details = reason.errors(include_url=False)
        faults = document.faults + [fault_of(error, document.places) for error in details]
        raise SettingsError(sorted(faults, key=_order), warnings, ignored) from None
    if faults := document.faults + list(_contradictions(settings, document)):
        raise SettingsError(sorted(faults, key=_order), warnings, ignored)
    return settings


def _contradictions(settings: Settings, document: Document) -> Iterator[Fault]:
    """What sections say against each other that are right by themselves."""
    if settings.auth.certificates and not settings.http.tls.verifies:
        if settings.http.tls.clientcas:
            problem = "needs http.tls.clientauth to verify: verify-client-cert-if-given, require-and-verify-client-cert"
        else:
            problem = "needs http.tls.clientcas: a certificate that nobody verifies proves nothing"
        yield _fault(document, ("auth", "certificates"), problem)
    if settings.ephemeral and settings.http.workers not in {1, "auto"}:
        problem = "must be 1 where storage is in memory: processes have no memory in common"
        yield _fault(document, ("http", "workers"), problem)


def _fault(document: Document, path: Path, problem: str) -> Fault:
    return Fault(place_of(path, document.places), ".".join(path), problem)


def _order(fault: Fault) -> tuple[bool, str, int]:
    """The file from top to bottom, then the rest by name."""
    name, _, line = fault.where.rpartition(":")
    return (False, name, int(line)) if line.isdigit() else (True, fault.where, 0)


def _why_ignored(path: Path, why: str, document: Document) -> str:
    return f"{place_of(path, document.places)}: {'.'.join(path)} is accepted and not acted on: {why}"


def _with_data(settings: Settings, document: Document, environ: Mapping[str, str]) -> tuple[Settings, str]:
    """The data folder: what is named, or the folder that is mounted for blobs, or one that can be written."""
    blobs = settings.storage.filesystem.rootdirectory
    if ("data",) in document.places:
        data, origin = settings.data, document.places["data",]
    elif blobs is not None:
        data, origin = blobs, place_of(_ROOT, document.places)
    else:
        data, origin = _default_data(environ), "default"
    return settings.moved(data.absolute()), origin


def _default_data(environ: Mapping[str, str]) -> File:
    nearest = next(folder for folder in (_DEFAULT_DATA, *_DEFAULT_DATA.parents) if folder.exists())
    if os.access(nearest, os.W_OK | os.X_OK):
        return _DEFAULT_DATA
    home = File(environ.get("HOME") or File.home())
    return File(environ.get("XDG_DATA_HOME") or home / ".local" / "share") / "moorage"


def _notices(settings: Settings, origins: Mapping[str, str]) -> Iterator[str]:
    if settings.auth.provider is None and not settings.auth.open:
        yield (
            "there is no `auth` section, so the registry is closed to anonymous clients; Docker Registry would be "
            "open (auth.open: true, or --open, opens this one)"
        )
    if settings.auth.provider == "silly":
        yield "auth.silly lets in everybody who sends any Authorization header; it is for tests only"
    if origins["storage.delete.enabled"] == "default":
        yield (
            "manifests and tags can be deleted by those who may; Docker Registry's default forbids it "
            "(storage.delete.enabled: false)"
        )
    if not settings.ephemeral and (File(settings.blobs) / "docker" / "registry" / "v2" / "repositories").is_dir():
        yield (
            f"{settings.blobs} has images that Docker Registry keeps there; this version does not read them: serve "
            "them with it at another port, and copy them over (crane copy, skopeo sync)"
        )
    if settings.ephemeral:
        yield "storage is in memory: everything is forgotten when the registry stops"
