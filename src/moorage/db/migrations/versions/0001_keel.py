"""The keel's tables."""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None

_WORD = sa.Text().with_variant(sa.Text(collation="C"), "postgresql")
_ID = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    op.create_table(
        "blobs",
        sa.Column("id", _ID, sa.Identity(always=False), nullable=False),
        sa.Column("digest", _WORD, nullable=False),
        sa.Column("size", sa.BigInteger(), nullable=False),
        sa.Column("storage_key", _WORD, nullable=True),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.Column("content", sa.LargeBinary(), nullable=True),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_blobs")),
        sa.UniqueConstraint("digest", name=op.f("uq_blobs_digest")),
        sa.UniqueConstraint("storage_key", name=op.f("uq_blobs_storage_key")),
        sqlite_autoincrement=True,
    )
    op.create_table(
        "events",
        sa.Column("id", _ID, sa.Identity(always=False), nullable=False),
        sa.Column("at", sa.BigInteger(), nullable=False),
        sa.Column("kind", _WORD, nullable=False),
        sa.Column("repository", _WORD, nullable=False),
        sa.Column("actor", sa.Text(), nullable=False),
        sa.Column("facts", sa.Text(), nullable=False),
        sa.Column("transaction", sa.BigInteger(), server_default=sa.text("0"), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_events")),
        sqlite_autoincrement=True,
    )
    op.create_index(op.f("ix_events_transaction_id"), "events", ["transaction", "id"], unique=False)
    op.create_table(
        "jobs",
        sa.Column("name", _WORD, nullable=False),
        sa.Column("due_at", sa.BigInteger(), nullable=False),
        sa.Column("leased_until", sa.BigInteger(), nullable=False),
        sa.Column("holder", _WORD, nullable=True),
        sa.Column("finished_at", sa.BigInteger(), nullable=True),
        sa.Column("failures", sa.Integer(), nullable=False),
        sa.Column("error", sa.Text(), nullable=True),
        sa.PrimaryKeyConstraint("name", name=op.f("pk_jobs")),
    )
    op.create_table(
        "repositories",
        sa.Column("id", _ID, sa.Identity(always=False), nullable=False),
        sa.Column("name", _WORD, nullable=False),
        sa.Column("owner", _WORD, nullable=False),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.Column("listed_at", sa.BigInteger(), nullable=True),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_repositories")),
        sa.UniqueConstraint("name", name=op.f("uq_repositories_name")),
        sqlite_autoincrement=True,
    )
    op.create_index(op.f("ix_repositories_owner"), "repositories", ["owner"], unique=False)
    op.create_table(
        "trash_blobs",
        sa.Column("storage_key", _WORD, nullable=False),
        sa.Column("digest", _WORD, nullable=False),
        sa.Column("size", sa.BigInteger(), nullable=False),
        sa.Column("state", _WORD, nullable=False),
        sa.Column("purge_after", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("storage_key", name=op.f("pk_trash_blobs")),
    )
    op.create_index(op.f("ix_trash_blobs_state_purge_after"), "trash_blobs", ["state", "purge_after"], unique=False)
    op.create_table(
        "uploads",
        sa.Column("id", _WORD, nullable=False),
        sa.Column("repository", _WORD, nullable=False),
        sa.Column("actor", sa.Text(), nullable=False),
        sa.Column("epoch", sa.Integer(), nullable=False),
        sa.Column("parts", _WORD, nullable=False),
        sa.Column("digest", _WORD, nullable=False),
        sa.Column("hash_state", sa.LargeBinary(), nullable=True),
        sa.Column("incarnation", _WORD, nullable=False),
        sa.Column("finished", _WORD, nullable=True),
        sa.Column("started_at", sa.BigInteger(), nullable=False),
        sa.Column("touched_at", sa.BigInteger(), nullable=False),
        sa.Column("content", sa.LargeBinary(), nullable=True),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_uploads")),
    )
    op.create_index(op.f("ix_uploads_touched_at"), "uploads", ["touched_at"], unique=False)
    op.create_table(
        "links",
        sa.Column("repository_id", _ID, nullable=False),
        sa.Column("blob_id", _ID, nullable=False),
        sa.Column("linked_at", sa.BigInteger(), nullable=False),
        sa.Column("leased_until", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(["blob_id"], ["blobs.id"], name=op.f("fk_links_blob_id")),
        sa.ForeignKeyConstraint(["repository_id"], ["repositories.id"], name=op.f("fk_links_repository_id")),
        sa.PrimaryKeyConstraint("repository_id", "blob_id", name=op.f("pk_links")),
        sqlite_with_rowid=False,
    )
    op.create_index(op.f("ix_links_blob_id"), "links", ["blob_id"], unique=False)
    op.create_index(op.f("ix_links_leased_until"), "links", ["leased_until"], unique=False)
    op.create_table(
        "manifests",
        sa.Column("id", _ID, sa.Identity(always=False), nullable=False),
        sa.Column("repository_id", _ID, nullable=False),
        sa.Column("digest", _WORD, nullable=False),
        sa.Column("media_type", _WORD, nullable=False),
        sa.Column("size", sa.BigInteger(), nullable=False),
        sa.Column("artifact_type", _WORD, nullable=True),
        sa.Column("subject", _WORD, nullable=True),
        sa.Column("hold", sa.Text(), nullable=True),
        sa.Column("pushed_at", sa.BigInteger(), nullable=False),
        sa.Column("annotations", sa.Text(), nullable=True),
        sa.Column("content", sa.LargeBinary(), nullable=False),
        sa.ForeignKeyConstraint(["repository_id"], ["repositories.id"], name=op.f("fk_manifests_repository_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_manifests")),
        sqlite_autoincrement=True,
    )
    op.create_index(op.f("ix_manifests_repository_id_digest"), "manifests", ["repository_id", "digest"], unique=True)
    op.create_index(
        "ix_manifests_subject",
        "manifests",
        ["repository_id", "subject", "digest"],
        unique=False,
        sqlite_where=sa.text("subject IS NOT NULL"),
        postgresql_where=sa.text("subject IS NOT NULL"),
    )
    op.create_table(
        "tag_history",
        sa.Column("id", _ID, sa.Identity(always=False), nullable=False),
        sa.Column("repository_id", _ID, nullable=False),
        sa.Column("tag", _WORD, nullable=False),
        sa.Column("digest", _WORD, nullable=True),
        sa.Column("previous", _WORD, nullable=True),
        sa.Column("actor", sa.Text(), nullable=False),
        sa.Column("at", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(["repository_id"], ["repositories.id"], name=op.f("fk_tag_history_repository_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_tag_history")),
        sqlite_autoincrement=True,
    )
    op.create_index(
        op.f("ix_tag_history_repository_id_tag_id"), "tag_history", ["repository_id", "tag", "id"], unique=False
    )
    op.create_table(
        "trash_links",
        sa.Column("repository_id", _ID, nullable=False),
        sa.Column("blob_id", _ID, nullable=False),
        sa.Column("actor", sa.Text(), nullable=True),
        sa.Column("deleted_at", sa.BigInteger(), nullable=False),
        sa.Column("purge_after", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(["blob_id"], ["blobs.id"], name=op.f("fk_trash_links_blob_id")),
        sa.ForeignKeyConstraint(["repository_id"], ["repositories.id"], name=op.f("fk_trash_links_repository_id")),
        sa.PrimaryKeyConstraint("repository_id", "blob_id", name=op.f("pk_trash_links")),
    )
    op.create_index(op.f("ix_trash_links_blob_id"), "trash_links", ["blob_id"], unique=False)
    op.create_index(op.f("ix_trash_links_purge_after"), "trash_links", ["purge_after"], unique=False)
    op.create_table(
        "trash_manifests",
        sa.Column("id", _ID, sa.Identity(always=False), nullable=False),
        sa.Column("repository_id", _ID, nullable=False),
        sa.Column("digest", _WORD, nullable=False),
        sa.Column("media_type", _WORD, nullable=False),
        sa.Column("tags", sa.Text(), nullable=False),
        sa.Column("actor", sa.Text(), nullable=False),
        sa.Column("pushed_at", sa.BigInteger(), nullable=False),
        sa.Column("deleted_at", sa.BigInteger(), nullable=False),
        sa.Column("purge_after", sa.BigInteger(), nullable=False),
        sa.Column("content", sa.LargeBinary(), nullable=False),
        sa.ForeignKeyConstraint(["repository_id"], ["repositories.id"], name=op.f("fk_trash_manifests_repository_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_trash_manifests")),
        sqlite_autoincrement=True,
    )
    op.create_index(op.f("ix_trash_manifests_purge_after"), "trash_manifests", ["purge_after"], unique=False)
    op.create_index(
        op.f("ix_trash_manifests_repository_id_digest"), "trash_manifests", ["repository_id", "digest"], unique=False
    )
    op.create_table(
        "trash_tags",
        sa.Column("id", _ID, sa.Identity(always=False), nullable=False),
        sa.Column("repository_id", _ID, nullable=False),
        sa.Column("name", _WORD, nullable=False),
        sa.Column("digest", _WORD, nullable=False),
        sa.Column("actor", sa.Text(), nullable=False),
        sa.Column("deleted_at", sa.BigInteger(), nullable=False),
        sa.Column("purge_after", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(["repository_id"], ["repositories.id"], name=op.f("fk_trash_tags_repository_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_trash_tags")),
        sqlite_autoincrement=True,
    )
    op.create_index(op.f("ix_trash_tags_purge_after"), "trash_tags", ["purge_after"], unique=False)
    op.create_table(
        "edges",
        sa.Column("manifest_id", _ID, nullable=False),
        sa.Column("position", sa.Integer(), nullable=False),
        sa.Column("repository_id", _ID, nullable=False),
        sa.Column("digest", _WORD, nullable=False),
        sa.Column("role", _WORD, nullable=False),
        sa.Column("blob_id", _ID, nullable=True),
        sa.Column("child_id", _ID, nullable=True),
        sa.ForeignKeyConstraint(["blob_id"], ["blobs.id"], name=op.f("fk_edges_blob_id")),
        sa.ForeignKeyConstraint(["child_id"], ["manifests.id"], name=op.f("fk_edges_child_id")),
        sa.ForeignKeyConstraint(
            ["manifest_id"], ["manifests.id"], name=op.f("fk_edges_manifest_id"), ondelete="CASCADE"
        ),
        sa.ForeignKeyConstraint(["repository_id"], ["repositories.id"], name=op.f("fk_edges_repository_id")),
        sa.PrimaryKeyConstraint("manifest_id", "position", name=op.f("pk_edges")),
    )
    op.create_index(op.f("ix_edges_blob_id_repository_id"), "edges", ["blob_id", "repository_id"], unique=False)
    op.create_index(op.f("ix_edges_child_id"), "edges", ["child_id"], unique=False)
    op.create_index(
        "ix_edges_waiting",
        "edges",
        ["repository_id", "digest"],
        unique=False,
        sqlite_where=sa.text("blob_id IS NULL AND child_id IS NULL"),
        postgresql_where=sa.text("blob_id IS NULL AND child_id IS NULL"),
    )
    op.create_table(
        "tags",
        sa.Column("repository_id", _ID, nullable=False),
        sa.Column("name", _WORD, nullable=False),
        sa.Column("manifest_id", _ID, nullable=False),
        sa.Column("updated_at", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(["manifest_id"], ["manifests.id"], name=op.f("fk_tags_manifest_id")),
        sa.ForeignKeyConstraint(["repository_id"], ["repositories.id"], name=op.f("fk_tags_repository_id")),
        sa.PrimaryKeyConstraint("repository_id", "name", name=op.f("pk_tags")),
        sqlite_with_rowid=False,
    )
    op.create_index(op.f("ix_tags_manifest_id"), "tags", ["manifest_id"], unique=False)
    op.create_table(
        "trash_edges",
        sa.Column("trash_id", _ID, nullable=False),
        sa.Column("position", sa.Integer(), nullable=False),
        sa.Column("repository_id", _ID, nullable=False),
        sa.Column("blob_id", _ID, nullable=False),
        sa.ForeignKeyConstraint(["blob_id"], ["blobs.id"], name=op.f("fk_trash_edges_blob_id")),
        sa.ForeignKeyConstraint(["repository_id"], ["repositories.id"], name=op.f("fk_trash_edges_repository_id")),
        sa.ForeignKeyConstraint(
            ["trash_id"], ["trash_manifests.id"], name=op.f("fk_trash_edges_trash_id"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("trash_id", "position", name=op.f("pk_trash_edges")),
    )
    op.create_index(
        op.f("ix_trash_edges_blob_id_repository_id"), "trash_edges", ["blob_id", "repository_id"], unique=False
    )
