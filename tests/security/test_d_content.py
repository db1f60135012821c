"""Attacks by what is stored, logged, loaded and shown (group D of the attack list)."""

import ast
import json
import os
import re
import socket
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from urllib.parse import urlsplit

import httpx
import pytest

from moorage.edge.v2.table import ROWS
from tests import make
from tests.conftest import ROOT, Served
from tests.security.attacker import ask, request, talk

PAGE = b"<!doctype html><script>alert(document.domain)</script>"


# SEC-40: pages out of content


def test_sec_40_what_was_pushed_is_never_a_page_of_ours(client: httpx.Client) -> None:
    media_type = "text/html"
    make.push_blob(client, "sec40/app", PAGE)
    make.push_blob(client, "sec40/app", PAGE * 10_000)
    body = json.loads(make.image(PAGE, PAGE * 10_000, annotations={"a": PAGE.decode()}, artifactType=media_type))
    body["config"]["mediaType"] = body["layers"][0]["mediaType"] = media_type
    headers = {"Content-Type": make.IMAGE}
    digest = client.put("/v2/sec40/app/manifests/1", json=body, headers=headers).headers["Docker-Content-Digest"]
    for path in [
        f"/v2/sec40/app/blobs/{make.digest(PAGE)}",
        f"/v2/sec40/app/blobs/{make.digest(PAGE * 10_000)}",
        "/v2/sec40/app/manifests/1",
        f"/v2/sec40/app/manifests/{digest}",
        f"/v2/sec40/app/referrers/{digest}",
        f"/v2/sec40/app/manifests/{PAGE.decode()}",
        f"/v2/{PAGE.decode()}/tags/list",
        "/v2/sec40/app/tags/list?n=<script>",
    ]:
        for asked in ({}, {"Accept": "text/html"}, {"Range": "bytes=0-20"}, {"Range": "bytes=0-2,9-12"}):
            answer = client.get(path, headers=asked)
            assert answer.headers["X-Content-Type-Options"] == "nosniff"
            assert answer.headers["Content-Security-Policy"] == "default-src 'none'; sandbox"
            assert re.match(r"application/|multipart/byteranges;", answer.headers["Content-Type"])


# SEC-41: other sites


@pytest.mark.parametrize("origin", ["https://evil.example", "null"])
def test_sec_41_no_other_site_may_read_an_answer(client: httpx.Client, origin: str) -> None:
    make.push_image(client, "sec41/app", "1", b"{}")
    headers = {"Origin": origin, "Access-Control-Request-Method": "PUT", "Access-Control-Request-Headers": "x"}
    for method in ("GET", "HEAD", "OPTIONS", "POST", "PUT", "DELETE"):
        for path in ("/v2/", "/v2/sec41/app/manifests/1", "/v2/sec41/app/blobs/uploads/", "/readyz", "/elsewhere"):
            answer = client.request(method, path, headers=headers)
            assert not [name for name in answer.headers if name.startswith("access-control-")], (method, path)
            assert "Set-Cookie" not in answer.headers


# SEC-44: secrets

CANARY = "c4n4ry-4f8e1d"


def test_sec_44_no_secret_of_settings_or_addresses_is_ever_written(
    serve: Callable[..., Served], tmp_path: Path
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    secret = tmp_path / "config.yml"
    secret.write_text(f"version: 0.1\nhttp:\n  secret: {CANARY}\n")
    server = serve(
        REGISTRY_LOG_LEVEL="debug",
        REGISTRY_HTTP_SECRET=CANARY,
        REGISTRY_HTTP_DEBUG_ADDR=f"127.0.0.1:{port}",
        REGISTRY_HTTP_DEBUG_PROMETHEUS_ENABLED="true",
        REGISTRY_LOG_FIELDS=f'{{"api_key": "{CANARY}", "url": "https://me:{CANARY}@host/"}}',
    )
    fields = [
        f"Authorization: Bearer {CANARY}",
        f"Proxy-Authorization: Basic {CANARY}",
        f"Cookie: session={CANARY}",
        f"X-Registry-Auth: {CANARY}",
        f"Referer: https://me:{CANARY}@host/",
    ]
    told = []
    for method, path in [
        ("GET", f"/v2/?token={CANARY}"),
        ("GET", f"/v2/sec44/app/tags/list?access_token={CANARY}&n=x"),
        ("GET", f"/v2/sec44/app/blobs/{make.digest(b'')}?X-Amz-Signature={CANARY}"),
        ("POST", f"/v2/sec44/app/blobs/uploads/?digest={make.digest(b'')}&password={CANARY}"),
        ("PUT", f"/v2/sec44/app/manifests/1?secret={CANARY}"),
        ("GET", f"/elsewhere?secret={CANARY}"),
        ("GET", f"http://me:{CANARY}@host/v2/"),
        ("GET", f"/v2/%zz?token={CANARY}"),
        ("GET", f"/v2/#?token={CANARY}"),
        ("GET", f"/v2/%ff?token={CANARY}"),
        ("GET", "/readyz?verbose"),
    ]:
        told.append(talk(server, request(method, path, *fields)))
    told.append(httpx.get(f"http://127.0.0.1:{port}/metrics").content)
    told.append(httpx.get(f"http://127.0.0.1:{port}/debug/health").content)
    down = f"postgresql://me:{CANARY}@127.0.0.1:1/x?sslpassword={CANARY}"
    failing = subprocess.run(
        [
            sys.executable,
            "-m",
            "moorage",
            "serve",
            "--open",
            "--config",
            str(secret),
            "--data",
            str(tmp_path / "other"),
        ],
        env={**os.environ, "REGISTRY_DATABASE_URL": down, "REGISTRY_LOG_LEVEL": "debug"},
        capture_output=True,
        timeout=60,
        check=False,
    )
    assert failing.returncode == 1
    shown = subprocess.run(
        [sys.executable, "-m", "moorage", "config", "show", "--config", str(secret)], capture_output=True, check=False
    )
    server.stop()
    told += [server.log.read_bytes(), failing.stderr, failing.stdout, shown.stdout, shown.stderr]
    for text in told:
        assert CANARY.encode() not in text, text[-3000:]


# SEC-45: lines of the log

FORGED = {
    "a line": 'x"}\r\n{"level":"error","msg":"forged"}',
    "colours": "\x1b[2J\x1b[31mred\x1b]0;title\x07",
    "direction": "\u202egnp.exe",
    "C1": "\x9b31m",
    "a formula": '=HYPERLINK("http://evil.example";"x")',
    "a line separator": "a\u2028b\u2029c\x85d",
    "a backspace": "a\b\b\bnothing",
}


@pytest.mark.parametrize("formatter", ["json", "text", "logfmt"])
def test_sec_45_no_name_and_no_header_breaks_a_line_or_steers_a_terminal(
    serve: Callable[..., Served], formatter: str
) -> None:
    server = serve(REGISTRY_LOG_FORMATTER=formatter, REGISTRY_LOG_LEVEL="debug")
    asked = 0
    for text in FORGED.values():
        raw = "".join(f"%{byte:02x}" for byte in text.encode())
        shown = text.replace("\r\n", "").encode().decode("latin-1")
        for target in (f"/v2/sec45/{raw}/tags/list", f"/v2/sec45/app/manifests/{raw}", f"/{raw}", f"/v2/sec45/{raw}"):
            # Some of these bytes are not allowed in a header; then the refusal must not show them either.
            talk(
                server, request("GET", target, f"User-Agent: {shown}", f"X-Request-Id: {shown}", "traceparent: " + raw)
            )
            talk(server, request("GET", target))
            asked += 1
    server.stop()
    log = server.log.read_bytes().decode()
    lines = log.split("\n")
    assert lines.pop() == ""
    assert all(line.isprintable() for line in lines), [line for line in lines if not line.isprintable()][:1]
    assert "\u202e" not in log
    if formatter == "json":
        events = [json.loads(line) for line in lines]
        assert "forged" not in {event["msg"] for event in events}
        assert len([event for event in events if event["msg"] == "request"]) >= asked
    else:
        begins = r"\d{4}-\d\d-\d\dT" if formatter == "text" else r"ts=\d{4}-\d\d-\d\dT"
        assert all(re.match(begins, line) for line in lines)


# SEC-49: what is loaded


def test_sec_49_nothing_that_runs_code_is_ever_loaded() -> None:
    refused = {"pickle", "cPickle", "dill", "marshal", "shelve", "joblib", "cloudpickle"}
    calls = {"eval", "exec", "compile", "__import__"}
    found = []
    for path in (ROOT / "src" / "moorage").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            names: list[str] = []
            if isinstance(node, ast.Import):
                names = [one.name for one in node.names]
            elif isinstance(node, ast.ImportFrom):
                names = [node.module or ""]
            elif isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in calls:
                found.append(f"{path}: {ast.unparse(node)}")
            elif isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
                whole = f"{node.value.id}.{node.attr}"
                if whole in {"yaml.load", "yaml.load_all", "yaml.unsafe_load", "yaml.full_load", "os.system"}:
                    found.append(f"{path}: {whole}")
            found += [f"{path}: {name}" for name in names if name.partition(".")[0] in refused]
    assert found == []


CORRUPT: dict[str, Callable[[bytes], bytes | None]] = {
    "nothing": lambda _: None,
    "cut short": lambda state: state[:-1],
    "longer": lambda state: state + b"\0",
    "empty": lambda _: b"",
    "zeros": lambda state: bytes(len(state)),
    "a megabyte": lambda _: b"A" * 1_000_000,
    "a pickle": lambda state: b"cos\nsystem\n(S'false'\ntR.".ljust(len(state), b"\0"),
    "another counter": lambda state: state[:-8] + b"\xff\xff\xff\x7f" + state[-4:],
    "another counter, negative": lambda state: state[:-8] + b"\xff\xff\xff\xff" + state[-4:],
    "another length": lambda state: state[:-4] + b"\xff\xff\x00\x00",
    "another hash": lambda state: bytes([state[0] ^ 1]) + state[1:],
    "another's": lambda state: state[:40] + bytes(len(state) - 48) + state[-8:],
}


@pytest.mark.parametrize("algorithm", ["sha256", "sha512"])
def test_sec_49_a_hash_state_that_is_not_ours_is_not_believed(serve: Callable[..., Served], algorithm: str) -> None:
    server = serve()
    content = os.urandom(100_001)
    with httpx.Client(base_url=server.url) as client:
        for name, corrupt in CORRUPT.items():
            begun = client.post(f"/v2/sec49/app/blobs/uploads/?digest-algorithm={algorithm}")
            place = begun.headers["Location"]
            client.patch(place, content=content[:70_001])
            identity = place.rpartition("/")[2]
            rows = sqlite3.connect(server.data / "moorage.db", timeout=20)
            with rows:
                (state,) = rows.execute("SELECT hash_state FROM uploads WHERE id = ?", (identity,)).fetchone()
                assert len(state) in {112, 216}
                rows.execute("UPDATE uploads SET hash_state = ? WHERE id = ?", (corrupt(state), identity))
            rows.close()
            digest = make.digest(content, algorithm)
            done = client.put(f"{place}?digest={digest}", content=content[70_001:])
            assert done.status_code == 201, name
            assert client.get(done.headers["Location"]).content == content
            assert server.process.poll() is None, name


def test_sec_49_a_link_in_the_place_of_a_blob_leads_nowhere(serve: Callable[..., Served], tmp_path: Path) -> None:
    """Temporary files are none: bytes lie under their key at once.  Who plants a link there gains nothing by it."""
    server = serve(tmp_path / "data")
    outside = tmp_path / "outside"
    content = os.urandom(100_000)
    outside.write_bytes(content)
    with httpx.Client(base_url=server.url) as client:
        done = make.push_blob(client, "links/app", content)
        (stored,) = [path for path in (server.data / "blobs" / "u").rglob("*-*") if path.is_file()]
        stored.unlink()
        stored.symlink_to(outside)
        read = client.get(done.headers["Location"])
        assert (read.status_code, make.code(read)) == (404, "BLOB_UNKNOWN")
        place = client.post("/v2/links/app/blobs/uploads/").headers["Location"]
        identity = place.rpartition("/")[2]
        (server.data / "blobs" / "u" / identity[:2] / identity).symlink_to(outside)
        for method, more in (("PATCH", ""), ("PUT", f"?digest={make.digest(content)}")):
            written = client.request(method, f"{place}{more}", content=os.urandom(100_000))
            assert written.status_code >= 400
    assert outside.read_bytes() == content
    server.stop()
    witness = server.data / "blobs" / "incarnation"
    witness.unlink()
    witness.symlink_to(outside)
    refused = subprocess.run(
        [sys.executable, "-m", "moorage", "serve", "--open", "--config", str(ROOT / "tests" / "lab.yml"),
         "--data", str(server.data), "--listen", "127.0.0.1:0"],
        capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert refused.returncode == 1
    assert "Traceback" not in refused.stderr
    assert outside.read_bytes() == content


# SEC-52: what there is

ROUTES = {
    ("/v2/", "GET HEAD"),
    ("/v2/_catalog", "GET HEAD"),
    ("/v2/{name}/manifests/{reference}", "DELETE GET HEAD PUT"),
    ("/v2/{name}/blobs/{digest}", "DELETE GET HEAD"),
    ("/v2/{name}/blobs/uploads/", "POST"),
    ("/v2/{name}/blobs/uploads/{id}", "DELETE GET HEAD PATCH PUT"),
    ("/v2/{name}/tags/list", "GET HEAD"),
    ("/v2/{name}/referrers/{digest}", "GET HEAD"),
}
"""Everything there is below /v2.  A new endpoint is written down here, with the thought of who may use it."""

PLACES = ["metrics", "debug/pprof/", "debug/health", "debug/vars", "admin", "api", "api/v1", "token", "openapi.json"]
PLACES += [
    "docs",
    ".git/config",
    ".env",
    "server-status",
    "favicon.ico",
    "robots.txt",
    "v1/",
    "v2",
    "v3/",
    "v2_catalog",
]
PLACES += [
    "v2/_tags",
    "v2/_debug",
    "v2/_metrics",
    "v2/_oci/ext/discover",
    "v2/token",
    "v2/_manage",
    "readyz/",
    "livez/x",
]


def test_sec_52_every_endpoint_is_known_and_there_are_no_others(victim: Served) -> None:
    declared = {(row.template, " ".join(sorted(row.methods))) for row in ROWS.values()}
    assert declared | {("/v2/", "GET HEAD"), ("/v2/_catalog", "GET HEAD")} == ROUTES
    values = {"{name}": "sec52/app", "{reference}": "1", "{digest}": make.digest(b"?"), "{id}": "1"}
    for template, methods in ROUTES:
        path = template
        for key, value in values.items():
            path = path.replace(key, value)
        for method in ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "PROPFIND", "CONNECT"):
            answer = ask(victim, method, path, "Content-Length: 0")
            if method in methods.split():
                assert answer.status != 405, (method, path)
            elif method == "OPTIONS":
                assert sorted(answer.headers["allow"].split(", ")) == methods.split()
            else:
                assert answer.status in {405, 400}, (method, path, answer)
    for path in PLACES:
        if path != "v2":
            assert ask(victim, "GET", f"/{path}").status == 404, path


def test_sec_52_health_tells_strangers_no_version_and_no_path(serve: Callable[..., Served], tmp_path: Path) -> None:
    server = serve(tmp_path / "secret-folder")
    words = [str(server.data), "secret-folder", version("moorage"), "python", "uvicorn", "sqlite"]
    (server.data / "blobs" / "u").rename(server.data / "away")
    found = b""
    for path in ("/livez", "/healthz", "/startupz", "/readyz", "/readyz?verbose", "/v2/", "/elsewhere", "/v2/a/b"):
        found += talk(server, request("GET", path))
    found += talk(server, b"nonsense\r\n\r\n")
    assert b'{"database": "ok", "storage": "failing"}' in found
    for word in words:
        assert word.lower().encode() not in found.lower(), word
    assert b"\r\nServer:" not in found


# SEC-53: what we are made of

LEAST = {
    "certifi": "2024.7.4",
    "cryptography": "42.0.4",
    "h11": "0.16.0",
    "httptools": "0.6.0",
    "idna": "3.7",
    "jinja2": "3.1.6",
    "pydantic": "2.4.0",
    "pyyaml": "5.4",
    "requests": "2.32.4",
    "starlette": "0.49.1",
    "python-multipart": "0.0.18",
    "aiohttp": "3.13.3",
    "gunicorn": "22.0.0",
    "urllib3": "2.6.3",
    "pyjwt": "2.4.0",
    "authlib": "1.3.1",
    "uvicorn": "0.11.7",
}
"""The first versions without the defects that have an advisory; packages we do not use yet are listed with them."""


@pytest.mark.parametrize("file", sorted((ROOT / "requirements").glob("*.txt")), ids=lambda path: path.name)
def test_sec_53_every_package_is_locked_by_hash_and_new_enough(file: Path) -> None:
    text = re.sub(r"\\\n\s*", " ", file.read_text())
    locked = [line for line in text.splitlines() if line and not line.lstrip().startswith("#")]
    assert len(locked) > 10
    for line in locked:
        found = re.fullmatch(
            r"([A-Za-z0-9._\[\]-]+)==([0-9][^ ;]*)( ?;[^#]*?)?((?:\s+--hash=sha256:[0-9a-f]{64})+)\s*", line
        )
        assert found, line
        name = re.sub(r"\[.*", "", found[1]).lower()
        if name in LEAST:
            assert numbers(found[2]) >= numbers(LEAST[name]), line


def test_sec_53_this_python_has_the_mended_url_parser() -> None:
    """CVE-2023-24329, mended in Python 3.11.4. Distributions bring the change to older numbers: Debian 12's 3.11.2 has
    it, so the parser is asked rather than the version.
    """
    assert urlsplit(" \x01https://registry.example/").scheme == "https"


def numbers(text: str) -> tuple[int, ...]:
    return tuple(int(part) for part in re.findall(r"\d+", text))


def test_sec_53_installing_asks_for_the_hashes() -> None:
    makefile = (ROOT / "Makefile").read_text()
    for line in makefile.splitlines():
        if "pip install" in line:
            assert "--require-hashes" in line or "--no-deps -e ." in line
