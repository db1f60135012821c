"""A closed registry with people in it, and the homes from which they run their programs.

acme          an organisation of olive's
  acme/app    private; `1` is an image
  acme/ci     a robot that pulls and pushes in acme/*
walt          pulls and pushes in acme/*
rita          pulls from acme/app
"""

import os
import re
import subprocess
from dataclasses import dataclass
from pathlib import Path

from tests.closed import ADMIN, PASSWORD, Closed
from tests.journeys.programs import layer, push_image

EVERYTHING = "acme/*:pull,push,overwrite,delete"


@dataclass(frozen=True)
class Given:
    """A personal token."""

    id: int
    name: str
    secret: str


class House(Closed):
    """The registry, with its people and the secrets they got."""

    def __init__(self, folder: Path, settings: str = "", **environment: str) -> None:
        super().__init__(folder, settings, **environment)
        for name in ("olive", "walt", "rita"):
            self.done(ADMIN, "POST", "/users", {"name": name, "password": PASSWORD})
        self.done(ADMIN, "POST", "/organisations", {"name": "acme", "owner": "olive"})
        self.allow("walt", "acme/*", "pull,push,overwrite,delete")
        self.allow("rita", "acme/app", "pull")
        self.digest = push_image(self.served, "acme/app", "1", auth=ADMIN)

    def allow(self, name: str, pattern: str, actions: str) -> int:
        """Grant; gives the rule's id."""
        made = self.done(ADMIN, "POST", "/grants", {"subject": name, "pattern": pattern, "actions": actions})
        return int(made["id"])

    def token(self, name: str, *scopes: str, seconds: int | None = None) -> Given:
        """A personal token of a user's."""
        self._number += 1
        body = {"name": f"made{self._number}", "scopes": list(scopes), "expires_in": seconds}
        made = self.done((name, PASSWORD), "POST", f"/users/{name}/tokens", body)
        return Given(int(made["token"]["id"]), f"made{self._number}", str(made["secret"]))

    def robot(self, *rules: str) -> tuple[str, str]:
        """A robot of acme's: its name and its secret."""
        self._number += 1
        made = self.done(
            ("olive", PASSWORD), "POST", "/robots", {"owner": "acme", "name": f"ci{self._number}", "rules": list(rules)}
        )
        return str(made["token"]["account"]), str(made["secret"])

    def publish(self, repository: str, visibility: str = "public") -> None:
        self.done(ADMIN, "PATCH", f"/repositories/{repository}", {"visibility": visibility})


class Home:
    """A folder in which programs keep what somebody logged in with; another home knows nothing of it."""

    def __init__(self, folder: Path, at: str, **values: object) -> None:
        folder.mkdir()
        (folder / "auth.json").write_text("{}")  # podman asks for it
        (folder / "layer.tar").write_bytes(layer(note=folder.name.encode()))
        self.folder = folder
        self.values = {"at": at, "home": folder, **values}
        self.environ = {
            "HOME": str(folder),
            "DOCKER_CONFIG": str(folder),
            "REGISTRY_AUTH_FILE": str(folder / "auth.json"),
            "REGCTL_CONFIG": str(folder / "regctl.json"),
            "HELM_REGISTRY_CONFIG": str(folder / "helm.json"),
            **{name: str(folder / name) for name in ("HELM_CACHE_HOME", "HELM_CONFIG_HOME", "HELM_DATA_HOME")},
        }

    def __call__(self, command: str, **values: object) -> tuple[int, str]:
        """Run a shell's command, its placeholders filled in: its status, and all that it printed."""
        text = command.format_map(self.values | values)
        done = subprocess.run(
            text, shell=True, capture_output=True, text=True, timeout=100, check=False, cwd=self.folder,
            env={**os.environ, **self.environ},
        )  # fmt: skip
        assert done.returncode not in (126, 127), f"{text}\n{done.stderr}"
        return done.returncode, (done.stdout + done.stderr).replace('\\"', '"')

    def run(self, command: str, **values: object) -> str:
        """The same, of what has to succeed."""
        status, told = self(command, **values)
        assert status == 0, f"{command}\n{told}"
        return told

    def refused(self, command: str, **values: object) -> str:
        """The same, of what has to fail."""
        status, told = self(command, **values)
        assert status != 0, f"{command}\n{told}"
        return told

    def stranger(self, command: str, **values: object) -> None:
        """The same, of what has to fail because nobody is signed in."""
        told = self.refused(command, **values)
        assert re.search(
            "nobody is signed in|unauthorized|authorization failed|no basic auth cred|basic credential not found",
            told,
            re.IGNORECASE,
        ), told
