"""The media types we know and what they mean (image-spec, "Media Types"; Docker's image manifest v2.2)."""

from typing import Final

OCI_IMAGE: Final = "application/vnd.oci.image.manifest.v1+json"
OCI_INDEX: Final = "application/vnd.oci.image.index.v1+json"
OCI_ARTIFACT: Final = "application/vnd.oci.artifact.manifest.v1+json"
"""Dropped before image-spec 1.1 was final; older oras still pushes it."""

DOCKER_IMAGE: Final = "application/vnd.docker.distribution.manifest.v2+json"
DOCKER_LIST: Final = "application/vnd.docker.distribution.manifest.list.v2+json"

IMAGES: Final = frozenset({OCI_IMAGE, DOCKER_IMAGE, OCI_ARTIFACT})
INDEXES: Final = frozenset({OCI_INDEX, DOCKER_LIST})

SCHEMA_1: Final = frozenset(
    {
        "application/vnd.docker.distribution.manifest.v1+json",
        "application/vnd.docker.distribution.manifest.v1+prettyjws",
    }
)

_FOREIGN = ("application/vnd.oci.image.layer.nondistributable.", "application/vnd.docker.image.rootfs.foreign.")


def is_foreign(media_type: str) -> bool:
    """Whether a layer of this type may be kept elsewhere (image-spec, "Non-Distributable Layers")."""
    return media_type.startswith(_FOREIGN)


def essence(content_type: str) -> str:
    """A Content-Type header without its parameters."""
    return content_type.partition(";")[0].strip()
