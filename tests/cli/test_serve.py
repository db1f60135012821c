"""`moorage serve`: what it says when it starts, and every way in which it refuses to."""

import json
import re
import shutil
import signal
import socket
import subprocess
import sys
import time

import httpx
import pytest

from moorage.cli.greeting import greet
from moorage.settings import load
from tests import make
from tests.cli.running import environment, moorage
from tests.conftest import ROOT, start
from tests.test_tls import certify

LAB = ROOT / "tests" / "lab.yml"


@pytest.fixture
def taken():
    """A port that somebody else listens on."""
    with socket.create_server(("127.0.0.1", 0)) as other:
        yield other.getsockname()[1]


@pytest.fixture
def refusal(tmp_path):
    """What `serve` says as it refuses to start: always one line, and status 1."""

    def run(*options, config=LAB, data=tmp_path / "data", **environ):
        arguments = ["serve", "--config", config, "--listen", "127.0.0.1:0", "--data", data, *options]
        done = moorage(*arguments, **environ)
        assert (done.returncode, done.stdout) == (1, "")
        (told,) = [line for line in done.stderr.splitlines() if not line.startswith("{")]
        return told.removeprefix("moorage: ")

    return run


def test_a_port_that_is_taken_is_named(refusal, taken):
    place = f"127.0.0.1:{taken}"
    assert refusal("--listen", place) == (
        f"cannot listen on {place}: Address already in use; choose another with --listen"
    )
    assert refusal(REGISTRY_HTTP_DEBUG_ADDR=place) == (
        f"cannot listen on {place}: Address already in use; choose another with http.debug.addr"
    )


@pytest.mark.parametrize("workers", ["1", "2"])
@pytest.mark.parametrize("listen", ["127.0.0.1:{}", ":{}"])
def test_a_debug_address_that_is_the_one_of_clients_is_refused(refusal, workers, listen):
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    listen = listen.format(port)
    told = refusal("--workers", workers, "--listen", listen, REGISTRY_HTTP_DEBUG_ADDR=f"127.0.0.1:{port}")
    assert told == (
        f"http.debug.addr (127.0.0.1:{port}) is where clients are served ({listen}); give it a port of its own"
    )


@pytest.mark.parametrize("terminal", [True, False])
def test_the_first_password_is_shown_on_a_terminal_and_nowhere_else(tmp_path, monkeypatch, capsys, terminal):
    kept = tmp_path / "initial-admin-password"
    kept.write_text("made-up-words\n")
    monkeypatch.setattr(sys.stdout, "isatty", lambda: terminal)
    settings = load(environ={"REGISTRY_LOG_FORMATTER": "text"}, overrides={"data": str(tmp_path)}, search=()).settings
    greet(settings, "http://127.0.0.1:5000", "localhost:5000", None, kept)
    told = capsys.readouterr().out
    assert ("made-up-words" in told) is terminal
    assert str(kept) in told


@pytest.mark.parametrize("broken", ["address", "database", "certificate"])
def test_what_workers_cannot_begin_with_is_told_once(refusal, tmp_path, taken, broken):
    (tmp_path / "noise.db").write_bytes(b"noise" * 2000)
    environ = {
        "address": {"REGISTRY_HTTP_DEBUG_ADDR": f"127.0.0.1:{taken}"},
        "database": {"REGISTRY_DATABASE_URL": f"sqlite:///{tmp_path}/noise.db"},
        "certificate": {"REGISTRY_HTTP_TLS_CERTIFICATE": str(LAB), "REGISTRY_HTTP_TLS_KEY": str(LAB)},
    }[broken]
    assert refusal("--workers", "3", **environ) == refusal(**environ)


def test_an_address_that_is_none_is_told(refusal):
    assert refusal("--listen", "5000") == "cannot listen on '5000': write HOST:PORT, as in 127.0.0.1:5000"
    assert refusal("--listen", "nowhere.invalid:5000").startswith("cannot listen on nowhere.invalid:5000: ")


@pytest.mark.parametrize("place", ["file", "file/below", "/proc/moorage"])
def test_a_data_folder_that_cannot_be_written_is_named(refusal, tmp_path, place):
    (tmp_path / "file").touch()
    folder = tmp_path / place
    told = refusal(data=folder)
    assert told.startswith(f"the data folder {folder} cannot be used: ")
    assert told.endswith("; give another with --data")


@pytest.mark.parametrize(
    ("name", "why"),
    [("none/x.db", "No such file or directory"), ("file/x.db", "Not a directory"), ("noise.db", "not a database")],
)
def test_a_database_file_that_cannot_be_used_is_named(refusal, tmp_path, name, why):
    (tmp_path / "file").touch()
    (tmp_path / "noise.db").write_bytes(b"noise" * 2000)
    told = refusal(REGISTRY_DATABASE_URL=f"sqlite:///{tmp_path / name}")
    assert told.startswith(f"the database sqlite:///{tmp_path / name} cannot be used: ")
    assert why in told


SERVE_READ_ONLY = """
mount -t tmpfs -o ro none "$1" && exec "$2" -m moorage serve --open --config "$3" --listen 127.0.0.1:0 --data "$1"
"""


def test_a_folder_that_is_mounted_read_only_is_told(tmp_path):
    done = subprocess.run(
        ["unshare", "-m", "sh", "-c", SERVE_READ_ONLY, "-", tmp_path, sys.executable, LAB],
        check=False,
        capture_output=True,
        text=True,
    )
    if "moorage" not in done.stderr:
        pytest.skip(f"this needs leave to mount: {done.stderr}")
    assert done.returncode == 1
    assert f"the data folder {tmp_path} cannot be used: Read-only file system" in done.stderr


def test_a_database_server_that_is_down_is_named_without_its_password(refusal):
    told = refusal(REGISTRY_DATABASE_URL="postgresql://moorage:hun/ter2@127.0.0.1:1/registry")
    assert told.startswith("the database postgresql://moorage:***@127.0.0.1:1/registry cannot be used: ")
    assert "Connection refused" in told
    assert "ter2" not in told


def test_a_configuration_that_is_not_there_is_told(tmp_path):
    done = moorage("serve", "--config", tmp_path / "none.yml")
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == (
        f"moorage: the configuration has 1 fault:\n  {tmp_path}/none.yml: cannot be read: No such file or directory\n"
    )


def test_tls_files_that_cannot_be_used_are_named(refusal, tmp_path):
    certify(tmp_path / "tls", "server")
    files = {"REGISTRY_HTTP_TLS_KEY": str(tmp_path / "tls" / "tls.key")}
    told = refusal(**files, REGISTRY_HTTP_TLS_CERTIFICATE=str(tmp_path / "none"))
    assert told == f"the TLS file {tmp_path}/none cannot be read: No such file or directory"
    told = refusal(**files, REGISTRY_HTTP_TLS_CERTIFICATE=str(LAB))
    assert told.startswith(f"the TLS certificate {LAB} with the key {files['REGISTRY_HTTP_TLS_KEY']} cannot be used: ")


def test_nobody_is_let_in_by_accident(tmp_path):
    config = tmp_path / "config.yml"
    for text, words in (
        ("auth: {silly: {realm: r, service: s}}\n", "lets in whoever sends an Authorization header"),
        ("auth: {htpasswd: {path: /no/users}}\n", "the htpasswd file /no/users cannot be read"),
    ):
        config.write_text(text)
        done = moorage("serve", "--config", config, "--data", tmp_path / "d", "--listen", "127.0.0.1:0")
        assert (done.returncode, done.stdout) == (1, "")
        assert words in done.stderr
    shutil.rmtree(tmp_path / "d")
    for text in ("auth: htpasswd\n", "auth: {htpasswd: {path: /users}}\n"):
        config.write_text(text)
        done = moorage("serve", "--config", config, "--data", tmp_path / "d", "--listen", "127.0.0.1:0", "--open")
        assert (done.returncode, done.stdout) == (1, "")
    assert "cannot be open to everybody and ask for htpasswd at once" in done.stderr
    assert not (tmp_path / "d").exists()


def free_address():
    with socket.create_server(("127.0.0.1", 0)) as free:
        return f"127.0.0.1:{free.getsockname()[1]}"


def run_briefly(tmp_path, *options, **environ):
    """Start a server, wait until it serves, stop it; gives what it wrote to standard output and to its log."""
    config = tmp_path / "config.yml"
    config.write_text("version: 0.1\nredis: {password: hunter2}\n")
    address = free_address()
    process = subprocess.Popen(
        [sys.executable, "-m", "moorage", "serve", "--config", config, "--data", tmp_path / "d", "--open",
         "--listen", address, *options],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment(**environ),
    )  # fmt: skip
    until = time.monotonic() + 60
    while time.monotonic() < until and process.poll() is None:
        try:
            httpx.get(f"http://{address}/v2/")
            break
        except httpx.ConnectError:
            time.sleep(0.05)
    process.send_signal(signal.SIGTERM)
    out, log = process.communicate(timeout=30)
    assert process.returncode == 0, log
    return address, out, log


def test_the_start_tells_where_it_listens_and_what_is_different(tmp_path):
    address, out, log = run_briefly(tmp_path, REGISTRY_WOMBAT="1", REGISTRY_LOG_FIELDS="{service: hub, token: hunter2}")
    greeting = json.loads(out)
    assert greeting["msg"].endswith(f" listens on http://{address}")
    assert greeting["data"] == str(tmp_path / "d")
    name = address.replace("127.0.0.1", "localhost")
    assert greeting["try"] == [f"docker tag IMAGE {name}/acme/app:1", f"docker push {name}/acme/app:1"]
    lines = [json.loads(line) for line in log.splitlines()]
    assert {line["service"] for line in [greeting, *lines]} == {"hub"}
    assert [line["setting"] for line in lines if "setting" in line] == [
        f"{tmp_path}/config.yml:2: redis is accepted and not acted on: nothing is cached in Redis"
    ]
    told = [line["msg"] for line in lines]
    assert any("REGISTRY_WOMBAT is not a setting" in line for line in told)
    assert any("Docker Registry's default forbids it" in line for line in told)
    assert not any("closed" in line for line in told)
    assert "hunter2" not in out + log


def test_people_get_a_text_to_copy_from(tmp_path):
    environ = {"REGISTRY_LOG_FORMATTER": "text", "REGISTRY_LOG_ACCESSLOG_DISABLED": "true"}
    _, out, log = run_briefly(tmp_path, **environ, REGISTRY_HTTP_HOST="https://hub.example.com:8443")
    assert "\n  docker push hub.example.com:8443/acme/app:1\n" in out
    assert f"\n  data            {tmp_path}/d\n" in out
    assert "OPEN: anyone who reaches it may push, pull and delete." in out
    assert re.match(r"\S+Z (INFO|WARN) ", log)
    assert "request_id" not in log


def test_every_line_of_a_request_carries_its_id(serve, tmp_path):
    server = serve()
    trace = "4bf92f3577b34da6a3ce929d0e0e4736"
    with httpx.Client(base_url=server.url) as client:
        content = b"damaged" * 10_000
        assert make.push_blob(client, "acme/app", content).status_code == 201
        (file,) = (one for one in server.data.glob("blobs/u/*/*") if one.is_file())
        file.write_bytes(content[:-1])
        named = {"X-Request-ID": "asked-for.1", "traceparent": f"00-{trace}-00f067aa0ba902b7-01", "User-Agent": "me"}
        answer = client.get(f"/v2/acme/app/blobs/{make.digest(content)}", headers=named)
        assert (answer.status_code, answer.headers["X-Request-Id"]) == (404, "asked-for.1")
        other = client.get("/v2/").headers["X-Request-Id"]
    server.stop()
    lines = [json.loads(line) for line in server.log.read_text().splitlines()]
    damaged, access = (line for line in lines if line.get("request_id") == "asked-for.1")
    assert damaged["msg"] == "a stored blob is damaged"
    assert access.pop("dur_ms") > 0
    del access["ts"]
    assert access == {
        "level": "info",
        "msg": "request",
        "request_id": "asked-for.1",
        "trace_id": trace,
        "actor": "anonymous",
        "repo": "acme/app",
        "ref": make.digest(content),
        "method": "GET",
        "path": "/v2/{name}/blobs/{digest}",
        "status": 404,
        "bytes": len(answer.content),
        "ua": "me",
        "ip": "127.0.0.1",
    }
    assert [line["path"] for line in lines if line.get("request_id") == other] == ["/v2/"]


def test_health_names_the_part_that_fails(postgresql_server, tmp_path):
    debug = free_address()
    url = postgresql_server.create(schema=False)
    database = url.partition("@/")[2].partition("?")[0]
    server = start(tmp_path / "data", REGISTRY_DATABASE_URL=url, REGISTRY_HTTP_DEBUG_ADDR=debug)
    try:
        with httpx.Client(base_url=server.url, timeout=20) as client, httpx.Client(base_url=f"http://{debug}") as aside:
            assert client.get("/readyz?verbose").json() == {"database": "ok", "storage": "ok"}
            assert (aside.get("/debug/health").status_code, aside.get("/debug/health").json()) == (200, {})
            assert aside.get("/metrics").status_code == 404
            (server.data / "blobs" / "u").rename(server.data / "away")
            assert (client.get("/readyz").status_code, client.get("/readyz").text) == (503, "not ready: storage\n")
            (server.data / "away").rename(server.data / "blobs" / "u")
            assert client.get("/readyz").status_code == 200
            postgresql_server.sql(f"ALTER DATABASE {database} ALLOW_CONNECTIONS false")
            backends = f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '{database}'"
            postgresql_server.sql(backends)
            answer = client.get("/readyz?verbose")
            assert answer.status_code == 503
            assert answer.json() | {"database": ""} == {"database": "", "storage": "ok"}
            assert answer.json()["database"] != "ok"
            assert list(aside.get("/debug/health", timeout=20).json()) == ["database"]
            assert make.code(client.get("/v2/acme/app/tags/list")) == "UNAVAILABLE"
            for path in ("/livez", "/healthz", "/startupz"):
                assert client.get(path).status_code == 200
    finally:
        server.stop()
    lines = [json.loads(line) for line in server.log.read_text().splitlines()]
    causes = [line for line in lines if line["msg"] in {"a request failed", "the registry is not ready"}]
    assert len(causes) >= 3
    assert all(line["request_id"] and line["cause"] for line in causes)


@pytest.mark.parametrize(
    ("options", "status", "told"),
    [
        (["--nope"], 2, "No such option: --nope"),
        (["--listen"], 2, "'--listen' requires an argument"),
        (["--help"], 0, "Run a registry."),
    ],
)
def test_the_command_line_is_read_as_by_every_command(options, status, told):
    """Although another process reads it than the one that would serve."""
    done = subprocess.run(
        [sys.executable, "-m", "moorage", "serve", *options], check=False, capture_output=True, text=True
    )
    assert done.returncode == status
    assert told in done.stdout + done.stderr


def test_serving_imports_nothing_that_it_may_never_use():
    program = (
        "import sys, moorage.cli.server, moorage.db.sqlite\n"
        "late = {'alembic', 'mako', 'psycopg', 'rich', 'pygments', 'prometheus_client', 'cryptography', 'httpx'}\n"
        "late |= {'argon2', 'bcrypt', 'limits', 'zxcvbn', 'sqlalchemy.dialects.postgresql'}\n"
        "late |= {'typer', 'pydantic', 'pydantic_core', 'yaml', 'moorage.settings'}\n"
        "print(sorted(late & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", program], check=True, capture_output=True, text=True)
    assert done.stdout == "[]\n"


def test_a_first_start_keeps_nothing_in_memory_that_later_ones_do_without(tmp_path):
    """The schema is made and the administrator's password judged elsewhere: with 100,000 words, and Alembic."""
    program = (
        "import asyncio, sys\n"
        "from pathlib import Path\n"
        "from moorage.app import build\n"
        "from moorage.settings import load\n"
        "given = {'data': sys.argv[1], 'admin.password': 'four unrelated words here'}\n"
        "asyncio.run(build(load(environ={}, search=(), overrides=given).settings).close())\n"
        "late = {'alembic', 'mako', 'argon2', 'zxcvbn'}\n"
        "print(sorted(late & set(sys.modules)))"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, str(tmp_path)], check=True, capture_output=True, text=True, umask=0o077
    )
    assert done.stdout == "[]\n"
