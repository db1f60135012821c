"""Moorage's rows of blobs: those that manifests refer to, and those whose lease has run out without."""

import hashlib
import os
import secrets
from pathlib import Path
from typing import Final

from bench.seeds.rows import columns, database, identity

_LAYERS: Final = 100
"""Blobs of a manifest."""
_DAY: Final = 86_400_000_000
_NUMBERS: Final = (
    "WITH RECURSIVE numbers (at) AS (SELECT 0 UNION ALL SELECT at + 1 FROM numbers WHERE at + 1 < :count) "
)


def living(data: Path, repository: str, count: int, now: int) -> None:
    """Blobs of some bytes, pushed long ago, and manifests whose layers they are.

    A manifest's own bytes are the seed's: nobody reads them.
    """
    with database(data) as rows:
        rows.create_function("digest", 1, lambda own: f"sha256:{hashlib.sha256(own).hexdigest()}", deterministic=True)
        facts = {"count": count, "owner": identity(rows, repository), "then": now - 30 * _DAY, "layers": _LAYERS}
        (facts["blobs"],) = rows.execute("SELECT max(id) + 1 FROM blobs").fetchone()
        (facts["manifests"],) = rows.execute("SELECT max(id) + 1 FROM manifests").fetchone()
        rows.execute(
            f"{_NUMBERS} INSERT INTO blobs (id, digest, size, content, created_at) "
            "SELECT :blobs + at, digest(own), length(own), own, :then "
            "FROM (SELECT at, CAST('blob ' || at AS BLOB) AS own FROM numbers)",
            facts,
        )
        rows.execute(
            f"{_NUMBERS} INSERT INTO links (repository_id, blob_id, linked_at, leased_until) "
            "SELECT :owner, :blobs + at, :then, :then + at FROM numbers",
            facts,
        )
        kept = columns(rows, "manifests", "id", "digest")
        rows.execute(
            f"{_NUMBERS} INSERT INTO manifests (id, digest, {kept}) "
            f"SELECT :manifests + at / :layers, digest(CAST('manifest ' || at AS BLOB)), {kept} FROM numbers, "
            "(SELECT * FROM manifests WHERE repository_id = :owner LIMIT 1) WHERE at % :layers = 0",
            facts,
        )
        rows.execute(
            f"{_NUMBERS} INSERT INTO edges (manifest_id, position, repository_id, digest, role, blob_id) "
            "SELECT :manifests + at / :layers, at % :layers, :owner, blobs.digest, 'layer', blobs.id "
            "FROM numbers JOIN blobs ON blobs.id = :blobs + at",
            facts,
        )


def dead(data: Path, repository: str, count: int, size: int, now: int) -> int:
    """Blobs whose lease ran out last of all, with their files, and the collector due; gives the first one's id."""
    content = os.urandom(size)
    with database(data) as rows:
        owner = identity(rows, repository)
        (first,) = rows.execute("SELECT max(id) + 1 FROM blobs").fetchone()
        for at in range(count):
            own = at.to_bytes(8, "big") + content
            name = secrets.token_hex(16)
            key = f"blobs/u/{name[:2]}/{name}"
            (data / key).write_bytes(own)
            rows.execute(
                "INSERT INTO blobs (id, digest, size, storage_key, created_at) VALUES (?, ?, ?, ?, ?)",
                (first + at, f"sha256:{hashlib.sha256(own).hexdigest()}", len(own), key, now - 2 * _DAY),
            )
            rows.execute(
                "INSERT INTO links (repository_id, blob_id, linked_at, leased_until) VALUES (?, ?, ?, ?)",
                (owner, first + at, now - 2 * _DAY, now - _DAY),
            )
        rows.execute("UPDATE jobs SET due_at = 0 WHERE name = 'gc'")
    return int(first)
