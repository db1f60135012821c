"""What SQLite and PostgreSQL both can, but SQLAlchemy spells once for each."""

from typing import Any

from sqlalchemy import (
    ARRAY,
    JSON,
    BigInteger,
    Column,
    ColumnElement,
    Select,
    Table,
    Text,
    any_,
    bindparam,
    func,
    literal_column,
    select,
)

from moorage.db.prepared import Row
from moorage.db.tx import Dialect


def insert(dialect: Dialect, table: Table, *columns: str) -> Any:
    """An INSERT that understands ON CONFLICT; its parameters have the names of `columns`."""
    if dialect == "sqlite":
        from sqlalchemy.dialects import sqlite

        made: Any = sqlite.insert(table)
    else:
        from sqlalchemy.dialects import postgresql

        made = postgresql.insert(table)
    return made.values({name: bindparam(name) for name in columns})


def among(dialect: Dialect, column: Column[str] | Column[int], parameter: str) -> ColumnElement[bool]:
    """Whether the column is one of the texts, or numbers, in the list that `parameter` names, however long that is."""
    if dialect == "sqlite":
        each = func.json_each(bindparam(parameter, type_=JSON)).table_valued("value")
        return column.in_(select(each.c.value))
    kind = BigInteger if column.type.python_type is int else Text
    return column == any_(bindparam(parameter, type_=ARRAY(kind)))


def one_text(dialect: Dialect, page: Select[tuple[str]]) -> Select[tuple[str]]:
    """The names that a query finds as one text, to be read by `names`.

    With a row for each, Python and SQLite would take turns as often.
    """
    # Said here, for SQLAlchemy says it to SQLite by a parameter of its own.
    (name,) = page.offset(literal_column("0")).subquery().c
    join = func.group_concat if dialect == "sqlite" else func.string_agg
    return select(join(name, literal_column("','")))


def names(row: Row | None) -> list[str]:
    """What `one_text` found, in byte order.  Names have no comma (`oci.names`)."""
    return sorted(row[0].split(",")) if row and row[0] is not None else []
