"""Moorage's rows: copies of those that a push has written."""

import json
import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from bench.seeds import Seeds


@contextmanager
def database(data: Path) -> Iterator[sqlite3.Connection]:
    """The rows of a stopped server, in one transaction with room in memory for a million."""
    with closing(sqlite3.connect(next(data.glob("*.db")))) as opened, opened:
        opened.execute("PRAGMA cache_size = -1000000")
        yield opened


def identity(rows: sqlite3.Connection, repository: str) -> int:
    """A repository's id."""
    (found,) = rows.execute("SELECT id FROM repositories WHERE name = ?", (repository,)).fetchone()
    return int(found)


def columns(rows: sqlite3.Connection, table: str, *without: str) -> str:
    """The columns of a table but for some, as SQL lists them."""
    return ", ".join(name for _, name, *_ in rows.execute(f"PRAGMA table_info({table})") if name not in without)


def tags(data: Path, repository: str, names: Sequence[str]) -> None:
    """A tag and the first line of its history, like the seed's."""
    with database(data) as rows:
        owner = identity(rows, repository)
        rows.execute("CREATE TEMPORARY TABLE named (wanted TEXT)")
        rows.executemany("INSERT INTO named VALUES (?)", ((name,) for name in names))
        for table, column in (("tags", "name"), ("tag_history", "tag")):
            kept = columns(rows, table, "id", column)
            rows.execute(
                f"INSERT INTO {table} ({column}, {kept}) SELECT wanted, {kept} FROM named, "
                f"(SELECT {kept} FROM {table} WHERE repository_id = ? AND {column} = 'seed')",
                (owner,),
            )


def repositories(data: Path, repository: str, names: Sequence[str]) -> None:
    """Whole ones: each holds the blobs, the one manifest and the tag."""
    with database(data) as rows:
        seed = {"seed": identity(rows, repository)}
        (seed["last"],) = rows.execute("SELECT max(id) FROM repositories").fetchone()
        kept = columns(rows, "repositories", "id", "name")
        rows.executemany(
            f"INSERT INTO repositories (name, {kept}) SELECT ?, {kept} FROM repositories WHERE id = ?",
            ((name, seed["seed"]) for name in names),
        )
        for table in ("links", "manifests", "tag_history"):
            kept = columns(rows, table, "id", "repository_id")
            rows.execute(
                f"INSERT INTO {table} (repository_id, {kept}) "
                f"SELECT new.id, {kept} FROM (SELECT id FROM repositories WHERE id > :last) new, "
                f"(SELECT {kept} FROM {table} WHERE repository_id = :seed)",
                seed,
            )
        for table in ("tags", "edges"):
            kept = columns(rows, table, "repository_id", "manifest_id")
            rows.execute(
                f"INSERT INTO {table} (repository_id, manifest_id, {kept}) "
                f"SELECT new.repository_id, new.id, {kept} "
                "FROM (SELECT id, repository_id FROM manifests WHERE repository_id > :last) new, "
                f"(SELECT {kept} FROM {table} WHERE repository_id = :seed)",
                seed,
            )


@dataclass(frozen=True, slots=True)
class Manifest:
    """One to write: the digest of another `like` it that is there, its own, and its subject's, if it has one."""

    like: str
    digest: str
    content: bytes
    subject: str | None = None


def manifests(data: Path, repository: str, wanted: Sequence[Manifest]) -> None:
    """Further manifests; a subject comes before what refers to it."""
    with database(data) as rows:
        owner = identity(rows, repository)
        own = ("id", "digest", "size", "subject", "annotations", "content")
        kept = columns(rows, "manifests", *own)
        edges = columns(rows, "edges", "manifest_id", "digest", "child_id")
        for one in wanted:
            new = rows.execute(
                f"INSERT INTO manifests (digest, size, subject, annotations, content, {kept}) SELECT ?, ?, ?, ?, ?, "
                f"{kept} FROM manifests WHERE repository_id = ? AND digest = ? RETURNING id",
                (one.digest, len(one.content), one.subject, _annotations(one.content), one.content, owner, one.like),
            ).fetchone()
            rows.execute(
                f"INSERT INTO edges (manifest_id, digest, child_id, {edges}) SELECT :new, "
                "CASE WHEN role = 'subject' THEN :subject ELSE digest END, CASE WHEN role = 'subject' THEN "
                "(SELECT id FROM manifests WHERE repository_id = :owner AND digest = :subject) ELSE child_id END, "
                f"{edges} FROM edges WHERE manifest_id = "
                "(SELECT id FROM manifests WHERE repository_id = :owner AND digest = :like)",
                {"new": new[0], "subject": one.subject, "owner": owner, "like": one.like},
            )


def _annotations(content: bytes) -> str | None:
    found = json.loads(content).get("annotations")
    return json.dumps(found) if found else None


SEEDS: Final = Seeds(tags, repositories)
