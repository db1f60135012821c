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


def rules(database: Path, users: int, organisations: int, count: int) -> None:
    """So many people, organisations with a private repository each, and rules that let people pull.

    `user-7` may pull from `org-7/*`, `org-8/*` and so on, as far as the rules reach.
    """
    with closing(sqlite3.connect(database)) as rows, rows:
        rows.executemany(
            "INSERT INTO accounts (id, name, kind, admin, visibility, description, created_by, created_at, "
            "credentials_at) VALUES (?, ?, ?, 0, 'private', '', 'bench', 0, 0)",
            (
                *((1 + at, f"user-{at}", "user") for at in range(users)),
                *((1 + users + at, f"org-{at}", "organisation") for at in range(organisations)),
            ),
        )
        rows.executemany(
            "INSERT INTO repositories (name, owner, visibility, created_at, listed_at) VALUES (?, ?, 'private', 0, 0)",
            ((f"org-{at}/app", f"org-{at}") for at in range(organisations)),
        )
        owners = (f"org-{(at % users + at // users) % organisations}" for at in range(count))
        rows.executemany(
            "INSERT INTO grants (subject, owner, pattern, actions, created_by, created_at) "
            "VALUES (?, ?, ?, 'pull', 'bench', 0)",
            ((f"account:{1 + at % users}", owner, f"{owner}/*") for at, owner in enumerate(owners)),
        )
