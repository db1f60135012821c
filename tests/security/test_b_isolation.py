"""Attacks on what belongs to somebody else, as far as there is nobody yet (group B of the attack list)."""

import ast
import json
import os
import re
import stat
import subprocess
import sys
import uuid
from collections.abc import Callable
from pathlib import Path

import httpx
import pytest

from tests import make
from tests.closed import Closed
from tests.conftest import ROOT, Served, start
from tests.security.attacker import ask, request, statuses, talk

FOREIGN = make.digest(b"pushed by nobody")


def same(client: httpx.Client, asked: Callable[[str], httpx.Response], there: str, *, words: dict[str, str]) -> None:
    """What is asked about a digest that another repository holds is answered as for one that nobody holds."""

    def shape(digest: str) -> tuple[int, list[tuple[str, str]], str]:
        answer = asked(digest)
        text = answer.text.replace(digest, "DIGEST")
        for word, general in words.items():
            text = text.replace(word, general)
        kept = [pair for pair in answer.headers.items() if pair[0] not in {"date", "x-request-id"}]
        return answer.status_code, [(name, re.sub(r"[0-9a-f-]{36}", "ID", value)) for name, value in kept], text

    assert shape(there) == shape(FOREIGN)


# SEC-10: blobs of other repositories


@pytest.mark.parametrize("size", [100, 50_000])
def test_sec_10_a_blob_elsewhere_is_answered_like_one_that_is_nowhere(client: httpx.Client, size: int) -> None:
    content = os.urandom(size)
    there = make.digest(content)
    assert make.push_blob(client, "sec10/owner", content).status_code == 201
    make.push_blob(client, "sec10/thief", b"{}")
    v2 = "/v2/sec10/thief"

    def manifest(digest: str, **more: object) -> httpx.Response:
        layer = {"mediaType": "application/vnd.oci.image.layer.v1.tar", "digest": digest, "size": size}
        body = json.loads(make.image(b"{}")) | {"layers": [layer]} | more
        return client.put(f"{v2}/manifests/1", json=body, headers={"Content-Type": make.IMAGE})

    for asked in (
        lambda digest: client.head(f"{v2}/blobs/{digest}"),
        lambda digest: client.get(f"{v2}/blobs/{digest}"),
        lambda digest: client.get(f"{v2}/blobs/{digest}", headers={"Range": "bytes=0-1"}),
        lambda digest: client.get(f"{v2}/blobs/{digest}", headers={"If-None-Match": f'"{digest}"'}),
        lambda digest: client.delete(f"{v2}/blobs/{digest}"),
        lambda digest: client.post(f"{v2}/blobs/uploads/?digest={digest}"),
        lambda digest: client.post(f"{v2}/blobs/uploads/?digest={digest}", content=b""),
        lambda digest: client.post(f"{v2}/blobs/uploads/?mount={digest}&from=sec10/nobody"),
        lambda digest: client.put(f"{client.post(f'{v2}/blobs/uploads/').headers['Location']}?digest={digest}"),
        lambda digest: client.get(f"{v2}/manifests/{digest}"),
        lambda digest: client.get(f"{v2}/referrers/{digest}"),
        manifest,
        lambda digest: manifest(digest, subject={"mediaType": make.IMAGE, "digest": digest, "size": 1}),
    ):
        same(client, asked, there, words={})
        assert client.head(f"{v2}/blobs/{there}").status_code == 404
    assert client.get(f"/v2/sec10/owner/blobs/{there}").content == content


def test_sec_10_an_empty_push_takes_nothing_by_its_name(client: httpx.Client) -> None:
    content = b"somebody's secret"
    make.push_blob(client, "sec10/owner", content)
    answer = client.post(f"/v2/sec10/empty/blobs/uploads/?digest={make.digest(content)}", content=b"")
    assert (answer.status_code, make.code(answer)) == (400, "DIGEST_INVALID")
    assert client.get(f"/v2/sec10/empty/blobs/{make.digest(content)}").status_code == 404


def test_sec_10_a_manifest_elsewhere_is_no_child_and_no_tag_here(client: httpx.Client) -> None:
    body = make.push_image(client, "sec10/owner", "1", b"{}")
    index = json.dumps(
        {"schemaVersion": 2, "mediaType": make.INDEX, "manifests": [make.descriptor(body, make.IMAGE)]}
    ).encode()
    answer = client.put("/v2/sec10/index/manifests/1", content=index, headers={"Content-Type": make.INDEX})
    assert (answer.status_code, make.code(answer)) == (400, "MANIFEST_BLOB_UNKNOWN")
    assert client.get(f"/v2/sec10/index/manifests/{make.digest(body)}").status_code == 404


# SEC-11: uploads of other repositories


def test_sec_11_an_upload_elsewhere_is_answered_like_none(client: httpx.Client) -> None:
    place = client.post("/v2/sec11/owner/blobs/uploads/").headers["Location"]
    client.patch(place, content=b"half of it")
    theirs, nobodys = place.rpartition("/")[2], str(uuid.uuid4())
    for method in ("GET", "HEAD", "PATCH", "PUT", "DELETE"):
        answers = []
        for identity in (theirs, nobodys):
            path = f"/v2/sec11/thief/blobs/uploads/{identity}?digest={make.digest(b'half of it')}"
            answer = client.request(method, path, content=b"stolen" if method in {"PATCH", "PUT"} else None)
            answers.append((answer.status_code, answer.text.replace(identity, "ID")))
            assert "Location" not in answer.headers
        assert answers[0] == answers[1]
        assert answers[0][0] == 404
    assert client.get(place).headers["Range"] == "0-9"
    done = client.put(f"{place}?digest={make.digest(b'half of it')}")
    assert done.status_code == 201
    assert client.head(f"/v2/sec11/thief/blobs/{make.digest(b'half of it')}").status_code == 404


def test_sec_11_no_upload_id_tells_another(client: httpx.Client) -> None:
    found = [uuid.UUID(client.post("/v2/sec11/ids/blobs/uploads/").headers["Docker-Upload-UUID"]) for _ in range(100)]
    assert all(one.version == 4 for one in found)
    assert len({one.hex[:8] for one in found}) == len({one.hex[-8:] for one in found}) == 100
    # Each of the random bits is set in about half of them: none is a counter, a clock or a host.
    for bit in set(range(128)) - {62, 63, 76, 77, 78, 79}:
        assert 20 <= sum(one.int >> bit & 1 for one in found) <= 80, bit


# SEC-20: SQL


@pytest.mark.parametrize("text", ["'", '"', "%", "_", "\\", "';DROP TABLE tags;--", "' OR ''='", "$1", ":name", "?"])
def test_sec_20_no_text_of_a_client_is_read_as_sql(client: httpx.Client, text: str) -> None:
    make.push_image(client, "sec20/app", "1", b"{}")
    digest = make.digest(b"{}")
    encoded = httpx.QueryParams({"x": text}).get("x", "")
    for method, path, parameters in [
        ("GET", "/v2/sec20/app/tags/list", {"last": encoded, "n": "5"}),
        ("GET", "/v2/_catalog", {"last": encoded}),
        ("GET", f"/v2/sec20/app/referrers/{digest}", {"artifactType": encoded, "last": encoded}),
        ("POST", "/v2/sec20/app/blobs/uploads/", {"mount": digest, "from": encoded}),
        ("GET", f"/v2/sec20/app/blobs/uploads/{httpx.QueryParams({'': text})}".replace("/=", "/"), {}),
    ]:
        assert client.request(method, path, params=parameters).status_code < 500, path
    assert client.get("/v2/sec20/app/tags/list").json()["tags"] == ["1"]


def test_sec_20_wildcards_match_only_themselves(client: httpx.Client) -> None:
    for name in ("sec20/a_b", "sec20/axb", "sec20/a-b"):
        make.push_image(client, name, name[-3:], name.encode())
    for name in ("sec20/a_b", "sec20/axb", "sec20/a-b"):
        assert client.get(f"/v2/{name}/tags/list").json() == {"name": name, "tags": [name[-3:]]}
        others = {"a_b", "axb", "a-b"} - {name[-3:]}
        for other in others:
            assert client.get(f"/v2/{name}/manifests/{other}").status_code == 404
            assert client.head(f"/v2/{name}/blobs/{make.digest(f'sec20/{other}'.encode())}").status_code == 404


PUT_TOGETHER = {
    "f'SELECT version_num FROM {_VERSIONS}'",
    "f\"SET LOCAL lock_timeout = '{int(patience * 1000)}ms'\"",
    "f'SELECT count(*) FROM {quoted}'",
    "f'SELECT {names} FROM \"{table}\"'",
    "f'INSERT INTO \"{table}\" ({names}) VALUES ({places})'",
    "f'SELECT count(*) FROM \"{name}\"'",
    "f'DELETE FROM \"{table}\"'",
    "f'SELECT last_value, is_called FROM {sequence}'",
    "f'SELECT max(coalesce((SELECT seq FROM sqlite_sequence WHERE name = ?), 0), coalesce(max(id), 0)) FROM \"{table}\"'",  # noqa: E501
    "f'''SELECT {', '.join(wanted)} FROM \"{table}\"'''",
    "'LOCK TABLE {} IN EXCLUSIVE MODE'.format(', '.join((f'\"{name}\"' for name in ordered)))",
}
"""What migrations and snapshots put together: of a constant, a number, and names of our own tables and columns."""


def test_sec_20_no_statement_is_put_together_from_texts() -> None:
    """Every statement is Core's or a constant; what a PRAGMA is made of is a constant too."""
    runs = {"execute", "executemany", "executescript", "exec_driver_sql", "text", "scalar", "scalars"}
    found = set()
    for path in (ROOT / "src" / "moorage").rglob("*.py"):
        for call in ast.walk(ast.parse(path.read_text())):
            if not isinstance(call, ast.Call) or not call.args:
                continue
            name = call.func.attr if isinstance(call.func, ast.Attribute) else getattr(call.func, "id", "")
            if name in runs and not _constant(call.args[0]):
                found.add(ast.unparse(call.args[0]))
    assert found - PUT_TOGETHER == set()


def _constant(statement: ast.expr) -> bool:
    """Whether an argument is no text put together here: a constant, a name, a statement of Core's."""
    if isinstance(statement, ast.JoinedStr):
        begins = statement.values[0]
        return isinstance(begins, ast.Constant) and str(begins.value).startswith("PRAGMA ")
    if isinstance(statement, ast.BinOp):
        return not isinstance(statement.op, ast.Add | ast.Mod)
    if isinstance(statement, ast.Call) and isinstance(statement.func, ast.Attribute):
        return statement.func.attr not in {"format", "join", "replace"}
    return True


# SEC-21: what an answer gives away


@pytest.mark.parametrize(
    "names", [["sec21/there", "sec21/blobs"], ["sec21/never", "sec21/ther", "sec21/there/app"]], ids=["here", "nowhere"]
)
def test_sec_21_what_is_missing_looks_the_same_wherever_it_is_missing(client: httpx.Client, names: list[str]) -> None:
    """Where there is something else, or only blobs; and where nobody pushed anything, however alike the names."""
    make.push_image(client, "sec21/there", "1", b"{}")
    make.push_blob(client, "sec21/blobs", b"{}")
    for path in (
        "tags/list?n=0&last=zzz",
        "manifests/2",
        f"manifests/{FOREIGN}",
        f"blobs/{FOREIGN}",
        "blobs/uploads/1",
    ):
        for method in ("GET", "HEAD", "DELETE"):
            answers = set()
            for name in names:
                answer = client.request(method, f"/v2/{name}/{path}")
                lengths = {"date", "x-request-id", "content-length"}  # only the name's own length may differ
                headers = sorted(pair for pair in answer.headers.items() if pair[0] not in lengths)
                answers.add((answer.status_code, answer.text.replace(name, "NAME"), str(headers)))
            assert len(answers) == 1, (method, path)


def test_sec_21_no_answer_names_another_repository(client: httpx.Client) -> None:
    secret = "sec21/very-secret-project"
    content = os.urandom(30_000)
    make.push_image(client, secret, "1", b"{}", content)
    digest = make.digest(content)
    answers = [
        client.get(f"/v2/sec21/thief/blobs/{digest}"),
        client.post(f"/v2/sec21/thief/blobs/uploads/?mount={digest}"),
        client.head(f"/v2/sec21/thief/blobs/{digest}"),
        client.get(f"/v2/sec21/thief/referrers/{digest}"),
        make.push_blob(client, "sec21/thief", content),
    ]
    assert all("very-secret" not in f"{answer.headers}{answer.text}" for answer in answers)


# SEC-25: what is open by default


def test_sec_25_nobody_is_let_in_and_nobody_listens_beyond_this_machine_by_default(tmp_path: Path) -> None:
    config = tmp_path / "config.yml"
    config.write_text("version: 0.1\n")
    passwords = set()
    for number in range(2):
        server = start(tmp_path / f"data{number}", config=config)
        try:
            assert httpx.get(f"{server.url}/v2/").status_code == 401
            assert httpx.put(f"{server.url}/v2/a/b/manifests/1", content=b"{}").status_code == 401
            for password in ("", "admin", "password", "changeme"):
                assert httpx.get(f"{server.url}/v2/", auth=("admin", password)).status_code == 401
            passwords.add((server.data / "initial-admin-password").read_text())
        finally:
            server.stop()
    assert len(passwords) == 2, "none is given twice"
    shown = [sys.executable, "-m", "moorage", "config", "show", "--config", str(config)]
    told = subprocess.run(shown, capture_output=True, text=True, timeout=60, check=True).stdout
    assert re.search(r"addr: 127\.0\.0\.1:5000", told)


def test_sec_25_no_other_user_may_read_what_is_kept(serve: Callable[..., Served]) -> None:
    before = os.umask(0)
    try:
        server = serve()
    finally:
        os.umask(before)
    with httpx.Client(base_url=server.url) as client:
        make.push_image(client, "sec25/app", "1", b"{}", os.urandom(100_000))
        client.patch(client.post("/v2/sec25/app/blobs/uploads/").headers["Location"], content=os.urandom(100_000))
    kept = [server.data, *server.data.rglob("*")]
    assert len(kept) > 260
    for path in kept:
        assert not stat.S_IMODE(path.stat().st_mode) & 0o027, path
    assert stat.S_IMODE((server.data / "moorage.db").stat().st_mode) == 0o600


# SEC-26: who says where a request comes from

EVIL = [
    "X-Forwarded-For: 6.6.6.6",
    "X-Forwarded-Host: evil.example",
    "X-Forwarded-Proto: https",
    "X-Forwarded-Prefix: /evil.example",
    "X-Forwarded-Port: 6666",
    "Forwarded: for=6.6.6.6;host=evil.example;proto=https",
    "X-Real-IP: 6.6.6.6",
    "X-Remote-User: evil.example",
    "X-Forwarded-User: evil.example",
    'X-Forwarded-Client-Cert: Subject="CN=evil.example"',
    "X-SSL-Client-CN: evil.example",
    "X-SSL-Client-Verify: SUCCESS",
    "X-Original-URL: /v2/evil.example/tags/list",
    "X-Rewrite-URL: /v2/evil.example/tags/list",
    "X-HTTP-Method-Override: DELETE",
]


def test_sec_26_nobody_says_for_himself_who_he_is_or_where_we_are(victim: Served, honest: httpx.Client) -> None:
    body = make.push_image(honest, "sec26/app", "1", b"{}")
    layer = make.push_blob(honest, "sec26/app", b"layer")
    log = victim.log.stat().st_size
    for method, path, content in [
        ("GET", "/v2/", b""),
        ("POST", "/v2/sec26/app/blobs/uploads/", b""),
        ("POST", f"/v2/sec26/app/blobs/uploads/?digest={make.digest(b'layer')}", b"layer"),
        ("PUT", "/v2/sec26/app/manifests/1", body),
        ("GET", "/v2/sec26/app/manifests/1", b""),
        ("GET", "/v2/_catalog?n=1", b""),
        ("GET", layer.headers["Location"], b""),
        ("GET", "/v2/sec26/app/manifests/nothing", b""),
        ("GET", "/elsewhere", b""),
    ]:
        raw = request(method, path, *EVIL, f"Content-Type: {make.IMAGE}", body=content)
        for host in (b"evil.example", b"evil.example:6666"):
            found = talk(victim, raw.replace(b"Host: here", b"Host: " + host))
            assert b"evil" not in found, (method, path, found)
            for line in re.findall(rb"(?m)^(?:Location|Link): <?([^\r]*)", found):
                assert re.match(rb"/v2/", line)
    assert honest.get("/v2/sec26/app/manifests/1").status_code == 200
    with victim.log.open() as lines:
        lines.seek(log)
        events = [json.loads(line) for line in lines]
    assert {event["ip"] for event in events if event["msg"] == "request"} == {"127.0.0.1"}
    assert "6.6.6.6" not in json.dumps(events)
    assert {event["actor"] for event in events if event["msg"] == "request"} <= {"", "anonymous"}


NAMES = [
    "X-Remote-User",
    "Remote-User",
    "X-Forwarded-User",
    "X-Auth-Request-User",
    "X-SSL-Client-CN",
    "SSL_CLIENT_S_DN",
]


@pytest.mark.parametrize("proxies", ["", "127.0.0.1"])
def test_sec_26_no_header_signs_anybody_in_not_even_of_a_trusted_proxy(tmp_path: Path, proxies: str) -> None:
    lines = f"http: {{trusted_proxies: [{proxies}]}}\n"
    house = Closed(tmp_path, lines)
    try:
        claims = dict.fromkeys(NAMES, "admin") | {"Forwarded": "for=1.1.1.1;by=admin", "X-Forwarded-For": "192.0.2.9"}
        claims["X-Forwarded-Client-Cert"] = 'By=spiffe://a;Subject="CN=admin"'
        claims["Cookie"] = "user=admin"
        for path in ("/v2/", "/v2/_catalog", "/v2/acme/app/tags/list", "/api/v1/users"):
            assert house.client.get(path, headers=claims).status_code == 401, path
        token = house.client.get("/token", params={"scope": "registry:catalog:*"}, headers=claims).json()["token"]
        assert house.api(token, "GET", "/users").status_code == 401
        assert house.client.get("/v2/_catalog", headers={"Authorization": f"Bearer {token}"}).status_code == 401
        asked = [json.loads(line) for line in house.served.log.read_text().splitlines()]
        asked = [line for line in asked if line["msg"] == "request"]
        assert {line["ip"] for line in asked[:4]} == {"192.0.2.9" if proxies else "127.0.0.1"}
        assert {line["actor"] for line in asked} <= {"", "anonymous"}
    finally:
        house.stop()


def test_sec_26_an_address_is_judged_by_the_socket_where_no_trusted_proxy_speaks(serve: Callable[..., Served]) -> None:
    server = serve(REGISTRY_HTTP_ALLOW="127.0.0.1", REGISTRY_HTTP_TRUSTED_PROXIES="192.0.2.0/24")
    for claim in ("X-Forwarded-For: 127.0.0.1", "Forwarded: for=127.0.0.1", "X-Real-IP: 127.0.0.1", "X-Other: 1"):
        name, _, value = claim.partition(": ")
        with httpx.Client(transport=httpx.HTTPTransport(local_address="127.0.0.2")) as stranger:
            answer = stranger.get(f"{server.url}/v2/", headers={name: value})
        assert answer.status_code == 403
        assert "127.0.0.2 is not let in" in answer.json()["errors"][0]["message"]
    assert httpx.get(f"{server.url}/v2/", headers={"X-Forwarded-For": "127.0.0.2"}).status_code == 200


@pytest.mark.parametrize(
    "host", ["evil.example/../", "evil@here", "evil example", "a\tb", "<script>", "[::1", "\xe4.de"]
)
def test_sec_26_a_host_that_is_none_is_refused(victim: Served, host: str) -> None:
    raw = request("GET", "/v2/").replace(b"Host: here", b"Host: " + host.encode("latin-1"))
    assert statuses(talk(victim, raw)) == [400]
    assert ask(victim, "GET", "/v2/", "Host: there").status == 400
