"""The tables.

    repositories ──< links >── blobs            a link is a repository's right to a blob, and holds its lease
         │                       ▲
         ├──< manifests ──< edges┘              an edge is one descriptor of a manifest; it keeps the digest, and
         │       ▲            └──> manifests    the id of what it found (null while that has not arrived)
         ├──< tags
         └──< tag_history
    uploads      a blob on its way in             events       the outbox, written with the fact
    trash_*      what was deleted, for a while    jobs         when each job runs next, and who runs it
    state        what the registry remembers of itself, one value a name

    accounts ──< members >── organisations       users, organisations and robots are accounts: one name, one owner
         │          teams ──< team_members         of repositories
         └──< tokens       grants                  a grant gives a subject actions on a pattern of repositories
    signing_keys                                   whose bearer tokens we believe

Times are microseconds since the epoch, UTC.  Names, tags and digests compare as bytes in either dialect
(`COLLATE "C"`), because pages of a list are cut by comparison. Partial indexes have their condition in both, and name
it here for SQLite alone: SQLAlchemy would import the other dialect too. Bytes are the last column of their table, so
that rows are read without them. Live tables have no `deleted_at`: deletion moves rows to the trash.
"""

from typing import Final

from sqlalchemy import (
    BigInteger,
    Column,
    ForeignKey,
    Identity,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    PrimaryKeyConstraint,
    Table,
    Text,
    text,
)
from sqlalchemy.types import TypeEngine

metadata: Final = MetaData(
    naming_convention={
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "fk": "fk_%(table_name)s_%(column_0_N_name)s",
        "pk": "pk_%(table_name)s",
    }
)

Word: Final = Text().with_variant(Text(collation="C"), "postgresql")
"""Text that compares as bytes."""

Id: Final = BigInteger().with_variant(Integer(), "sqlite")


def _id() -> Column[int]:
    return Column("id", Id, Identity(), primary_key=True)


def _time(name: str, *, nullable: bool = False) -> Column[int]:
    return Column(name, BigInteger, nullable=nullable)


def _of(name: str, target: str, *, nullable: bool = False) -> Column[int]:
    return Column(name, Id, ForeignKey(target), nullable=nullable)


def _word(name: str, kind: TypeEngine[str] = Word, *, nullable: bool = False) -> Column[str]:
    return Column(name, kind, nullable=nullable)


repositories: Final = Table(
    "repositories",
    metadata,
    _id(),
    Column("name", Word, nullable=False, unique=True),
    _word("owner"),
    # Who may pull without a grant: private (nobody), internal (everyone signed in) or public.
    Column("visibility", Word, nullable=False, server_default="private"),
    _time("created_at"),
    # Since the first manifest; the catalog lists no repository without it.
    _time("listed_at", nullable=True),
    Index(None, "owner"),
    # The catalog, read from here alone, and walked without a look at those that are not in it.
    # PostgreSQL's is partial too, by its migration: to say so here would import that dialect at every start.
    Index("ix_repositories_listed", "name", "listed_at", sqlite_where=text("listed_at IS NOT NULL")),
    sqlite_autoincrement=True,
)

blobs: Final = Table(
    "blobs",
    metadata,
    _id(),
    Column("digest", Word, nullable=False, unique=True),
    Column("size", BigInteger, nullable=False),
    Column("storage_key", Word, unique=True),
    _time("created_at"),
    # What is wrong with its bytes, since a check found it; null for sound ones.  A damaged blob is in no repository
    # until somebody pushes it again.
    Column("damaged", Text),
    Column("content", LargeBinary),
    # Few ever are: this costs a push nothing.
    Index("ix_blobs_damaged", "id", sqlite_where=text("damaged IS NOT NULL")),
    sqlite_autoincrement=True,
)

links: Final = Table(
    "links",
    metadata,
    _of("repository_id", "repositories.id"),
    _of("blob_id", "blobs.id"),
    _time("linked_at"),
    _time("leased_until"),
    PrimaryKeyConstraint("repository_id", "blob_id"),
    Index(None, "blob_id"),
    Index(None, "leased_until"),
    sqlite_with_rowid=False,
)

manifests: Final = Table(
    "manifests",
    metadata,
    _id(),
    _of("repository_id", "repositories.id"),
    _word("digest"),
    _word("media_type"),
    Column("size", BigInteger, nullable=False),
    _word("artifact_type", nullable=True),
    _word("subject", nullable=True),
    # Why this manifest may not be pulled; set by rooms, read by every pull.
    Column("hold", Text),
    _time("pushed_at"),
    # JSON, as referrers lists show them; null where there are none.
    Column("annotations", Text),
    Column("content", LargeBinary, nullable=False),
    Index(None, "repository_id", "digest", unique=True),
    Index(
        "ix_manifests_subject",
        "repository_id",
        "subject",
        "digest",
        sqlite_where=text("subject IS NOT NULL"),
    ),
    sqlite_autoincrement=True,
)

edges: Final = Table(
    "edges",
    metadata,
    Column("manifest_id", Id, ForeignKey("manifests.id", ondelete="CASCADE"), nullable=False),
    Column("position", Integer, nullable=False),
    _of("repository_id", "repositories.id"),
    _word("digest"),
    _word("role"),
    _of("blob_id", "blobs.id", nullable=True),
    _of("child_id", "manifests.id", nullable=True),
    PrimaryKeyConstraint("manifest_id", "position"),
    Index(None, "blob_id", "repository_id"),
    Index(None, "child_id"),
    # Edges that wait for what they name.
    Index(
        "ix_edges_waiting",
        "repository_id",
        "digest",
        sqlite_where=text("blob_id IS NULL AND child_id IS NULL"),
    ),
)

tags: Final = Table(
    "tags",
    metadata,
    _of("repository_id", "repositories.id"),
    _word("name"),
    _of("manifest_id", "manifests.id"),
    _time("updated_at"),
    PrimaryKeyConstraint("repository_id", "name"),
    Index(None, "manifest_id"),
    sqlite_with_rowid=False,
)

tag_history: Final = Table(
    "tag_history",
    metadata,
    _id(),
    _of("repository_id", "repositories.id"),
    _word("tag"),
    # Where it pointed from then on; null where it was removed.
    _word("digest", nullable=True),
    _word("previous", nullable=True),
    Column("actor", Text, nullable=False),
    _time("at"),
    Index(None, "repository_id", "tag", "id"),
    sqlite_autoincrement=True,
)

uploads: Final = Table(
    "uploads",
    metadata,
    Column("id", Word, primary_key=True),
    # A name, not an id: an upload alone makes no repository.
    _word("repository"),
    Column("actor", Text, nullable=False),
    # Raised by every writer; only the last one may report what it wrote.
    Column("epoch", Integer, nullable=False),
    _word("parts"),
    # The digest of the bytes so far, in the algorithm the client is expected to finish with.
    _word("digest"),
    Column("hash_state", LargeBinary),
    _word("incarnation"),
    # Set when it is finished: a repeated PUT is then answered again.
    _word("finished", nullable=True),
    _time("started_at"),
    _time("touched_at"),
    Column("content", LargeBinary),
    # Not of touched_at, which changes with every request.
    Index(None, "started_at"),
)

events: Final = Table(
    "events",
    metadata,
    _id(),
    _time("at"),
    _word("kind"),
    _word("repository"),
    Column("actor", Text, nullable=False),
    Column("facts", Text, nullable=False),
    # PostgreSQL's number of the writing transaction: readers stay below what may still commit.
    Column("transaction", BigInteger, nullable=False, server_default=text("0")),
    Index(None, "transaction", "id"),
    sqlite_autoincrement=True,
)

trash_manifests: Final = Table(
    "trash_manifests",
    metadata,
    _id(),
    _of("repository_id", "repositories.id"),
    _word("digest"),
    _word("media_type"),
    # A JSON list of the tags that pointed at it.
    Column("tags", Text, nullable=False),
    Column("actor", Text, nullable=False),
    _time("pushed_at"),
    _time("deleted_at"),
    _time("purge_after"),
    Column("content", LargeBinary, nullable=False),
    Index(None, "purge_after"),
    Index(None, "repository_id", "digest"),
    sqlite_autoincrement=True,
)

trash_edges: Final = Table(
    "trash_edges",
    metadata,
    Column("trash_id", Id, ForeignKey("trash_manifests.id", ondelete="CASCADE"), nullable=False),
    Column("position", Integer, nullable=False),
    _of("repository_id", "repositories.id"),
    _of("blob_id", "blobs.id"),
    PrimaryKeyConstraint("trash_id", "position"),
    Index(None, "blob_id", "repository_id"),
)

trash_tags: Final = Table(
    "trash_tags",
    metadata,
    _id(),
    _of("repository_id", "repositories.id"),
    _word("name"),
    _word("digest"),
    Column("actor", Text, nullable=False),
    _time("deleted_at"),
    _time("purge_after"),
    Index(None, "purge_after"),
    sqlite_autoincrement=True,
)

trash_links: Final = Table(
    "trash_links",
    metadata,
    _of("repository_id", "repositories.id"),
    _of("blob_id", "blobs.id"),
    # Who deleted it; null where its lease ran out: then a new reference brings it back.
    Column("actor", Text),
    _time("deleted_at"),
    _time("purge_after"),
    PrimaryKeyConstraint("repository_id", "blob_id"),
    Index(None, "purge_after"),
    Index(None, "blob_id"),
)

trash_blobs: Final = Table(
    "trash_blobs",
    metadata,
    Column("storage_key", Word, primary_key=True),
    _word("digest"),
    Column("size", BigInteger, nullable=False),
    # 'waiting', then 'purging': only then may its bytes be gone.
    _word("state"),
    _time("purge_after"),
    Index(None, "state", "purge_after"),
)

jobs: Final = Table(
    "jobs",
    metadata,
    Column("name", Word, primary_key=True),
    _time("due_at"),
    _time("leased_until"),
    _word("holder", nullable=True),
    _time("finished_at", nullable=True),
    Column("failures", Integer, nullable=False),
    Column("error", Text),
)

state: Final = Table(
    "state",
    metadata,
    Column("name", Word, primary_key=True),
    # JSON.
    Column("value", Text, nullable=False),
    _time("updated_at"),
)

accounts: Final = Table(
    "accounts",
    metadata,
    _id(),
    # Also the first component of its repositories: users, organisations and robots share one namespace.
    Column("name", Word, nullable=False, unique=True),
    _word("kind"),
    # 1 for those who may do everything.
    Column("admin", Integer, nullable=False),
    # The visibility of repositories that are made below its name.
    _word("visibility"),
    # Whose robot it is; null for users and organisations.
    _of("owner_id", "accounts.id", nullable=True),
    Column("description", Text, nullable=False),
    Column("created_by", Text, nullable=False),
    _time("created_at"),
    _time("disabled_at", nullable=True),
    _time("expires_at", nullable=True),
    # A bearer token issued before this is void.
    _time("credentials_at"),
    # argon2id, in its usual text form.
    Column("password", Text),
    Index(None, "owner_id"),
    sqlite_autoincrement=True,
)

members: Final = Table(
    "members",
    metadata,
    _of("organisation_id", "accounts.id"),
    _of("account_id", "accounts.id"),
    # owner or member.
    _word("role"),
    _time("since"),
    PrimaryKeyConstraint("organisation_id", "account_id"),
    Index(None, "account_id"),
)

teams: Final = Table(
    "teams",
    metadata,
    _id(),
    _of("organisation_id", "accounts.id"),
    _word("name"),
    _time("created_at"),
    Index(None, "organisation_id", "name", unique=True),
    sqlite_autoincrement=True,
)

team_members: Final = Table(
    "team_members",
    metadata,
    _of("team_id", "teams.id"),
    _of("account_id", "accounts.id"),
    _time("since"),
    PrimaryKeyConstraint("team_id", "account_id"),
    Index(None, "account_id"),
)

grants: Final = Table(
    "grants",
    metadata,
    _id(),
    # account:ID, team:ID, everyone (who is signed in) or anyone.
    _word("subject"),
    # The first component of the pattern, or * where that is a wildcard: what decisions are looked up by.
    _word("owner"),
    _word("pattern"),
    # Separated by commas.
    _word("actions"),
    Column("created_by", Text, nullable=False),
    _time("created_at"),
    _time("expires_at", nullable=True),
    Index(None, "subject", "pattern", unique=True),
    Index(None, "owner", "subject"),
    sqlite_autoincrement=True,
)

tokens: Final = Table(
    "tokens",
    metadata,
    _id(),
    _of("account_id", "accounts.id"),
    _word("name"),
    # personal, robot, refresh or invitation.
    _word("kind"),
    # SHA-256 of the secret, which has the entropy that makes a slow hash needless.
    Column("secret_hash", Word, nullable=False, unique=True),
    # JSON: what it is limited to; null where it may do what its account may.
    Column("scopes", Text),
    _time("created_at"),
    _time("expires_at", nullable=True),
    _time("used_at", nullable=True),
    Column("used_from", Text),
    Index(None, "account_id", "name"),
    sqlite_autoincrement=True,
)

signing_keys: Final = Table(
    "signing_keys",
    metadata,
    Column("id", Word, primary_key=True),
    # JSON Web Key, as others may read it.
    Column("public", Text, nullable=False),
    # Encrypted by the secret that the data folder or http.secret holds.
    Column("private", Text, nullable=False),
    _time("created_at"),
)
