"""Manifests and indexes: from the exact bytes pushed to what they refer to.

The bytes are the truth and are stored as they came; a `Manifest` only says what we need to know about them.
"""

import json
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from enum import Enum
from typing import Any, Final, NoReturn

from moorage.errors import Code, RegistryError
from moorage.oci import mediatypes
from moorage.oci.digest import Digest

REFERENCES: Final = 10_000
"""Most descriptors in one manifest; a real image has fewer than 130 layers."""

ELEMENTS: Final = 20 * REFERENCES
"""Most commas and opening brackets in a manifest: of each, Python makes an object fifty times as large."""

MEDIA_TYPE: Final = 1024
"""Most characters of a media type in a manifest; RFC 6838 allows 255 before its parameters."""

_DIGITS: Final = 1000
_BYTE_ORDER_MARK: Final = b"\xef\xbb\xbf"

_NAMES: Final = frozenset(
    {
        *("schemaVersion", "mediaType", "artifactType", "config", "layers", "blobs", "manifests", "subject"),
        *("annotations", "digest", "size", "urls", "platform"),
    }
)
_FOLDED: Final = {name.casefold(): name for name in _NAMES}
"""Go matches the names of fields without regard to case, so another spelling of one would be read by some."""


class Role(Enum):
    """In which place of a manifest a descriptor stands."""

    CONFIG = "config"
    LAYER = "layer"
    CHILD = "child"
    SUBJECT = "subject"

    @property
    def names_manifest(self) -> bool:
        """Whether what stands there is a manifest: a child of an index, or the subject."""
        return self is Role.CHILD or self is Role.SUBJECT


@dataclass(frozen=True, slots=True)
class Descriptor:
    """A reference to content (image-spec, "Content Descriptors").  `size` is in bytes."""

    role: Role
    media_type: str
    digest: Digest
    size: int
    urls: tuple[str, ...] = ()
    platform: tuple[str, str] | None = None
    """Operating system and architecture, where an index names them."""

    @property
    def elsewhere(self) -> bool:
        """The content may be kept elsewhere: a non-distributable layer, or one that names `urls`."""
        return self.role is Role.LAYER and (bool(self.urls) or mediatypes.is_foreign(self.media_type))


@dataclass(frozen=True, slots=True)
class Manifest:
    """What an image manifest, an index or an artifact manifest says."""

    media_type: str
    references: tuple[Descriptor, ...]
    """Config, layers and children, in the order of the document; the subject is not among them."""
    subject: Descriptor | None
    artifact_type: str | None
    """What referrers lists show: `artifactType`, else an image's config media type ("Listing Referrers")."""
    annotations: dict[str, str]

    @property
    def descriptors(self) -> tuple[Descriptor, ...]:
        """The references and behind them the subject, if there is one."""
        return (*self.references, self.subject) if self.subject else self.references

    @staticmethod
    def parse(body: bytes, content_type: str | None) -> "Manifest":
        """Read a pushed manifest.  Raises MANIFEST_INVALID, saying where and what."""
        document = _document(body)
        media_type = _media_type(document, content_type)
        version = document.get("schemaVersion")
        if (type(version) is not int or version != 2) and media_type != mediatypes.OCI_ARTIFACT:
            _invalid(
                "'schemaVersion' must be 2; images of the old schema 1 are not accepted, push with a current client"
            )
        _not_both(document, media_type)
        references = (
            tuple(_many(document, "manifests", Role.CHILD))
            if media_type in mediatypes.INDEXES
            else tuple(_image(document, media_type))
        )
        named = document.get("subject")
        subject = None if named is None else _descriptor(named, Role.SUBJECT, "subject")
        return Manifest(media_type, references, subject, _artifact_type(document, media_type), _annotations(document))


def _invalid(reason: str) -> NoReturn:
    raise RegistryError(Code.MANIFEST_INVALID, f"the manifest is not valid: {reason}", reason=reason)


def _document(body: bytes) -> dict[str, Any]:
    if not body:
        _invalid("it is empty")
    if body.startswith(_BYTE_ORDER_MARK):
        _invalid("it begins with a byte order mark, which JSON must not")
    if body.count(b",") + body.count(b"{") + body.count(b"[") > ELEMENTS:
        _invalid(f"it has more than {ELEMENTS} commas and opening brackets")
    try:
        document = _JSON.decode(body.decode())
        if b"\\u" in body:  # an escaped lone surrogate is no text; nothing after us could encode it
            json.dumps(document, ensure_ascii=False).encode()
    except UnicodeError:
        _invalid("it is not UTF-8 text")
    except RecursionError:
        _invalid("it is nested too deeply")
    except ValueError as reason:
        _invalid(f"it is not JSON: {str(reason)[:200]}")
    if not isinstance(document, dict):
        _invalid("it is not a JSON object")
    _check_spelling(document, "")
    return document


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Refuse duplicate keys: two readers could each believe another one."""
    result = dict(pairs)
    if len(result) != len(pairs):
        twice = Counter(key for key, _ in pairs).most_common(1)[0][0]
        raise ValueError(f"an object has the key {twice[:40]!a} twice")
    return result


def _constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not a JSON number")


def _integer(digits: str) -> int:
    if len(digits) > _DIGITS:
        raise ValueError(f"a number has {len(digits)} digits")
    return int(digits)


_JSON: Final = json.JSONDecoder(object_pairs_hook=_object, parse_constant=_constant, parse_int=_integer)


def _check_spelling(found: dict[str, Any], where: str) -> None:
    for name in found.keys() - _NAMES:
        meant = _FOLDED.get(name.casefold())
        if meant is not None:
            _invalid(f"{where}{name[:40]!a} must be spelled '{meant}'")


def _media_type(document: dict[str, Any], content_type: str | None) -> str:
    """The header and the document must agree (CVE-2021-41190); either may be silent, not both and vague."""
    header = mediatypes.essence(content_type or "")
    inside = document.get("mediaType")
    if inside is not None and not isinstance(inside, str):
        _invalid("'mediaType' is not a string")
    if header and inside and header != inside:
        _invalid(f"Content-Type is {header[:200]!a}, but 'mediaType' is {inside[:200]!a}")
    media_type = header or inside or _guessed(document)
    if media_type in mediatypes.SCHEMA_1:
        _invalid("images of the old schema 1 are not accepted; push with a current client")
    if media_type not in mediatypes.IMAGES | mediatypes.INDEXES:
        known = ", ".join(sorted(mediatypes.IMAGES | mediatypes.INDEXES))
        _invalid(f"the media type {media_type[:200]!a} is not a manifest's; accepted are {known}")
    return media_type


def _guessed(document: dict[str, Any]) -> str:
    if "manifests" in document:
        return mediatypes.OCI_INDEX
    return mediatypes.OCI_IMAGE


def _not_both(document: dict[str, Any], media_type: str) -> None:
    """A document that reads as an image and as an index is neither (CVE-2021-41190)."""
    image = "layers" in document or "config" in document
    if image and (media_type in mediatypes.INDEXES or "manifests" in document):
        _invalid("it has the 'layers' or 'config' of an image, but is an index or has 'manifests'")
    if image and media_type == mediatypes.OCI_ARTIFACT:
        _invalid("an artifact manifest has 'blobs', not 'layers' or 'config'")
    if "manifests" in document and media_type in mediatypes.IMAGES:
        _invalid(f"'manifests' belongs to an index, but this is pushed as {media_type}")
    if "fsLayers" in document:
        _invalid("it has fields of the old schema 1; push with a current client")


def _image(document: dict[str, Any], media_type: str) -> Iterator[Descriptor]:
    if media_type == mediatypes.OCI_ARTIFACT:
        yield from _many(document, "blobs", Role.LAYER)
        return
    if not isinstance(document.get("config"), dict):
        _invalid("an image needs a 'config' descriptor")
    yield _descriptor(document["config"], Role.CONFIG, "config")
    yield from _many(document, "layers", Role.LAYER)


def _many(document: dict[str, Any], key: str, role: Role) -> Iterator[Descriptor]:
    """A list of descriptors; Go writes an empty list as null."""
    entries = document.get(key)
    if entries is None:
        entries = []
    if not isinstance(entries, list):
        _invalid(f"'{key}' is not a list")
    if len(entries) > REFERENCES:
        _invalid(f"'{key}' has {len(entries)} descriptors; {REFERENCES} are the most")
    for place, entry in enumerate(entries):
        yield _descriptor(entry, role, f"{key}[{place}]")


def _descriptor(entry: object, role: Role, where: str) -> Descriptor:
    if not isinstance(entry, dict):
        _invalid(f"'{where}' is not a descriptor: an object with 'mediaType', 'digest' and 'size'")
    if not _NAMES.issuperset(entry):
        _check_spelling(entry, f"in '{where}', ")
    media_type, digest, size = entry.get("mediaType"), entry.get("digest"), entry.get("size")
    if not isinstance(media_type, str) or not media_type:
        _invalid(f"'{where}' has no 'mediaType'")
    if not _is_media_type(media_type):
        _invalid_media_type(f"'mediaType' of '{where}'")
    if not isinstance(digest, str):
        _invalid(f"'{where}' has no 'digest'")
    if type(size) is not int or not 0 <= size < 2**63:
        _invalid(f"'{where}' has no 'size' that is a whole number of bytes")
    try:
        parsed = Digest.parse(digest)
    except RegistryError as error:
        _invalid(f"'{where}': {error.message}")
    urls = entry.get("urls")
    if urls is None:
        urls = []
    if not isinstance(urls, list) or not all(isinstance(url, str) for url in urls):
        _invalid(f"'{where}' has 'urls' that are not a list of strings")
    return Descriptor(role, media_type, parsed, size, tuple(urls), _platform(entry.get("platform")))


def _platform(found: object) -> tuple[str, str] | None:
    """What is malformed here only describes content, so it is no reason to refuse it."""
    if not isinstance(found, dict):
        return None
    return str(found.get("os", "")), str(found.get("architecture", ""))


def _is_media_type(text: str) -> bool:
    """Any type may be named; but a database, a header or a terminal must be able to hold it."""
    return len(text) <= MEDIA_TYPE and text.isprintable()


def _invalid_media_type(what: str) -> NoReturn:
    _invalid(f"{what} is no media type: it has control characters or more than {MEDIA_TYPE} characters")


def _artifact_type(document: dict[str, Any], media_type: str) -> str | None:
    named = document.get("artifactType")
    if named is not None and not isinstance(named, str):
        _invalid("'artifactType' is not a string")
    if named:
        if not _is_media_type(named):
            _invalid_media_type("'artifactType'")
        return named
    if media_type in mediatypes.INDEXES or media_type == mediatypes.OCI_ARTIFACT:
        return None
    return str(document["config"]["mediaType"])


def _annotations(document: dict[str, Any]) -> dict[str, str]:
    found = document.get("annotations")
    if found is None:
        return {}
    if not isinstance(found, dict) or not all(isinstance(value, str) for value in found.values()):
        _invalid("'annotations' is not an object of strings")
    return found
