"""The import contracts catch what they are for: each breach is planted in a copy of the tree, and found."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import ROOT

FLOORS = "Floors: imports only go down"
BREACHES = [
    ("a stray module at the root", "utils.py", "", FLOORS),
    ("an import upwards", "core/pull.py", "import moorage.edge.http", FLOORS),
    ("strangers that meet", "jobs/worker.py", "import moorage.core.pull", FLOORS),
    ("a room that imports a room", "features/other/job.py", "import moorage.features.gc.job", "Rooms"),
    ("HTTP in the core", "core/push.py", "import http", "HTTP is known only at the edge"),
    ("SQL in the core", "core/push.py", "import sqlalchemy", "SQL is written only in db"),
    ("SQL in a room, beside its rows.py", "features/gc/job.py", "import sqlalchemy", "SQL is written only in db"),
    ("a handler that reads rows", "edge/v2/blobs.py", "import moorage.db.blobs", "The edge asks core and features"),
    ("a value that does I/O", "oci/names.py", "import pathlib", "Words are pure"),
    ("siblings in a cycle", "db/tx.py", "import moorage.db.database", "No cycles among siblings"),
]


@pytest.mark.parametrize(
    ("module", "line", "contract"), [one[1:] for one in BREACHES], ids=[one[0] for one in BREACHES]
)
def test_a_planted_breach_is_found(tmp_path: Path, module: str, line: str, contract: str) -> None:
    shutil.copytree(ROOT / "src" / "moorage", tmp_path / "moorage", ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    planted = tmp_path / "moorage" / module
    if not planted.parent.exists():
        planted.parent.mkdir()
        (planted.parent / "__init__.py").touch()
    with planted.open("a") as file:
        file.write(f"\n{line}\n")
    done = subprocess.run(
        [Path(sys.executable).parent / "lint-imports", "--no-cache"],
        capture_output=True, text=True, check=False, cwd=tmp_path, env={**os.environ, "PYTHONPATH": str(tmp_path)},
    )  # fmt: skip
    assert done.returncode != 0, done.stdout
    broken = re.findall(r"^(.+) BROKEN", done.stdout, re.MULTILINE)
    assert any(name.startswith(contract) for name in broken), done.stdout


def test_every_contract_has_a_breach() -> None:
    names = re.findall(r'^name = "(.+)"$', (ROOT / "pyproject.toml").read_text(), re.MULTILINE)
    contracts = [name for name in names if name != "moorage"]
    assert [name for name in contracts if not any(name.startswith(one[3]) for one in BREACHES)] == []
