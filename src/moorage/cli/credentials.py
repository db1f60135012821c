"""The credentials that `docker login` left: in `~/.docker/config.json`, or with the helper that it names."""

import base64
import binascii
import json
import os
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from moorage.errors import Code, RegistryError

_PATIENCE: Final = 60
"""Seconds for a helper, which may ask its user something."""

_IDENTITY: Final = "<token>"
"""The user name by which helpers mean that the secret is an identity token."""


@dataclass(frozen=True, slots=True, repr=False)
class Found:
    """A name with a password or token; or a refresh token, which docker calls an identity token."""

    user: str
    secret: str
    refresh: bool = False


def find(host: str) -> Found | None:
    """What docker would sign in to the host with; None where nobody logged in.  Raises UNAVAILABLE."""
    config = _config()
    helper = _section(config, "credHelpers").get(host) or config.get("credsStore")
    if isinstance(helper, str) and helper:
        return _asked(helper, host)
    entry = _section(config, "auths").get(host)
    if not isinstance(entry, dict):
        return None
    user, secret = _decoded(entry)
    if isinstance(entry.get("identitytoken"), str) and entry["identitytoken"]:
        return Found(user, entry["identitytoken"], refresh=True)
    return Found(user, secret) if user and secret else None


def _config() -> dict[str, Any]:
    folder = os.environ.get("DOCKER_CONFIG")
    path = (Path(folder) if folder else Path.home() / ".docker") / "config.json"
    try:
        document = json.loads(path.read_text())
    except FileNotFoundError:
        return {}
    except (OSError, ValueError) as reason:
        raise RegistryError(Code.UNAVAILABLE, f"{path} cannot be read: {type(reason).__name__}") from reason
    return document if isinstance(document, dict) else {}


def _section(config: dict[str, Any], name: str) -> dict[str, Any]:
    found = config.get(name)
    return found if isinstance(found, dict) else {}


def _decoded(entry: dict[str, Any]) -> tuple[str, str]:
    try:
        user, _, secret = base64.b64decode(str(entry.get("auth", ""))).decode().partition(":")
    except (binascii.Error, ValueError):
        return "", ""
    return user, secret.rstrip("\0")


def _asked(helper: str, host: str) -> Found | None:
    """What a credential helper knows (docker's protocol: the host on its input, JSON on its output)."""
    program = f"docker-credential-{helper}"
    path = shutil.which(program) if "/" not in helper else None
    if path is None:
        raise RegistryError(Code.UNAVAILABLE, f"docker keeps its credentials with {program}, which is not installed")
    try:
        done = subprocess.run(  # noqa: S603 - what docker runs as well
            [path, "get"], input=host, capture_output=True, text=True, timeout=_PATIENCE, check=False
        )
        document = json.loads(done.stdout) if done.returncode == 0 else {}
    except (OSError, ValueError, subprocess.TimeoutExpired) as reason:
        raise RegistryError(Code.UNAVAILABLE, f"{program} did not answer: {type(reason).__name__}") from reason
    user, secret = document.get("Username"), document.get("Secret")
    if not isinstance(user, str) or not isinstance(secret, str) or not secret:
        return None
    return Found("" if user == _IDENTITY else user, secret, refresh=user == _IDENTITY)
