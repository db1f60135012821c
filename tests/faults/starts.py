"""Killed while it starts: on an empty folder, and where the schema is brought up to date.

Each attempt begins with a fresh copy of the same folder, because a migration happens once.  strace holds the process
from its first instruction, or from there the one that it forks for the migration; of the calls of `openat` only those
are points that may create a file.
"""

import os
import shutil
import signal
import sqlite3
import subprocess
import sys
from pathlib import Path

from tests.conftest import ROOT
from tests.faults import oracle
from tests.faults.acts import QUIET, content
from tests.faults.clients import image
from tests.faults.points import MUTATING, Points, Scene, traced
from tests.faults.server import Launcher, Place, Running

SOME = 40
"""Where a call is made more often, as for the folders of the store, only some of the calls are visited."""


def visit_start(launcher: Launcher, template: Path | None, folder: Path, *, most: int = SOME) -> Points:
    """Kill a registry at its start, on copies of `template` (`data`, and the `history` of its content)."""
    points = Points()
    for apart in (False, True):
        for call, number in _survey(launcher, template, folder, most, apart=apart):
            _visit(launcher, _copy(template, folder), points, call, number, apart=apart)
    return points


def _visit(launcher: Launcher, scene: Scene, points: Points, call: str, number: int, *, apart: bool) -> None:
    name = f"{call} {number}{' of the migration' if apart else ''}"
    running, pid = _held(launcher, scene, apart=apart)
    inject = f"inject={call}:signal=SIGKILL:when={number}"
    with traced("-e", f"trace={call}", "-e", inject, "-s", "0", pid=pid):
        os.kill(pid, signal.SIGCONT)
        status = running.wait_or_ready()
    if status is None:  # not the same calls as in the survey
        running.kill()
        return
    # Whose migration is killed does not go on.
    assert status == (1 if apart else -signal.SIGKILL), running.told()
    points.visited.append(name)
    before = revision(scene.place)
    points.verdict.violations += [f"after {name}: {one}" for one in _half_migrated(scene.place, before)]
    again = launcher.start(scene.place)
    again.until_ready()
    points.add(name, oracle.check(scene.place, scene.path))
    again.kill()


def _held(launcher: Launcher, scene: Scene, *, apart: bool) -> tuple[Running, int]:
    """A registry, and of it the process that waits for SIGCONT: itself, or the one that migrates."""
    running = launcher.start(scene.place, held=not apart, apart=apart)
    return running, running.held_child() if apart else running.pid


def _survey(
    launcher: Launcher, template: Path | None, folder: Path, most: int, *, apart: bool
) -> list[tuple[str, int]]:
    scene = _copy(template, folder)
    running, pid = _held(launcher, scene, apart=apart)
    with traced("-f", "-e", f"trace={MUTATING}", "-s", "0", pid=pid) as trace:
        os.kill(pid, signal.SIGCONT)
        assert running.wait_or_ready() is None, running.told()
    running.kill()
    counts: dict[str, int] = {}
    points: dict[str, list[int]] = {}
    for line in trace.lines:
        thread, _, made = line.partition(" ")
        call = made.strip().partition("(")[0]
        if int(thread) != pid or not call.isidentifier():
            continue
        counts[call] = counts.get(call, 0) + 1
        if call != "openat" or "O_CREAT" in made:
            points.setdefault(call, []).append(counts[call])
    return [(call, number) for call, numbers in points.items() for number in _some(numbers, most)]


def _some(numbers: list[int], most: int) -> list[int]:
    step = -(-len(numbers) // most)
    return numbers[::step]


def _copy(template: Path | None, folder: Path) -> Scene:
    shutil.rmtree(folder, ignore_errors=True)
    if template is None:
        folder.mkdir(parents=True)
        (folder / "history").touch()
    else:
        shutil.copytree(template, folder)
    return Scene(Place(folder / "data", dict(QUIET)), folder / "history")


def revision(place: Place) -> str | None:
    """Of the schema, read directly."""
    path = place.data / "moorage.db"
    if not path.exists():
        return None
    database = sqlite3.connect(f"file:{path}?mode=rw", uri=True)
    try:
        found = database.execute("SELECT version_num FROM alembic_version").fetchall()
    except sqlite3.OperationalError:
        return None
    finally:
        database.close()
    return str(found[0][0]) if found else None


def _half_migrated(place: Place, found: str | None) -> list[str]:
    """A schema is at one revision: each has tables that the others do not have."""
    if found is None:
        return []
    database = sqlite3.connect(f"file:{place.data / 'moorage.db'}?mode=rw", uri=True)
    try:
        tables = {row[0] for row in database.execute("SELECT name FROM sqlite_schema WHERE type = 'table'")}
        (check,) = database.execute("PRAGMA integrity_check").fetchone()
    finally:
        database.close()
    wrong = [] if check == "ok" else [f"O4: {check}"]
    if (found != "0001") != ("state" in tables) or any(one.startswith("_alembic") for one in tables):
        wrong.append(f"O2: the schema says it is at {found} and has the tables {sorted(tables)}")
    return wrong


def old_registry(launcher: Launcher, folder: Path) -> Path:
    """A folder with some content, whose schema is that of revision 0001."""
    folder.mkdir(parents=True)
    scene = Scene(Place(folder / "data", dict(QUIET)), folder / "history")
    running = launcher.start(scene.place)
    running.until_ready()
    with scene.client() as client:
        for scene.number in range(20):
            config, layer = content(scene, "config", 200), content(scene, "layer")
            assert client.push_blob(scene.repository, config)
            assert client.push_blob(scene.repository, layer)
            assert client.put_manifest(scene.repository, image(config, layer), "1")
    running.stop()
    new = folder / "new.db"
    deed = "import sys; from moorage.db.migrate import migrate; migrate(sys.argv[1], head='0001')"
    subprocess.run([sys.executable, "-c", deed, f"sqlite:///{new}"], cwd=ROOT, check=True)
    _move_rows(folder / "data" / "moorage.db", new)
    for one in folder.glob("new.db-*"):
        one.unlink()
    new.replace(folder / "data" / "moorage.db")
    return folder


def _move_rows(source: Path, target: Path) -> None:
    """Copy what both schemas have."""
    database = sqlite3.connect(target, isolation_level=None)
    database.execute("ATTACH ? AS source", (str(source),))
    tables = [row[0] for row in database.execute("SELECT name FROM main.sqlite_schema WHERE type = 'table'")]
    for table in tables:
        if table.startswith("sqlite_") or table == "alembic_version":
            continue
        names = [row[1] for row in database.execute(f"PRAGMA main.table_info({table})")]
        columns = ", ".join(f'"{name}"' for name in names)
        database.execute(f"INSERT INTO main.{table} ({columns}) SELECT {columns} FROM source.{table}")
    database.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    database.close()
