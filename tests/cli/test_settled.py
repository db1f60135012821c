"""Settings for a server: the values that were read, with nothing that read them."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from moorage.cli.settled import Plain, plain, read, written
from moorage.settings import Settings, load
from moorage.settings.values import Section

CONFIG = """
version: 0.1
log: {fields: {place: here}, level: debug}
storage: {filesystem: {rootdirectory: /somewhere}}
http:
  addr: :5001
  headers: {X-One: [a, b]}
  allow: [192.0.2.0/24]
  tls: {certificate: /a.pem, key: /b.pem, ciphersuites: [TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256]}
validation: {manifests: {indexes: {platforms: list, platformlist: [{architecture: amd64, os: linux}]}}}
limits: {rates: {anonymous: 600/minute}, manifest_bytes: 1MiB}
database: {url: "postgresql://moorage:hunter22222@db/moorage"}
"""


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    config = tmp_path / "config.yml"
    config.write_text(CONFIG)
    return load(config, environ={}, search=()).settings


def differences(value: Any, stand_in: Any, path: str = "settings") -> list[str]:
    """Where the two differ, in every attribute that a section has of its own."""
    if isinstance(value, Section):
        names = [name for name in dir(value) if not name.startswith("_") and not hasattr(Section, name)]
        names = [name for name in names if not callable(getattr(value, name))]
        return [
            one
            for name in names
            for one in differences(getattr(value, name), getattr(stand_in, name), f"{path}.{name}")
        ]
    if isinstance(value, tuple) and value and isinstance(value[0], Section):
        assert len(value) == len(stand_in)
        return [one for pair in zip(value, stand_in, strict=True) for one in differences(*pair, f"{path}[]")]
    return [] if (value, type(value)) == (stand_in, type(stand_in)) else [f"{path}: {value!r}, not {stand_in!r}"]


def test_a_stand_in_has_every_value_that_the_settings_have(settings: Settings) -> None:
    stand_in = read(json.loads(json.dumps(written(plain(settings)))))
    assert differences(settings, stand_in) == []
    assert stand_in.limits.manifest_bytes == 1024 * 1024
    assert stand_in.blobs == Path("/somewhere")
    assert stand_in.http.further_headers == [("X-One", "a"), ("X-One", "b")]


def test_a_stand_in_is_read_without_what_checks_settings(settings: Settings) -> None:
    program = (
        "import json, sys\n"
        "from moorage.cli.settled import read\n"
        "print(read(json.load(sys.stdin)).validation.platforms)\n"
        "print(sorted({'pydantic', 'yaml', 'moorage.settings'} & set(sys.modules)))"
    )
    done = subprocess.run(
        [sys.executable, "-c", program],
        input=json.dumps(written(plain(settings))),
        capture_output=True,
        check=True,
        text=True,
    )
    assert done.stdout == "frozenset({('linux', 'amd64')})\n[]\n"


def test_a_stand_in_cannot_be_changed_and_shows_no_secret(settings: Settings) -> None:
    stand_in = plain(settings)
    with pytest.raises(AttributeError, match="cannot be changed"):
        stand_in.data = Path("/elsewhere")
    assert "hunter22222" not in f"{stand_in!r} {stand_in.database} {Plain(password='hunter22222')}"
