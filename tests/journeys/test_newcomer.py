"""The newcomer's path: run, log in, push, share, let CI in, be refused elsewhere and understand why, shut CI out."""

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import httpx
import pytest

from moorage.access.first import PASSWORD_FILE
from tests.cli.running import environment
from tests.conftest import start, tool
from tests.journeys.programs import layer


class Person:
    """Somebody with a home of their own: what one logs in with, another does not have."""

    def __init__(self, home: Path, host: str) -> None:
        home.mkdir()
        self.host, self.crane = host, tool("crane")
        self.environ = {"DOCKER_CONFIG": str(home), "HOME": str(home)}

    def __call__(self, *command: object, stdin: str = "") -> tuple[int, str]:
        done = subprocess.run(
            list(map(str, command)), input=stdin, capture_output=True, text=True, check=False, timeout=100,
            env=environment(**{**os.environ, **self.environ}),
        )  # fmt: skip
        return done.returncode, done.stdout if done.returncode == 0 else done.stderr

    def login(self, name: str, secret: str) -> None:
        done = self(self.crane, "auth", "login", self.host, "-u", name, "--password-stdin", stdin=secret)
        assert done[0] == 0, done[1]

    def push(self, files: Path, name: str) -> tuple[int, str]:
        return self(self.crane, "append", "--oci-empty-base", "-f", files, "-t", f"{self.host}/{name}")

    def pull(self, name: str) -> tuple[int, str]:
        return self(self.crane, "manifest", f"{self.host}/{name}")

    def moorage(self, *arguments: object) -> str:
        status, told = self(sys.executable, "-m", "moorage", *arguments, "--host", self.host)
        assert status == 0, told
        return told


@pytest.mark.client("crane")
@pytest.mark.timeout(400)
def test_a_newcomer_pushes_shares_and_lets_ci_in_and_out(tmp_path: Path) -> None:
    (tmp_path / "empty.yml").touch()
    files = tmp_path / "layer.tar"
    files.write_bytes(layer(hello=b"hello"))
    server = start(tmp_path / "data", config=tmp_path / "empty.yml")
    try:
        kept = server.data / PASSWORD_FILE
        assert kept.stat().st_mode & 0o077 == 0
        me, ci, stranger = (Person(tmp_path / name, server.address) for name in ("me", "ci", "stranger"))

        me.login("admin", kept.read_text().strip())
        me.moorage("org", "add", "acme")
        assert me.push(files, "acme/app:1")[0] == 0
        status, told = stranger.pull("acme/app:1")
        assert status != 0
        assert "UNAUTHORIZED: nobody is signed in, and not everybody may pull from acme/app" in told
        me.moorage("repo", "set", "acme/app", "--visibility", "public")
        assert stranger.pull("acme/app:1")[0] == 0

        made = json.loads(me.moorage("robot", "create", "acme.ci", "--allow", "acme/*:pull,push", "--json"))
        ci.login("acme.ci", made["secret"])
        assert ci.push(files, "acme/app:2")[0] == 0
        status, told = ci.push(files, "other/app:1")
        assert status != 0
        assert (
            "DENIED: acme.ci (the token '1') may not push to other/app: no rule gives push there; "
            "a robot of acme acts within acme/ only, so nobody can grant it"
        ) in told
        assert "a robot of acme acts within acme/ only" in me.moorage(
            "access", "explain", "acme.ci", "push", "other/app"
        )

        next_ = json.loads(me.moorage("robot", "rotate", "acme.ci", "--grace", "1h", "--json"))
        assert ci.push(files, "acme/app:3")[0] == 0, "the old secret is good for an hour"
        scope = {"service": "moorage", "scope": "repository:acme/app:pull,push"}
        answer = httpx.get(f"{server.url}/token", params=scope, auth=("acme.ci", next_["secret"]))
        bearer = {"Authorization": f"Bearer {answer.json()['token']}"}
        upload = f"{server.url}/v2/acme/app/blobs/uploads/"
        assert httpx.post(upload, headers=bearer).status_code == 202
        (listed,) = [
            one for one in json.loads(me.moorage("token", "list", "--user", "acme.ci", "--json")) if one["name"] == "2"
        ]
        me.moorage("token", "revoke", listed["id"], "--user", "acme.ci")
        end = time.monotonic() + 5
        while (answer := httpx.post(upload, headers=bearer)).status_code == 202:
            assert time.monotonic() < end, "a revoked robot's bearer token is good after 5 seconds"
            time.sleep(0.1)
        assert "credentials that are no longer good" in answer.json()["errors"][0]["message"]
    finally:
        server.stop()
    log = server.log.read_text()
    assert "Traceback" not in log
    assert "mrgr_" not in log
