"""What is known to be damaged, and what the registry remembers of itself."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"

_WORD = sa.Text().with_variant(sa.Text(collation="C"), "postgresql")


def upgrade() -> None:
    column: sa.Column[str] = sa.Column("damaged", sa.Text(), nullable=True)
    if op.get_bind().dialect.name == "sqlite":
        # The table is copied, so that bytes stay its last column: rows are read without them.
        kept = {"sqlite_autoincrement": True}
        with op.batch_alter_table("blobs", recreate="always", table_kwargs=kept) as batch:
            batch.add_column(column, insert_before="content")
    else:
        op.add_column("blobs", column)
    damaged = sa.text("damaged IS NOT NULL")
    op.create_index("ix_blobs_damaged", "blobs", ["id"], sqlite_where=damaged, postgresql_where=damaged)
    op.create_table(
        "state",
        sa.Column("name", _WORD, nullable=False),
        sa.Column("value", sa.Text(), nullable=False),
        sa.Column("updated_at", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("name", name=op.f("pk_state")),
    )
