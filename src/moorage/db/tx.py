"""One connection inside one transaction, or inside a run of reads: what every function of rows is handed."""

from typing import Any, Literal, final

from sqlalchemy import Connection, CursorResult, Executable

from moorage.db.memory import Memory

Dialect = Literal["sqlite", "postgresql"]

Parameters = dict[str, Any] | list[dict[str, Any]]
"""One row's values by name, or a list of them to run the statement once for each."""


@final
class Tx:
    """Where statements are run.  Good only inside the function it was handed to, and in its thread.

    The transaction itself belongs to `Database`: nothing here begins, commits or rolls back.
    """

    __slots__ = ("_connection", "_memory", "_open", "dialect", "memory", "raw")

    def __init__(self, dialect: Dialect, connection: Connection, raw: Any, memory: Memory | None = None) -> None:
        self.dialect: Dialect = dialect
        self.raw = raw
        """The driver's own connection (`sqlite3.Connection` or `psycopg.Connection`)."""
        self.memory = memory
        """What reads may be answered from; None while this connection may see less than the newest commit."""
        self._memory = memory
        self._connection = connection
        self._open: list[CursorResult[Any]] = []

    def execute(self, statement: Executable, parameters: Parameters | None = None) -> CursorResult[Any]:
        """Run one SQLAlchemy Core statement.  Its result is closed when the function ends: return rows, not results.

        Errors are SQLAlchemy's.  On PostgreSQL any of them ends the transaction, so do not catch one and go on:
        write `ON CONFLICT` instead.
        """
        self.memory = None
        result: CursorResult[Any] = self._connection.execute(statement, parameters)
        self._open.append(result)
        return result

    def close_results(self) -> None:
        """Close what was read half: a statement left open would pin its snapshot (and on SQLite the log file)."""
        if self._open:
            for result in self._open:
                result.close()
            self._open.clear()
        self.memory = self._memory

    def forget(self) -> None:
        """Have no memory any more: the connection closes."""
        if self._memory is not None:
            self._memory.close()
            self.memory = self._memory = None
