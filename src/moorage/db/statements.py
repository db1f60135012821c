"""What SQLite and PostgreSQL say alike, but SQLAlchemy spells once for each."""

from typing import Any

from sqlalchemy import Table

from moorage.db.engine import Tx


def insert(tx: Tx, table: Table) -> Any:
    """An INSERT that understands ON CONFLICT."""
    if tx.dialect == "sqlite":
        from sqlalchemy.dialects import sqlite

        return sqlite.insert(table)
    from sqlalchemy.dialects import postgresql

    return postgresql.insert(table)
