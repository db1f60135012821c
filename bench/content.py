"""Blobs and images to push: incompressible, and never the same twice."""

import hashlib
import json
import os
from dataclasses import dataclass
from typing import Final

MANIFEST: Final = "application/vnd.oci.image.manifest.v1+json"
_CONFIG: Final = "application/vnd.oci.image.config.v1+json"
_LAYER: Final = "application/vnd.oci.image.layer.v1.tar+gzip"
_SUFFIX: Final = 16
_BLOCK: Final = 1024 * 1024


def digest_of(content: bytes) -> str:
    return f"sha256:{hashlib.sha256(content).hexdigest()}"


@dataclass(frozen=True, slots=True)
class Blob:
    """A blob in two parts: bytes shared with others of its size, and what makes it this one."""

    shared: bytes
    own: bytes
    digest: str

    @property
    def size(self) -> int:
        return len(self.shared) + len(self.own)

    @classmethod
    def of(cls, content: bytes) -> "Blob":
        return cls(b"", content, digest_of(content))


class Blobs:
    """Makes large blobs of one size.  They differ in their last bytes only, so that a digest costs nothing."""

    def __init__(self, size: int) -> None:
        self.size = size
        block = os.urandom(min(size, _BLOCK))
        self._shared = (block * (size // len(block) + 1))[: size - _SUFFIX]
        self._hash = hashlib.sha256(self._shared)

    def new(self) -> Blob:
        own = os.urandom(_SUFFIX)
        whole = self._hash.copy()
        whole.update(own)
        return Blob(self._shared, own, f"sha256:{whole.hexdigest()}")


@dataclass(frozen=True, slots=True)
class Image:
    """An image of one config and some layers."""

    blobs: tuple[Blob, ...]
    manifest: bytes

    def sibling(self, number: int) -> bytes:
        """The manifest of another image with the same layers: what a build without changed layers pushes."""
        document = json.loads(self.manifest)
        document["annotations"] = {"org.opencontainers.image.revision": f"{number:040x}"}
        return json.dumps(document).encode()

    def referrer(self, subject: bytes, number: int) -> bytes:
        """A manifest that refers to another one, as a signature of it does; it has this image's layers."""
        document = json.loads(self.sibling(number))
        document["artifactType"] = "application/vnd.example.signature"
        document["subject"] = {"mediaType": MANIFEST, "digest": digest_of(subject), "size": len(subject)}
        return json.dumps(document).encode()


def new_image(layers: int = 10, size: int = 1024) -> Image:
    config = json.dumps({"architecture": "amd64", "os": "linux", "created": os.urandom(8).hex()}).encode()
    blobs = (Blob.of(config), *(Blob.of(os.urandom(size)) for _ in range(layers)))
    descriptors = [
        {"mediaType": _LAYER if at else _CONFIG, "digest": one.digest, "size": one.size} for at, one in enumerate(blobs)
    ]
    document = {"schemaVersion": 2, "mediaType": MANIFEST, "config": descriptors[0], "layers": descriptors[1:]}
    return Image(blobs, json.dumps(document).encode())
