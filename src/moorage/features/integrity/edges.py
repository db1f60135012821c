"""The one rule of what a manifest's rows have to say: what its bytes say, bound to what is there."""

import json
from collections.abc import Iterator

from moorage.errors import RegistryError
from moorage.features.integrity.rows import Edge, Row
from moorage.oci.manifest import Manifest


def parsed(row: Row) -> Manifest | None:
    """What the bytes say; None for a manifest that only an older version accepted, of which nothing can be said."""
    try:
        return Manifest.parse(row.content, row.stored.media_type)
    except RegistryError:
        return None


def faults(row: Row, edges: list[Edge], *, sparse: bool = True) -> list[str]:
    """Everything in which the rows differ from the bytes.

    Unless the registry is `sparse`, a blob that is not here at all is one too; nothing but a push mends that.
    """
    manifest = parsed(row)
    if manifest is None:
        return []
    found = [*_derived(row, manifest)]
    wanted = [(place, str(one.digest), one.role.value) for place, one in enumerate(manifest.descriptors)]
    if wanted != [(edge.position, edge.digest, edge.role) for edge in edges]:
        return [*found, "its edges are not those that its bytes say"]
    for one, edge in zip(manifest.descriptors, edges, strict=True):
        if edge.bound and edge.target != edge.digest:
            found.append(f"the edge to {edge.digest} leads to {edge.target or 'what is gone'}")
        elif not edge.linked:
            found.append(f"the blob {edge.digest} has no link to the repository")
        elif not edge.bound and edge.there:
            found.append(f"the edge to {edge.digest} waits for it, although it is there")
        elif not (edge.bound or sparse or one.elsewhere) and edge.role in {"config", "layer"}:
            found.append(f"the blob {edge.digest} is not in the repository; push it")
    return found


def _derived(row: Row, manifest: Manifest) -> Iterator[str]:
    if row.subject != (str(manifest.subject.digest) if manifest.subject else None):
        yield "its row has another subject than its bytes"
    if row.artifact_type != manifest.artifact_type:
        yield "its row has another artifact type than its bytes"
    try:
        annotations = json.loads(row.annotations or "{}")
    except ValueError:
        annotations = None
    if annotations != manifest.annotations:
        yield "its row has other annotations than its bytes"
