"""`moorage config`, run as people run it, and the command line's manners."""

import json
import subprocess
import sys
from itertools import product
from pathlib import Path

import pytest
import yaml

from moorage import __version__
from moorage.cli import commands, main
from moorage.cli.commands import Commands
from moorage.cli.config import Output, check, in_force, show
from moorage.errors import Code, RegistryError
from moorage.settings import load
from moorage.settings.document import Document
from moorage.settings.environment import apply
from moorage.settings.keys import known
from moorage.settings.schema import descriptions, json_schema, sections
from moorage.settings.values import plain
from tests.cli.running import moorage

CONFIGS = Path(__file__).parent.parent / "settings" / "configs"


@pytest.fixture
def config(tmp_path):
    def write(text):
        file = tmp_path / "config.yml"
        file.write_text(text)
        return file

    return write


def test_check_tells_all_faults_and_what_is_ignored_and_ends_with_1():
    done = moorage("config", "check", "--config", CONFIGS / "s3-redis.yml", REGISTRY_HTTP_ADR=":1")
    assert done.returncode == 1
    assert done.stderr == ""
    assert "s3-redis.yml:5: storage.s3: this storage is not yet supported" in done.stdout
    assert "did you mean REGISTRY_HTTP_ADDR?" in done.stdout
    for key in ("storage.redirect", "storage.cache", "storage.tag", "redis", "http.http2", "notifications"):
        assert f": {key} is accepted and not acted on: " in done.stdout
    assert "notareal" not in done.stdout


def test_check_of_a_good_file_ends_with_0_and_tells_what_differs(config):
    file = config("version: 0.1\n")
    done = moorage("config", "check", "-c", file)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.endswith(f"{file}: fine\n")
    assert "different from Docker Registry:" in done.stdout


@pytest.mark.parametrize(
    ("addr", "debug", "status"),
    [
        (":5000", "127.0.0.1:5000", 1),
        ("localhost:5000", "127.0.0.1:5000", 1),
        ("127.0.0.1:5000", "127.0.0.1:5001", 0),
        ("192.0.2.1:5000", "127.0.0.1:5000", 0),
    ],
)
def test_check_tells_of_a_debug_address_that_is_the_one_of_clients(config, addr, debug, status):
    file = config(f"http:\n  addr: {addr}\n  debug: {{addr: {debug}}}\n")
    done = moorage("config", "check", "-c", file)
    assert done.returncode == status
    told = f"{file}:3: http.debug.addr: http.debug.addr ({debug}) is where clients are served ({addr})"
    assert (told in done.stdout) == bool(status)


REFUSED = {
    "http: {tls: {certificate: /none.pem, key: /none.key}}": "http.tls.certificate: the TLS file /none.pem cannot be",
    "auth: {htpasswd: {path: /none}}": "auth.htpasswd.path: the htpasswd file /none cannot be read: No such file",
    "auth: {htpasswd: {path: /etc}}": "auth.htpasswd.path: the htpasswd file /etc cannot be read: Is a directory",
    "auth: {token: {realm: a, service: b, issuer: c, jwks: /none}}": "auth.token.realm: auth.token: /none cannot be",
    "auth: {silly: {realm: a, service: b}}": "auth.silly.realm: lets in whoever sends an Authorization header",
    "auth: ldap": "auth.ldap: there is no such key",
    "admin: {password: admin12345}": "admin.password: the password is one of those that are guessed first",
}


@pytest.mark.parametrize("text", REFUSED)
def test_check_tells_what_serve_would_refuse_and_changes_nothing(config, tmp_path, text):
    file = config(f"{text}\ndata: {tmp_path}/data\n")
    done = moorage("config", "check", "-c", file)
    assert (done.returncode, done.stderr) == (1, "")
    assert f"{file}:1: {REFUSED[text]}" in done.stdout
    assert "admin12345" not in done.stdout
    served = moorage("serve", "--config", file, "--listen", "127.0.0.1:0")
    assert (served.returncode, served.stdout) == (1, "")


def test_check_leaves_a_weak_password_alone_that_nobody_will_get(config, tmp_path):
    text = f"admin: {{password: admin12345}}\ndata: {tmp_path}\n"
    assert moorage("config", "check", "-c", config(text + "auth: {open: true}\n")).returncode == 0
    assert moorage("config", "check", "-c", config(text)).returncode == 1
    assert not (tmp_path / "moorage.db").exists()
    (tmp_path / "moorage.db").touch()
    assert moorage("config", "check", "-c", config(text)).returncode == 0


SECRETS = {key.variable: "hunter2" for key in known().values() if key.hidden} | {
    "REGISTRY_DATABASE_URL": "postgresql://moorage:hun/ter2:@hunter2@db/moorage?sslpassword=hunter2",
    "REGISTRY_HTTP_HEADERS": "{Authorization: [hunter2], X-Api-Key: [hunter2], Link: ['<https://u:hunter2@x/>']}",
    "REGISTRY_LOG_FIELDS": "{api_token: hunter2, deep: {password: hunter2, list: [{secret: hunter2}]}, service: s}",
    "REGISTRY_REDIS_PASSWORD": "hunter2",
    "REGISTRY_PROXY": "{remoteurl: 'https://u:hunter2@hub.example', password: hunter2}",
    "REGISTRY_NOTIFICATIONS_ENDPOINTS": "[{url: 'https://x', headers: {Authorization: [Bearer hunter2]}}]",
}


@pytest.mark.parametrize("source", ["environment", "files named by the environment", "config.yml"])
def test_no_secret_is_ever_shown(config, tmp_path, monkeypatch, capsys, source):
    file = config("version: 0.1\n")
    for name, value in SECRETS.items():
        if source == "environment":
            monkeypatch.setenv(name, value)
        elif source != "config.yml":
            (tmp_path / name).write_text(value + "\n")
            monkeypatch.setenv(f"{name}_FILE", str(tmp_path / name))
    if source == "config.yml":
        document = Document()
        apply(document, SECRETS)
        file.write_text(yaml.safe_dump(plain(document.tree)))
    for origin, output in product((False, True), Output):
        show(file, origin=origin, output=output)
        shown = capsys.readouterr().out
        assert "ter2" not in shown
        assert "postgresql://moorage:***@db/moorage" in shown
        assert "service" in shown
    check(file)
    assert "ter2" not in capsys.readouterr().out


def test_show_tells_where_each_value_comes_from(config):
    file = config("version: 0.1\nhttp:\n  addr: ':1'\n")
    done = moorage("config", "show", "-c", file, "--origin", REGISTRY_GC_UNDO="3d")
    lines = done.stdout.splitlines()
    assert f"http.addr: :1  # {file}:3" in lines
    assert "gc.undo: 72h  # REGISTRY_GC_UNDO" in lines
    assert "gc.trash: 48h  # default" in lines
    entries = json.loads(moorage("config", "show", "-c", file, "--origin", "-o", "json").stdout)
    assert entries["http.addr"] == {"value": ":1", "origin": f"{file}:3"}


@pytest.mark.parametrize(
    "text",
    [
        "",
        "storage: inmemory\n",
        (
            "auth: {htpasswd: {path: /a}}\nlog: {fields: {n: 5}}\nvalidation: {manifests: {indexes: {platforms: list, "
            "platformlist: [{os: linux, architecture: arm64}]}}}\nlimits: {body_seconds: 1m}\n"
        ),
    ],
)
def test_what_is_shown_means_the_same_when_it_is_read_again(config, tmp_path, text):
    shown = in_force(load(config(text), environ={}).settings)
    again = tmp_path / "again.yml"
    again.write_text(yaml.safe_dump(shown))
    assert in_force(load(again, environ={}).settings) == shown


def test_a_fault_anywhere_else_is_told_without_a_traceback(config):
    done = moorage("config", "show", "-c", config("http: {adr: x}\ngc: {window: 1}\n"))
    assert (done.returncode, done.stdout) == (1, "")
    first, *faults = done.stderr.splitlines()
    assert first == "moorage: the configuration has 2 faults:"
    assert len(faults) == 2


def test_wrong_usage_ends_with_2():
    for arguments in (("conf",), ("config", "show", "-o", "xml"), ("config", "nope"), ("serve", "--nope")):
        done = moorage(*arguments)
        assert done.returncode == 2, arguments
        assert "Traceback" not in done.stderr
    assert "Did you mean 'config'?" in moorage("conf").stderr


def test_a_reader_that_leaves_early_is_no_fault():
    line = f"'{sys.executable}' -m moorage config show | true"
    done = subprocess.run(["/bin/sh", "-c", line], check=False, capture_output=True, text=True, timeout=60)
    assert "Traceback" not in done.stderr
    assert "Exception" not in done.stderr


def test_help_imports_no_command_and_names_all():
    program = (
        "import sys; sys.argv = ['moorage', '--help']\n"
        "from moorage.cli.main import run\n"
        "try: run()\n"
        "except SystemExit as end: assert end.code in (0, None)\n"
        "for name in ('moorage.settings', 'moorage.telemetry', 'sqlalchemy', 'uvloop', 'yaml', 'rich', 'pydantic'):\n"
        "    assert name not in sys.modules, name\n"
    )
    done = subprocess.run([sys.executable, "-c", program], check=True, capture_output=True, text=True)
    for name in Commands.table:
        assert f"\n  {name} " in done.stdout


def test_the_version_is_told():
    assert moorage("--version").stdout.strip() == __version__


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (RegistryError(Code.UNAVAILABLE, "the disk\x1b[2J is away"), "moorage: the disk\\x1b[2J is away"),
        (PermissionError(13, "Permission denied", "/data"), "moorage: Permission denied: /data"),
        (KeyboardInterrupt(), 130),
        (
            RuntimeError("a\nb https://u:hunter2@x/"),
            (
                "moorage: this is a fault of the program: RuntimeError: a b https://u:***@x/ "
                "(REGISTRY_LOG_LEVEL=debug shows where)"
            ),
        ),
    ],
)
def test_every_failure_is_one_line(monkeypatch, error, status):
    def fail(**_):
        raise error

    monkeypatch.delenv("REGISTRY_LOG_LEVEL", raising=False)
    monkeypatch.setattr(commands, "app", fail)
    with pytest.raises(SystemExit) as caught:
        main.run()
    assert caught.value.code == status


def test_the_schema_describes_every_setting():
    schema = json_schema()
    for key in known().values():
        part = schema
        for name in key.path:
            if "$ref" in part or "anyOf" in part:
                reference = part.get("$ref") or next(arm["$ref"] for arm in part["anyOf"] if "$ref" in arm)
                part = schema["$defs"][reference.rpartition("/")[2]]
            part = part["properties"][name]
        assert part["description"], key.name
    assert "Accepted and not acted on" in schema["properties"]["redis"]["description"]
    assert json.loads(moorage("config", "schema").stdout) == schema


def test_every_value_has_a_sentence_below_it():
    for section in sections():
        for name, text in descriptions(section).items():
            assert text.rstrip().endswith("."), f"{section.__name__}.{name}"
