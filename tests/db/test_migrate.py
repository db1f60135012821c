"""Bringing a schema up to date: all of it or nothing, whatever happens meanwhile."""

import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import create_engine

from moorage.db.engine import Tx, open_database, parse_url
from moorage.db.migrate import SCRIPTS, current, migrate
from moorage.db.migrations.head import HEAD
from moorage.db.schema import metadata
from moorage.errors import Code, RegistryError

STEP = """
revision = "step"
down_revision = {before!r}
{extra}
def upgrade():
    import sqlalchemy as sa
    from alembic import op
    op.create_table("step", sa.Column("id", sa.Integer(), primary_key=True))
    {deed}
"""


MIGRATE = """
import sys
from pathlib import Path
from moorage.db.migrate import migrate
migrate(sys.argv[1], scripts=Path(sys.argv[2]), head="step")
"""


@pytest.fixture
def scripts(tmp_path: Path) -> Path:
    """A copy of the history, to add a step to."""
    return Path(shutil.copytree(SCRIPTS, tmp_path / "scripts"))


def step(scripts: Path, deed: str, extra: str = "") -> None:
    (scripts / "versions" / "step.py").write_text(STEP.format(before=HEAD, deed=deed, extra=extra))


def look(url: str, statement: str) -> list[tuple[Any, ...]]:
    opened = open_database(url)
    try:
        return opened.read_now(lambda tx: list(tx.raw.execute(statement).fetchall()))
    finally:
        opened.close_now()


def tables(url: str) -> set[str]:
    sqlite = url.startswith("sqlite")
    return {
        row[0]
        for row in look(
            url,
            "SELECT name FROM sqlite_schema WHERE type = 'table'"
            if sqlite
            else "SELECT tablename FROM pg_tables WHERE schemaname = 'public'",
        )
    }


def test_the_head_is_the_last_step() -> None:
    from alembic.config import Config
    from alembic.script import ScriptDirectory

    config = Config()
    config.set_main_option("script_location", str(SCRIPTS))
    assert ScriptDirectory.from_config(config).get_heads() == [HEAD]


def shape(tx: Tx) -> set[tuple[Any, ...]]:
    """Every column, constraint and index of the database."""
    if tx.dialect == "postgresql":
        columns = """
            SELECT relname, attname, format_type(atttypid, atttypmod), attnotnull, attidentity,
                   attcollation::regcollation::text, pg_get_expr(adbin, adrelid)
            FROM pg_attribute
            JOIN pg_class ON pg_class.oid = attrelid AND relkind = 'r' AND relnamespace = 'public'::regnamespace
            LEFT JOIN pg_attrdef ON adrelid = attrelid AND adnum = attnum WHERE attnum > 0"""
        constraints = """
            SELECT conrelid::regclass::text, conname, pg_get_constraintdef(oid) FROM pg_constraint
            WHERE connamespace = 'public'::regnamespace"""
        statements = [columns, constraints, "SELECT tablename, indexdef FROM pg_indexes WHERE schemaname = 'public'"]
        return {row for statement in statements for row in tx.raw.execute(statement).fetchall()}
    found = {
        (kind, name, *sorted(re.sub(r'[",]|DEFAULT (?=\()', " ", sql or "").split()))
        for kind, name, sql in tx.raw.execute("SELECT type, name, sql FROM sqlite_schema").fetchall()
        if not name.startswith("sqlite_")
    }
    for name in [row[1] for row in found if row[0] == "table"]:
        found |= {(name, *row[1:]) for row in tx.raw.execute(f"SELECT * FROM pragma_table_xinfo('{name}')").fetchall()}
    return found


def test_the_migrated_schema_is_the_one_the_program_believes_in(empty_database: str, request: Any) -> None:
    if empty_database.startswith("sqlite"):
        believed = f"{empty_database}.believed"
    else:
        believed = request.getfixturevalue("postgresql_server").create(schema=False)
    for index in (one for table in metadata.tables.values() for one in table.indexes):
        index.dialect_options["postgresql"]["where"] = index.dialect_options["sqlite"]["where"]
    engine = create_engine(parse_url(believed))
    with engine.begin() as connection:
        metadata.create_all(connection)
    engine.dispose()
    migrate(empty_database)
    shapes = []
    for url in (believed, empty_database):
        opened = open_database(url)
        shapes.append({row for row in opened.read_now(shape) if "alembic_version" not in str(row)})
        opened.close_now()
    assert len(shapes[0]) > 100
    assert shapes[0] ^ shapes[1] == set()


def test_nothing_is_done_twice_and_two_at_once_agree(empty_database: str) -> None:
    deed = "import sys; from moorage.db.migrate import migrate; print(migrate(sys.argv[1]))"
    both = [
        subprocess.Popen([sys.executable, "-c", deed, empty_database], stdout=subprocess.PIPE, text=True)
        for _ in range(2)
    ]
    assert sorted(one.communicate(timeout=90)[0] for one in both) == ["False\n", "True\n"]
    assert migrate(empty_database) is False
    assert current(empty_database) == HEAD


def test_a_step_that_fails_leaves_everything_as_it_was(database_url: str, scripts: Path) -> None:
    before = tables(database_url)
    step(scripts, "op.execute('SELECT * FROM nowhere')")
    with pytest.raises(RegistryError) as refused:
        migrate(database_url, scripts=scripts, head="step")
    assert refused.value.code is Code.UNAVAILABLE
    assert "is as it was" in refused.value.message
    assert (current(database_url), tables(database_url)) == (HEAD, before)


def test_a_step_that_is_killed_leaves_the_old_schema(database_url: str, scripts: Path) -> None:
    before = tables(database_url)
    step(scripts, "print('here', flush=True); import sys; sys.stdin.read()")
    child = subprocess.Popen(
        [sys.executable, "-c", MIGRATE, database_url, str(scripts)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert child.stdout
    assert child.stdout.readline() == "here\n"
    child.kill()
    child.communicate()
    assert (current(database_url), tables(database_url)) == (HEAD, before)
    step(scripts, "pass")
    assert migrate(database_url, scripts=scripts, head="step") is True
    assert tables(database_url) - before == {"step"}


def test_a_newer_schema_is_refused_and_not_touched(database_url: str, scripts: Path) -> None:
    step(scripts, "pass")
    migrate(database_url, scripts=scripts, head="step")
    with pytest.raises(RegistryError) as refused:
        migrate(database_url)
    assert (refused.value.code, "newer than this program" in refused.value.message) == (Code.UNAVAILABLE, True)
    assert current(database_url) == "step"


ROWS = """
INSERT INTO repositories (id, name, owner, created_at) VALUES (1, 'a', 'library', 0);
INSERT INTO blobs (id, digest, size, created_at) VALUES (1, 'sha256:x', 0, 0);
INSERT INTO links (repository_id, blob_id, linked_at, leased_until) VALUES (1, 1, 0, 0);
INSERT INTO manifests (id, repository_id, digest, media_type, size, pushed_at, content)
    VALUES (1, 1, 'sha256:m', 'm', 0, 0, x'00');
INSERT INTO edges (manifest_id, position, repository_id, digest, role, blob_id)
    VALUES (1, 0, 1, 'sha256:x', 'layer', 1);
"""


@pytest.fixture
def filled(sqlite_url: str) -> str:
    opened = open_database(sqlite_url)
    for statement in ROWS.strip().split(";"):
        opened.write_now(lambda tx, text: tx.raw.execute(text), statement)
    opened.close_now()
    return sqlite_url


def test_copying_a_table_keeps_the_rows_that_refer_to_it(filled: str, scripts: Path) -> None:
    alter = "batch.alter_column('media_type', nullable=True)"
    step(scripts, f"with op.batch_alter_table('manifests', recreate='always') as batch: {alter}")
    assert migrate(filled, scripts=scripts, head="step") is True
    assert look(filled, "SELECT count(*) FROM edges") == [(1,)]


@pytest.mark.parametrize(
    ("deed", "reason"),
    [("DELETE FROM links", "links had 1 rows"), ("UPDATE links SET blob_id = 7", "refer to nothing, in: links")],
)
def test_rows_do_not_vanish_unannounced(filled: str, scripts: Path, deed: str, reason: str) -> None:
    step(scripts, f"op.execute({deed!r})")
    with pytest.raises(RegistryError) as refused:
        migrate(filled, scripts=scripts, head="step")
    assert reason in refused.value.message
    assert look(filled, "SELECT blob_id FROM links") == [(1,)]


def test_rows_may_vanish_where_the_step_says_so(filled: str, scripts: Path) -> None:
    step(scripts, "op.execute('DELETE FROM links')", extra="changes_counts = ('links',)")
    assert migrate(filled, scripts=scripts, head="step") is True
    assert look(filled, "SELECT blob_id FROM links") == []
