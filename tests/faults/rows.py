"""A registry's rows and files, read directly.  Shares no code with the server: only the tables' names."""

import hashlib
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.faults.server import Place


@dataclass
class Rows:
    """What the database says, all of one moment."""

    blobs: dict[int, tuple[str, int, str | None, bytes | None, bool]]
    """By id: digest, size, key, content, whether it is known to be damaged."""
    links: set[tuple[int, int]]
    trash_links: set[tuple[int, int]]
    manifests: dict[int, tuple[int, str, bytes]]
    """By id: repository, digest, content."""
    edges: list[tuple[int, int, str, str, int | None, int | None]]
    """Manifest, repository, digest, role, blob, child."""
    tags: list[tuple[int, str, int]]
    repositories: dict[int, str]
    trash_blobs: set[str]
    uploads: dict[str, str | None]
    """By id: the digest it was finished with."""
    faults: list[str]
    """What the database says of itself."""

    @property
    def keys(self) -> set[str]:
        return {key for _, _, key, _, _ in self.blobs.values() if key is not None}


@contextmanager
def _database(place: Place) -> Iterator[Any]:
    """A connection beside the server, which commits every statement by itself."""
    if place.url is None:
        path = f"file:{place.data / 'moorage.db'}?mode=rw"
        database: Any = sqlite3.connect(path, uri=True, isolation_level=None, timeout=30)
    else:
        import psycopg

        database = psycopg.connect(place.url, autocommit=True)
    try:
        yield database
    finally:
        database.close()


def ask(place: Place, statement: str, *values: object) -> list[tuple[Any, ...]]:
    """What a query finds."""
    with _database(place) as database:
        return list(database.execute(statement, values).fetchall())


def change(place: Place, *statements: str) -> None:
    """Change rows, all at once: to let time pass for them."""
    with _database(place) as database:
        database.execute("BEGIN IMMEDIATE" if place.url is None else "BEGIN")
        for one in statements:
            database.execute(one)
        database.execute("COMMIT")


def look(place: Place) -> Rows:
    """Everything that matters, in one transaction."""
    with _database(place) as database:
        database.execute("BEGIN" if place.url is None else "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY")
        return _read(lambda text: database.execute(text).fetchall(), sqlite=place.url is None)


def _read(ask: Any, *, sqlite: bool) -> Rows:
    faults = []
    if sqlite:
        faults = [str(row[0]) for row in ask("PRAGMA integrity_check") if row[0] != "ok"]
        faults += [f"a reference dangles in {row[0]}" for row in ask("PRAGMA foreign_key_check")]
    return Rows(
        blobs={
            row[0]: (row[1], row[2], row[3], _bytes(row[4]), row[5] is not None)
            for row in ask("SELECT id, digest, size, storage_key, content, damaged FROM blobs")
        },
        links={tuple(row) for row in ask("SELECT repository_id, blob_id FROM links")},
        trash_links={tuple(row) for row in ask("SELECT repository_id, blob_id FROM trash_links")},
        manifests={
            row[0]: (row[1], row[2], bytes(row[3]))
            for row in ask("SELECT id, repository_id, digest, content FROM manifests")
        },
        edges=[
            tuple(row) for row in ask("SELECT manifest_id, repository_id, digest, role, blob_id, child_id FROM edges")
        ],
        tags=[tuple(row) for row in ask("SELECT repository_id, name, manifest_id FROM tags")],
        repositories={row[0]: row[1] for row in ask("SELECT id, name FROM repositories")},
        trash_blobs={row[0] for row in ask("SELECT storage_key FROM trash_blobs")},
        uploads={row[0]: row[1] for row in ask("SELECT id, finished FROM uploads")},
        faults=faults,
    )


def _bytes(value: Any) -> bytes | None:
    return None if value is None else bytes(value)


def files(place: Place) -> dict[str, Path]:
    """Every stored object by its key."""
    root = place.store / "blobs" / "u"
    return {f"blobs/u/{one.parent.name}/{one.name}": one for one in root.glob("*/*")}


def wrong(place: Place) -> Iterator[str]:
    """O4: what in rows and files does not fit together."""
    rows = look(place)
    yield from rows.faults
    yield from _wrong_blobs(place, rows)
    yield from _wrong_references(rows)


def _wrong_blobs(place: Place, rows: Rows) -> Iterator[str]:
    for identity, (digest, size, key, inline, damaged) in rows.blobs.items():
        content = inline
        if key is not None:
            try:
                content = (place.store / key).read_bytes()
            except FileNotFoundError:
                # Unless the collector has just taken it, in the right order.
                if identity in look(place).blobs:
                    yield f"O4: the row of blob {digest} has no bytes under {key}"
                continue
        if damaged:
            yield f"O4: blob {digest} is said to be damaged"
        if content is None or len(content) != size:
            yield f"O4: blob {digest} has {None if content is None else len(content)} bytes, its row says {size}"
        elif _digest(content, digest) != digest:
            yield f"O4: blob {digest} has the bytes of {_digest(content, digest)}"
    for key in rows.keys & rows.trash_blobs:
        yield f"O4: {key} is a live blob's and in the trash as well"


def _wrong_references(rows: Rows) -> Iterator[str]:
    for _repository, digest, content in rows.manifests.values():
        if _digest(content, digest) != digest:
            yield f"O4: manifest {digest} has the bytes of {_digest(content, digest)}"
    for manifest, repository, digest, role, blob, child in rows.edges:
        if manifest not in rows.manifests:
            yield f"O4: an edge to {digest} belongs to no manifest"
        elif blob is not None:
            if blob not in rows.blobs:
                yield f"O4: the edge to blob {digest} leads nowhere"
            elif (repository, blob) not in rows.links:
                yield f"O4: blob {digest} is referred to in repository {repository} and not linked there"
        elif child is None and role != "subject":
            yield f"O4: what {rows.manifests[manifest][1]} refers to is not there: {digest}"
        elif child is not None and child not in rows.manifests:
            yield f"O4: the edge to manifest {digest} leads nowhere"
    for repository, name, manifest in rows.tags:
        if manifest not in rows.manifests or rows.manifests[manifest][0] != repository:
            yield f"O4: tag {name} of repository {repository} names no manifest of it"


def leaked(place: Place) -> Iterator[str]:
    """O5: what is left that the collector, once it has come to rest, should have taken."""
    rows, stored = look(place), files(place)
    for key in sorted(stored.keys() - rows.keys):
        yield f"O5: {key} is stored and belongs to no blob"
    referred = {(repository, blob) for _, repository, _, _, blob, _ in rows.edges}
    for repository, blob in sorted(rows.links - referred):
        digest = rows.blobs[blob][0] if blob in rows.blobs else blob
        yield f"O5: blob {digest} is linked in repository {repository} and not referred to"
    for identity in sorted(rows.blobs.keys() - {blob for _, blob in rows.links | rows.trash_links}):
        yield f"O5: blob {rows.blobs[identity][0]} is in no repository"
    for identity, finished in rows.uploads.items():
        if finished is None:
            yield f"O5: upload {identity} was abandoned and is still there"
    for key in sorted(rows.trash_blobs):
        yield f"O5: {key} is still in the trash"


def _digest(content: bytes, like: str) -> str:
    algorithm = like.partition(":")[0]
    return f"{algorithm}:{hashlib.new(algorithm, content).hexdigest()}"
