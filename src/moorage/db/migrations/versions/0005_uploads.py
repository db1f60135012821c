"""Uploads are found by when they began: an index of when they were touched was written with each of their requests."""

from alembic import op

revision = "0005"
down_revision = "0004"


def upgrade() -> None:
    op.drop_index("ix_uploads_touched_at", "uploads")
    op.create_index("ix_uploads_started_at", "uploads", ["started_at"])
