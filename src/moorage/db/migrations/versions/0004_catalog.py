"""The catalog in an index of its own: a page of it is read from there alone, however many are not listed."""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"


def upgrade() -> None:
    listed = sa.text("listed_at IS NOT NULL")
    columns = ["name", "listed_at"]
    op.create_index("ix_repositories_listed", "repositories", columns, sqlite_where=listed, postgresql_where=listed)
