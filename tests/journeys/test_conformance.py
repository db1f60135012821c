"""The distribution specification's own suite, at registries that ask who one is."""

import re
from collections.abc import Callable
from pathlib import Path

import bcrypt
import pytest

from tests.closed import PASSWORD
from tests.conftest import Served, start, tool
from tests.journeys.programs import run

Settings = Callable[[Path], str]
NO_DELETES = {f"OCI_API_{what}_DELETE": "false" for what in ("BLOBS", "MANIFESTS", "TAGS")}
"""Users of an htpasswd file hold the writer role, which deletes nothing."""


def accounts(_folder: Path) -> str:
    return ""


def htpasswd(folder: Path) -> str:
    (folder / "users").write_text(f"admin:{bcrypt.hashpw(PASSWORD.encode(), bcrypt.gensalt(4)).decode()}\n")
    return f"auth: {{htpasswd: {{path: {folder / 'users'}, realm: Ours}}}}\n"


@pytest.mark.client("conformance")
@pytest.mark.timeout(600)
@pytest.mark.parametrize(("settings", "scheme"), [(accounts, "Bearer"), (htpasswd, "Basic")])
def test_the_conformance_suite_passes_whole_with_a_password(tmp_path: Path, settings: Settings, scheme: str) -> None:
    suite = tool("conformance")
    config = tmp_path / "config.yml"
    config.write_text(f"version: 0.1\nvalidation: {{sparse: true}}\n{settings(tmp_path)}")
    more = {"REGISTRY_ADMIN_PASSWORD": PASSWORD} if settings is accounts else {}
    server = start(tmp_path / "data", config=config, **more)
    try:
        found = _run(suite, server, tmp_path, {} if settings is accounts else NO_DELETES)
    finally:
        server.stop()
    log = server.log.read_text()
    assert "Traceback" not in log
    assert PASSWORD not in log
    assert ("/token" in log) == (scheme == "Bearer")
    assert found.keys() <= {"passed", "skipped"}
    if settings is accounts:
        assert len(found["passed"]) >= 800
        assert "skipped" not in found
    else:
        assert len(found["passed"]) >= 600
        assert set(found["skipped"]) == {"blob-delete", "manifest-delete", "tag-delete"}


def _run(suite: str, server: Served, results: Path, more: dict[str, str]) -> dict[str, list[str]]:
    """The names of its tests, by what became of them."""
    run(
        suite, OCI_REGISTRY=server.address, OCI_TLS="disabled", OCI_VERSION="dev", OCI_DATA_SPARSE="true",
        OCI_RESULTS_DIR=str(results), OCI_USERNAME="admin", OCI_PASSWORD=PASSWORD, **more,
    )  # fmt: skip
    found: dict[str, list[str]] = {}
    for name, status in re.findall(
        r'<testcase name="([^"]*)"[^>]* status="(\w+)"', (results / "junit.xml").read_text()
    ):
        found.setdefault(status, []).append(name.rpartition("/")[2])
    return found
