"""The hottest reads: a Core statement compiled once, run on the driver's own cursor, read whole."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from sqlalchemy import BindParameter, LargeBinary, Select
from sqlalchemy.engine import Dialect as Language
from sqlalchemy.sql import visitors
from sqlalchemy.sql.compiler import SQLCompiler

from moorage.db.tx import Dialect, Tx

Row = tuple[Any, ...]


@dataclass(frozen=True, slots=True)
class _Compiled:
    """The statement in one dialect: its text, its parameters in order, and what their values pass through."""

    text: str
    names: tuple[str, ...]
    wanted: frozenset[str]
    defaults: dict[str, Any]
    converters: dict[str, Callable[[Any], Any]]
    unconverted: tuple[str, ...]


class Prepared:
    """A SELECT for the hot path, several times cheaper than `Tx.execute`.

    Parameters are `bindparam("name")`; literal values and limits inside the statement work too.  Parameters are
    converted as Core does; **results are not**: they come as the driver gives them.  Text, integers, floats and
    bytes are the same either way; on SQLite booleans come as 0 or 1, and dates, times, JSON, enumerations and
    decimals as what is stored.  `unconverted` names such columns.

    `IN` over a list of any length has no fixed text, so it is refused with ValueError when constructed.
    """

    def __init__(self, statement: Select[*tuple[Any, ...]]) -> None:
        for element in visitors.iterate(statement):
            if isinstance(element, BindParameter) and element.expanding:
                raise ValueError("a prepared statement has a fixed text: IN over a list does not")
        self._statement = statement
        self._compiled: dict[str, _Compiled] = {}

    def all(self, tx: Tx, **parameters: Any) -> list[Row]:
        """Every row.  Raises the driver's own errors, and TypeError for a parameter too many or too few."""
        compiled = self._compiled.get(tx.dialect) or self._compile(tx.dialect)
        values = {**compiled.defaults, **parameters}
        if values.keys() != compiled.wanted:
            missing, unknown = sorted(compiled.wanted - values.keys()), sorted(values.keys() - compiled.wanted)
            raise TypeError(f"the statement's parameters do not fit: missing {missing}, unknown {unknown}")
        for name, convert in compiled.converters.items():
            values[name] = convert(values[name])
        rows: list[Row]
        if tx.dialect == "sqlite":
            rows = tx.raw.execute(compiled.text, [values[name] for name in compiled.names]).fetchall()
        else:
            with tx.raw.cursor(binary=True) as cursor:
                rows = cursor.execute(compiled.text, values, prepare=True).fetchall()
        return rows

    def one(self, tx: Tx, **parameters: Any) -> Row | None:
        """The first row or None.  All rows are read, so that nothing stays open: limit the statement."""
        rows = self.all(tx, **parameters)
        return rows[0] if rows else None

    def unconverted(self, dialect: Dialect) -> tuple[str, ...]:
        """The names of the columns whose values Core would convert and `all` and `one` do not."""
        return self._compile(dialect).unconverted

    def _compile(self, name: Dialect) -> _Compiled:
        language = _language(name)
        compiled = self._statement.compile(dialect=language)
        assert isinstance(compiled, SQLCompiler)
        converters: dict[str, Callable[[Any], Any]] = {}
        for key, bind in compiled.binds.items():
            convert = bind.type.dialect_impl(language).bind_processor(language)
            # Drivers take bytes as they are; SQLAlchemy would only wrap them.
            if convert is not None and not isinstance(bind.type, LargeBinary):
                converters[key] = convert
        made = _Compiled(
            text=compiled.string,
            names=tuple(compiled.positiontup or compiled.binds),
            wanted=frozenset(compiled.binds),
            defaults={key: bind.effective_value for key, bind in compiled.binds.items() if not bind.required},
            converters=converters,
            unconverted=tuple(
                str(column.key)
                for column in self._statement.selected_columns
                if not isinstance(column.type, LargeBinary)
                and column.type.dialect_impl(language).result_processor(language, None) is not None
            ),
        )
        self._compiled[name] = made
        return made


def _language(name: Dialect) -> Language:
    if name == "sqlite":
        import sqlite3

        from sqlalchemy.dialects.sqlite.pysqlite import SQLiteDialect_pysqlite

        return SQLiteDialect_pysqlite(dbapi=sqlite3)
    import psycopg
    from sqlalchemy.dialects.postgresql.psycopg import PGDialect_psycopg

    return PGDialect_psycopg(dbapi=psycopg)  # type: ignore[no-untyped-call]
