"""The revision that this program's tables are at, kept as a constant so that serving need not import Alembic."""

from typing import Final

HEAD: Final[str | None] = "0005"
