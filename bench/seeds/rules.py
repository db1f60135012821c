"""Moorage's rows of accounts and rules."""

import sqlite3
from contextlib import closing
from pathlib import Path


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
