"""What is done about what a check has found.  Every function is one transaction's work, and looks again first.

rotten bytes            are served no more until they are pushed again; their old key is kept for a while then
sound bytes, held back  are served again
a wrong size in a row   is corrected, where the bytes have their digest
edges, what lists show  are written again, as the manifest's bytes say them
"""

from enum import StrEnum

from moorage.access.actor import SYSTEM
from moorage.core.damage import condemn, tell
from moorage.db import blobs, events, manifests, repositories
from moorage.db.blobs import Blob
from moorage.db.engine import Tx
from moorage.features.integrity import edges, rows, verify
from moorage.features.integrity.verify import Damage, is_rotten
from moorage.oci.digest import Digest


class Then(StrEnum):
    """What became of a finding."""

    LEFT = "left"
    REPAIRED = "repaired"
    QUARANTINED = "quarantined"
    """It is served no more, until somebody pushes it again."""


def blob(tx: Tx, found: Blob, damage: Damage | None, now: int) -> Then:
    """Act on what was found of a blob's bytes, unless it was deleted or pushed again meanwhile: then nothing is done.

    `damage` is None for one that was held back and is sound.
    """
    if found.key is None:
        fresh = rows.blob(tx, found.id, lock=True)
        if fresh is None or fresh.content is None:
            return Then.LEFT
        damage = verify.content(fresh.digest, fresh.size, fresh.content)
    if is_rotten(damage):
        return Then.QUARANTINED if condemn(tx, found, str(damage), now) else Then.LEFT
    size = found.size if damage is None or damage.true_size is None else damage.true_size
    if not rows.absolve(tx, found, size):
        return Then.LEFT
    tell(tx, found, "blob.healed", {}, now)
    return Then.REPAIRED


def manifest(tx: Tx, identity: int, now: int) -> Then:
    """Look at a manifest's bytes once more, and hold it back or let it go."""
    row = _locked(tx, identity)
    if row is None:
        return Then.LEFT
    stored = row.stored
    damage = verify.content(stored.digest, stored.size, row.content)
    facts: dict[str, object] = {"digest": str(stored.digest)}
    if is_rotten(damage):
        if not manifests.condemn(tx, identity):
            return Then.LEFT
        facts["reason"] = str(damage)
        events.append(tx, "manifest.damaged", row.repository.name.value, SYSTEM.name, facts, now)
        return Then.QUARANTINED
    if damage is None and not stored.damaged:
        return Then.LEFT
    manifests.heal(tx, stored, row.content)
    events.append(tx, "manifest.healed", row.repository.name.value, SYSTEM.name, facts, now)
    return Then.REPAIRED


def references(tx: Tx, identity: int, now: int, leased_until: int) -> Then:
    """Write a manifest's edges and what lists show of it as its bytes say them."""
    row = _locked(tx, identity)
    if row is None:
        return Then.LEFT
    between = rows.edges_between(tx, identity, identity).get(identity, [])
    parsed = edges.parsed(row)
    if parsed is None or not edges.faults(row, between):
        return Then.LEFT
    digests = {one.digest for one in parsed.descriptors}
    # A blob that an edge leads to by its right name was the repository's once: what was lost is the link.
    for digest in sorted({edge.digest for edge in between if edge.target == edge.digest and not edge.linked}):
        unlinked = blobs.stored(tx, Digest.parse(digest))
        if unlinked is not None:
            blobs.link(tx, row.repository, unlinked, now, leased_until)
    rows.held(tx, row.repository, digests)  # waits for a collector that is about to take some of them
    blobs.revive(tx, row.repository, digests, now, leased_until)
    manifests.rewrite_edges(
        tx,
        identity,
        row.repository,
        parsed,
        rows.held(tx, row.repository, digests),
        rows.children(tx, row.repository, digests),
    )
    rows.write_derived(tx, identity, parsed)
    return Then.REPAIRED


def _locked(tx: Tx, identity: int) -> rows.Row | None:
    """The manifest, with its repository locked, so that nobody pushes or deletes there meanwhile."""
    row = rows.manifest(tx, identity)
    if row is None:
        return None
    repositories.lock(tx, row.repository)
    return rows.manifest(tx, identity)
