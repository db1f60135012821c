"""Many tags at once, written where each registry keeps them: pushing ten thousand would take most of a run.

The repository has one image already, pushed as "seed"; the server is stopped meanwhile, and asked afterwards.
"""

import sqlite3
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path


def distribution(data: Path, repository: str, tags: Sequence[str]) -> None:
    """Distribution's folders: where a tag points, and where it has ever pointed."""
    folder = data / "docker/registry/v2/repositories" / repository / "_manifests/tags"
    link = (folder / "seed/current/link").read_text()
    for tag in tags:
        current = folder / tag / "current"
        index = folder / tag / "index" / link.replace(":", "/")
        for one in (current, index):
            one.mkdir(parents=True)
            (one / "link").write_text(link)


def moorage(data: Path, repository: str, tags: Sequence[str]) -> None:
    """Moorage's rows: a tag and the first line of its history, like the seed's."""
    with closing(sqlite3.connect(next(data.glob("*.db")))) as database, database:
        (owner,) = database.execute("SELECT id FROM repositories WHERE name = ?", (repository,)).fetchone()
        for table, column in (("tags", "name"), ("tag_history", "tag")):
            names = [row[1] for row in database.execute(f"PRAGMA table_info({table})") if row[1] not in {"id", column}]
            kept = ", ".join(names)
            database.executemany(
                f"INSERT INTO {table} ({column}, {kept}) SELECT ?, {kept} FROM {table} "
                f"WHERE repository_id = ? AND {column} = 'seed'",
                ((tag, owner) for tag in tags),
            )
