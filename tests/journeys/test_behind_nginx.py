"""nginx in front, as docs/proxy.md has it: it sends the files, and the registry says who may have them."""

import getpass
import re
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from tests import make
from tests.authority import Authority, context
from tests.closed import ADMIN, Closed
from tests.conftest import ROOT, tool
from tests.proxies import running

pytestmark = pytest.mark.client("nginx")
LARGE = bytes(index * 7 % 251 for index in range(300_000))
SMALL = b"in a row"
DIRECT = "127.0.0.3"
"""An address of this machine that is no proxy."""


@pytest.fixture(scope="module")
def registry(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Closed]:
    closed = Closed(tmp_path_factory.mktemp("accel"), "http: {trusted_proxies: [127.0.0.1], accel: /stored}\n")
    with closed.signed_in(ADMIN) as client:
        for content in (LARGE, SMALL):
            assert make.push_blob(client, "acme/app", content).status_code == 201
    yield closed
    closed.stop()


@pytest.fixture(scope="module")
def nginx(registry: Closed, tmp_path_factory: pytest.TempPathFactory) -> Iterator[httpx.Client]:
    """A client of it, signed in."""
    issuer = Authority(tmp_path_factory.mktemp("tls"), "issuer")
    certificate, key = issuer.issue("localhost")
    documented = re.findall(r"```nginx\n(.*?)```", (ROOT / "docs" / "proxy.md").read_text(), re.DOTALL)
    assert len(documented) == 1

    def write(folder: Path, port: int) -> str:
        text = documented[0]
        for stands, here in {
            "listen 443 ": f"listen 127.0.0.1:{port} ",
            "127.0.0.1:5000": f"127.0.0.1:{registry.served.port}",
            "/etc/ssl/registry.pem": f"{certificate}",
            "/etc/ssl/registry.key": f"{key}",
            "/var/lib/registry/": f"{registry.served.data}/",
            "http {\n": "http {\naccess_log off;\n"
            + "".join(
                f"{one}_temp_path {folder}/{one};\n" for one in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
            ),
        }.items():
            assert text.count(stands) == 1, stands
            text = text.replace(stands, here)
        return f"daemon off;\nuser {getpass.getuser()};\npid {folder}/pid;\n{text}"

    command = [tool("nginx"), "-e", "stderr", "-c"]
    with (
        running(write, lambda file, _: [*command, str(file)]) as port,
        httpx.Client(base_url=f"https://localhost:{port}", verify=context(issuer), auth=ADMIN) as client,
    ):
        yield client


def place(content: bytes, repository: str = "acme/app") -> str:
    return f"/v2/{repository}/blobs/{make.digest(content)}"


def sent_by(registry: Closed, answer: httpx.Response) -> int:
    """How many bytes of an answer the registry itself sent: its access log says so, a moment later."""
    line = re.compile(rf'"request_id":"{answer.headers["X-Request-Id"]}".*"bytes":(\d+)')
    deadline = time.monotonic() + 20
    while not (found := line.search(registry.served.log.read_text())) and time.monotonic() < deadline:
        time.sleep(0.02)
    assert found
    return int(found[1])


@pytest.mark.parametrize("content", [LARGE, SMALL], ids=["in a file", "in a row"])
def test_a_pull_through_nginx_is_what_it_is_without(registry: Closed, nginx: httpx.Client, content: bytes) -> None:
    with httpx.Client(
        base_url=registry.served.url, auth=ADMIN, transport=httpx.HTTPTransport(local_address=DIRECT)
    ) as one:
        direct = one.get(place(content))
    got, head = nginx.get(place(content)), nginx.head(place(content))
    assert (got.status_code, got.content) == (200, content)
    assert (head.status_code, head.content) == (200, b"")
    own = {"date", "server", "connection", "last-modified", "x-request-id", "ratelimit-remaining"}
    for answer in (got, head):
        seen = {name: value for name, value in answer.headers.items() if name not in own}
        assert seen == {name: value for name, value in direct.headers.items() if name not in own}
    assert sent_by(registry, got) == (0 if content is LARGE else len(content))


def test_nginx_sends_ranges_and_we_refuse_those_that_are_none(registry: Closed, nginx: httpx.Client) -> None:
    etag = f'"{make.digest(LARGE)}"'
    for asked, condition, start, stop in [
        ("bytes=5-9", etag, 5, 10),
        ("bytes=-7", "", len(LARGE) - 7, len(LARGE)),
        ("bytes=299000-", "", 299_000, len(LARGE)),
    ]:
        headers = {"Range": asked} | ({"If-Range": condition} if condition else {})
        part = nginx.get(place(LARGE), headers=headers)
        assert (part.status_code, part.content) == (206, LARGE[start:stop])
        assert part.headers["Content-Range"] == f"bytes {start}-{stop - 1}/{len(LARGE)}"
        assert part.headers["Docker-Content-Digest"] == make.digest(LARGE)
        assert sent_by(registry, part) == 0
    changed = nginx.get(place(LARGE), headers={"Range": "bytes=5-9", "If-Range": '"sha256:0"'})
    assert (changed.status_code, changed.content) == (200, LARGE)
    assert nginx.get(place(LARGE), headers={"If-None-Match": etag}).status_code == 304
    assert make.refused(nginx.get(place(LARGE), headers={"Range": "bytes=300000-"}), 416, "RANGE_INVALID")


def test_who_may_not_have_a_blob_gets_it_from_neither(registry: Closed, nginx: httpx.Client) -> None:
    assert make.refused(nginx.get(place(LARGE), auth=httpx.Auth()), 401, "UNAUTHORIZED")
    assert make.refused(nginx.get(place(LARGE), auth=registry.user()), 404, "NAME_UNKNOWN")
    files = [one for one in (registry.served.data / "blobs" / "u").rglob("*") if one.is_file()]
    assert len(files) == 1
    key = files[0].relative_to(registry.served.data)
    for path in (f"/stored/{key}", f"/stored/blobs/../{key}", f"/stored/blobs/store?{key}", f"//stored/{key}"):
        assert nginx.get(path).status_code == 404, path


def test_only_a_trusted_proxy_is_told_where_a_file_lies(registry: Closed) -> None:
    asking = {"X-Forwarded-For": "127.0.0.1", "X-Accel-Redirect": "/stored/blobs/store", "X-Real-IP": "127.0.0.1"}
    for address, body in ((DIRECT, LARGE), ("127.0.0.1", b"")):
        transport = httpx.HTTPTransport(local_address=address)
        with httpx.Client(base_url=registry.served.url, auth=ADMIN, transport=transport) as client:
            answer = client.get(place(LARGE), headers=asking)
            assert (answer.status_code, answer.content) == (200, body)
            assert ("X-Accel-Redirect" in answer.headers) is (address == "127.0.0.1")


def test_a_file_that_is_gone_is_told_as_without_nginx(registry: Closed, nginx: httpx.Client) -> None:
    content = LARGE[:200_000]
    before = set((registry.served.data / "blobs" / "u").rglob("*"))
    with registry.signed_in(ADMIN) as client:
        assert make.push_blob(client, "acme/lost", content).status_code == 201
    (made,) = set((registry.served.data / "blobs" / "u").rglob("*")) - before
    made.write_bytes(content[:-1])
    assert make.refused(nginx.get(place(content, "acme/lost")), 404, "BLOB_UNKNOWN")["damaged"] is True
