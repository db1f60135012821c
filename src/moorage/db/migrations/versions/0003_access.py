"""Accounts, and who may do what."""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"

_WORD = sa.Text().with_variant(sa.Text(collation="C"), "postgresql")
_ID = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def _id() -> sa.Column[int]:
    return sa.Column("id", _ID, sa.Identity(always=False), nullable=False)


def _word(name: str, *, nullable: bool = False) -> sa.Column[str]:
    return sa.Column(name, _WORD, nullable=nullable)


def _text(name: str, *, nullable: bool = False) -> sa.Column[str]:
    return sa.Column(name, sa.Text(), nullable=nullable)


def _time(name: str, *, nullable: bool = False) -> sa.Column[int]:
    return sa.Column(name, sa.BigInteger(), nullable=nullable)


def _to(table: str, column: str, target: str) -> sa.ForeignKeyConstraint:
    return sa.ForeignKeyConstraint([column], [f"{target}.id"], name=op.f(f"fk_{table}_{column}"))


def _of(name: str, *, nullable: bool = False) -> sa.Column[int]:
    return sa.Column(name, _ID, nullable=nullable)


def _key(table: str, *columns: str) -> sa.PrimaryKeyConstraint:
    return sa.PrimaryKeyConstraint(*(columns or ("id",)), name=op.f(f"pk_{table}"))


def upgrade() -> None:
    visibility: sa.Column[str] = sa.Column("visibility", _WORD, server_default="private", nullable=False)
    if op.get_bind().dialect.name == "sqlite":
        kept = {"sqlite_autoincrement": True}
        with op.batch_alter_table("repositories", recreate="always", table_kwargs=kept) as batch:
            batch.add_column(visibility, insert_before="created_at")
    else:
        op.add_column("repositories", visibility)
    op.create_table(
        "accounts",
        _id(),
        _word("name"),
        _word("kind"),
        sa.Column("admin", sa.Integer(), nullable=False),
        _word("visibility"),
        _of("owner_id", nullable=True),
        _text("description"),
        _text("created_by"),
        _time("created_at"),
        _time("disabled_at", nullable=True),
        _time("expires_at", nullable=True),
        _time("credentials_at"),
        _text("password", nullable=True),
        _to("accounts", "owner_id", "accounts"),
        _key("accounts"),
        sa.UniqueConstraint("name", name=op.f("uq_accounts_name")),
        sqlite_autoincrement=True,
    )
    op.create_index(op.f("ix_accounts_owner_id"), "accounts", ["owner_id"])
    op.create_table(
        "members",
        _of("organisation_id"),
        _of("account_id"),
        _word("role"),
        _time("since"),
        _to("members", "organisation_id", "accounts"),
        _to("members", "account_id", "accounts"),
        _key("members", "organisation_id", "account_id"),
    )
    op.create_index(op.f("ix_members_account_id"), "members", ["account_id"])
    op.create_table(
        "teams",
        _id(),
        _of("organisation_id"),
        _word("name"),
        _time("created_at"),
        _to("teams", "organisation_id", "accounts"),
        _key("teams"),
        sqlite_autoincrement=True,
    )
    op.create_index(op.f("ix_teams_organisation_id_name"), "teams", ["organisation_id", "name"], unique=True)
    op.create_table(
        "team_members",
        _of("team_id"),
        _of("account_id"),
        _time("since"),
        _to("team_members", "team_id", "teams"),
        _to("team_members", "account_id", "accounts"),
        _key("team_members", "team_id", "account_id"),
    )
    op.create_index(op.f("ix_team_members_account_id"), "team_members", ["account_id"])
    op.create_table(
        "grants",
        _id(),
        _word("subject"),
        _word("owner"),
        _word("pattern"),
        _word("actions"),
        _text("created_by"),
        _time("created_at"),
        _time("expires_at", nullable=True),
        _key("grants"),
        sqlite_autoincrement=True,
    )
    op.create_index(op.f("ix_grants_subject_pattern"), "grants", ["subject", "pattern"], unique=True)
    op.create_index(op.f("ix_grants_owner_subject"), "grants", ["owner", "subject"])
    op.create_table(
        "tokens",
        _id(),
        _of("account_id"),
        _word("name"),
        _word("kind"),
        _word("secret_hash"),
        _text("scopes", nullable=True),
        _time("created_at"),
        _time("expires_at", nullable=True),
        _time("used_at", nullable=True),
        _text("used_from", nullable=True),
        _to("tokens", "account_id", "accounts"),
        _key("tokens"),
        sa.UniqueConstraint("secret_hash", name=op.f("uq_tokens_secret_hash")),
        sqlite_autoincrement=True,
    )
    op.create_index(op.f("ix_tokens_account_id_name"), "tokens", ["account_id", "name"])
    op.create_table(
        "signing_keys",
        _word("id"),
        _text("public"),
        _text("private"),
        _time("created_at"),
        _key("signing_keys"),
    )
