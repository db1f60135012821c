"""Statements of the hot path: compiled once, run on the driver's own cursor, read whole."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import BindParameter, ClauseElement, LargeBinary
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
    plain: bool
    """Whether values go to the driver as they come, none by default."""

    def positional(self, parameters: dict[str, Any]) -> list[Any]:
        """What the driver is handed, in the order of the statement.  Raises TypeError as `values` does."""
        if self.plain and parameters.keys() == self.wanted:
            return [parameters[name] for name in self.names]
        values = self.values(parameters)
        return [values[name] for name in self.names]

    def values(self, parameters: dict[str, Any]) -> dict[str, Any]:
        """What the driver is handed, by name.  Raises TypeError for a parameter too many or too few."""
        values = {**self.defaults, **parameters}
        if values.keys() != self.wanted:
            missing, unknown = sorted(self.wanted - values.keys()), sorted(values.keys() - self.wanted)
            raise TypeError(f"the statement's parameters do not fit: missing {missing}, unknown {unknown}")
        for name, convert in self.converters.items():
            values[name] = convert(values[name])
        return values


class Prepared:
    """A statement several times cheaper than `Tx.execute`: a SELECT, INSERT, UPDATE or DELETE.

    Where SQLite and PostgreSQL have to be told differently, it is made by a function of the dialect.

    Parameters are `bindparam("name")`; literal values and limits inside the statement work too.  Parameters are
    converted as Core does; **results are not**: they come as the driver gives them.  Text, integers, floats and
    bytes are the same either way; on SQLite booleans come as 0 or 1, and dates, times, JSON, enumerations and
    decimals as what is stored.  `unconverted` names such columns.

    `IN` over a list of any length has no fixed text, so it is refused with ValueError: see `statements.among`.
    All methods raise the driver's own errors, and TypeError for a parameter too many or too few.
    """

    def __init__(self, statement: ClauseElement | Callable[[Dialect], ClauseElement], *order: str) -> None:
        """`order` names the parameters as they stand in the statement, for those who read by `row`."""
        if isinstance(statement, ClauseElement):
            _check(statement)
        self._statement = statement
        self._order = order
        self._compiled: dict[str, _Compiled] = {}

    def all(self, tx: Tx, **parameters: Any) -> list[Row]:
        """Every row of the result."""
        compiled = self._compiled.get(tx.dialect) or self._compile(tx.dialect)
        rows: list[Row]
        if tx.dialect == "sqlite":
            rows = tx.driver.execute(compiled.text, compiled.positional(parameters)).fetchall()
        else:
            with tx.driver.cursor(binary=True) as cursor:
                rows = cursor.execute(compiled.text, compiled.values(parameters), prepare=True).fetchall()
        return rows

    def run(self, tx: Tx, **parameters: Any) -> int:
        """Execute what has no result, and give how many rows it changed."""
        compiled = self._compiled.get(tx.dialect) or self._compile(tx.dialect)
        changed: int
        if tx.dialect == "sqlite":
            changed = tx.driver.execute(compiled.text, compiled.positional(parameters)).rowcount
        else:
            with tx.driver.cursor() as cursor:
                changed = cursor.execute(compiled.text, compiled.values(parameters), prepare=True).rowcount
        return changed

    def run_each(self, tx: Tx, rows: Sequence[dict[str, Any]]) -> None:
        """Execute once for each of `rows`, which are parameters by name."""
        compiled = self._compiled.get(tx.dialect) or self._compile(tx.dialect)
        if tx.dialect == "sqlite":
            tx.driver.executemany(compiled.text, [compiled.positional(row) for row in rows])
        else:
            with tx.driver.cursor() as cursor:
                cursor.executemany(compiled.text, [compiled.values(row) for row in rows])

    def one(self, tx: Tx, **parameters: Any) -> Row | None:
        """The first row or None.  All rows are read, so that nothing stays open: limit the statement."""
        rows = self.all(tx, **parameters)
        return rows[0] if rows else None

    def row(self, tx: Tx, *values: str | int) -> Row | None:
        """The same, of values in the statement's `order`: the least that a read can cost.

        On SQLite it is answered from memory until somebody commits (`memory`).
        """
        if tx.dialect != "sqlite":
            return self.one(tx, **dict(zip(self._order, values, strict=True)))
        key, memory = (self, values), tx.memory
        rows = memory.get(key) if memory is not None else None
        if rows is None:
            compiled = self._compiled.get("sqlite") or self._compile("sqlite")
            rows = tx.driver.execute(compiled.text, values).fetchall()
            if memory is not None:
                memory.keep(key, rows)
        return rows[0] if rows else None

    def unconverted(self, dialect: Dialect) -> tuple[str, ...]:
        """The names of the columns whose values Core would convert and `all` and `one` do not."""
        return self._compile(dialect).unconverted

    def _compile(self, name: Dialect) -> _Compiled:
        language = _language(name)
        statement = self._statement
        if not isinstance(statement, ClauseElement):
            statement = statement(name)
            _check(statement)
        compiled = statement.compile(dialect=language)
        assert isinstance(compiled, SQLCompiler)
        converters: dict[str, Callable[[Any], Any]] = {}
        for key, bind in compiled.binds.items():
            convert = bind.type.dialect_impl(language).bind_processor(language)
            # Drivers take bytes as they are; SQLAlchemy would only wrap them.
            if convert is not None and not isinstance(bind.type, LargeBinary):
                converters[key] = convert
        defaults = {key: bind.effective_value for key, bind in compiled.binds.items() if not bind.required}
        made = _Compiled(
            text=compiled.string,
            names=tuple(compiled.positiontup or compiled.binds),
            wanted=frozenset(compiled.binds),
            defaults=defaults,
            converters=converters,
            unconverted=tuple(
                str(column.key)
                for column in getattr(statement, "selected_columns", ())
                if not isinstance(column.type, LargeBinary)
                and column.type.dialect_impl(language).result_processor(language, None) is not None
            ),
            plain=not (defaults or converters),
        )
        fits = made.names == self._order if name == "sqlite" else made.wanted == set(self._order)
        if self._order and not (made.plain and fits):
            raise ValueError(f"the statement's parameters are {made.names}, not {self._order}, or need converting")
        self._compiled[name] = made
        return made


def _check(statement: ClauseElement) -> None:
    for element in visitors.iterate(statement):
        if isinstance(element, BindParameter) and element.expanding:
            raise ValueError("a prepared statement has a fixed text: IN over a list does not")


def _language(name: Dialect) -> Language:
    if name == "sqlite":
        import sqlite3

        from sqlalchemy.dialects.sqlite.pysqlite import SQLiteDialect_pysqlite

        return SQLiteDialect_pysqlite(dbapi=sqlite3)
    import psycopg
    from sqlalchemy.dialects.postgresql.psycopg import PGDialect_psycopg

    return PGDialect_psycopg(dbapi=psycopg)  # type: ignore[no-untyped-call]
