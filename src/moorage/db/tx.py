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

    __slots__ = ("_connection", "_memory", "_open", "dialect", "driver", "memory")

    def __init__(self, dialect: Dialect, connection: Connection, driver: Any) -> None:
        self.dialect: Dialect = dialect
        self.driver = driver
        """As `raw`, for who reads results to their end at once."""
        self.memory: Memory | None = None
        """What reads may be answered from; None while this connection may see less than the newest commit."""
        self._memory: Memory | None = None
        self._connection = connection
        self._open: list[CursorResult[Any]] = []

    @property
    def raw(self) -> Any:
        """The driver's own connection (`sqlite3.Connection` or `psycopg.Connection`)."""
        self.memory = None
        return self.driver

    def remember(self, memory: Memory | None) -> None:
        """Answer reads from this memory, or from none."""
        self.memory = self._memory = memory

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
