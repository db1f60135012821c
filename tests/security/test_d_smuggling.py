"""SEC-47: where a request ends.  We and every proxy in front must find it in the same place, or we close."""

import json
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

import httpx
import pytest

from tests import make
from tests.conftest import Served, start, tool
from tests.proxies import running
from tests.security.attacker import connect, read_all, request, statuses, talk

HIDDEN = b"GET /v2/smuggled/tags/list HTTP/1.1\r\nHost: here\r\n\r\n"
"""What an attacker wants us to take for a request.  It always stands where a body is, or where nothing may be."""


def post(*fields: bytes, body: bytes = b"", line: bytes = b"POST /v2/sec47/blobs/uploads/ HTTP/1.1") -> bytes:
    return b"\r\n".join([line, b"Host: here", *fields, b"", b""]) + body


CHUNKED = b"Transfer-Encoding: chunked"
LENGTH = b"Content-Length: %d" % len(HIDDEN)

MALFORMED = {
    "length and chunks": post(LENGTH, CHUNKED, body=b"0\r\n\r\n"),
    "chunks and length": post(CHUNKED, LENGTH, body=b"0\r\n\r\n"),
    "two lengths": post(b"Content-Length: 0", LENGTH),
    "the same length twice": post(LENGTH, LENGTH),
    "a list of lengths": post(b"Content-Length: 0, 0"),
    "a signed length": post(b"Content-Length: +0"),
    "a negative length": post(b"Content-Length: -1"),
    "a hexadecimal length": post(b"Content-Length: 0x0"),
    "a length with a space": post(b"Content-Length: 1 0"),
    "a length with an underscore": post(b"Content-Length: 1_0"),
    "a length of other digits": post("Content-Length: \u0661".encode()),
    "a length without end": post(b"Content-Length: " + b"0" * 5000),
    "an empty length": post(b"Content-Length:"),
    "another coding": post(b"Transfer-Encoding: gzip"),
    "chunks, then another coding": post(b"Transfer-Encoding: chunked, identity", body=b"0\r\n\r\n"),
    "another coding, then chunks": post(b"Transfer-Encoding: gzip, chunked", body=b"0\r\n\r\n"),
    "two codings": post(CHUNKED, b"Transfer-Encoding: identity", body=b"0\r\n\r\n"),
    "chunked twice": post(CHUNKED, CHUNKED, body=b"0\r\n\r\n"),
    "a coding in quotes": post(b'Transfer-Encoding: "chunked"', body=b"0\r\n\r\n"),
    "a vertical tab before the coding": post(b"Transfer-Encoding: \x0bchunked", body=b"0\r\n\r\n"),
    "a space before the colon": post(b"Transfer-Encoding : chunked", body=b"0\r\n\r\n"),
    "a tab before the colon": post(b"Content-Length\t: 0"),
    "no colon": post(b"Content-Length 0"),
    "a folded line": post(b"X: a\r\n Transfer-Encoding: chunked"),
    "a folded coding": post(b"Transfer-Encoding:\r\n chunked", body=b"0\r\n\r\n"),
    "a first line that is folded": post(b" X: a"),
    "a lone line feed": post(b"X: a\nTransfer-Encoding: chunked", body=b"0\r\n\r\n"),
    "lone line feeds": post(b"X: a").replace(b"\r\n", b"\n"),
    "a lone carriage return": post(b"X: a\rContent-Length: 0"),
    "a NUL in a value": post(b"X: a\0b"),
    "a NUL in a name": post(b"X\0: a"),
    "an empty name": post(b": a"),
    "a name of other letters": post("X\u00e4: a".encode()),
    "two hosts": post(b"Host: there"),
    "no host": post().replace(b"Host: here\r\n", b""),
    "a NUL in the path": post(line=b"POST /v2/%00/blobs/uploads/ HTTP/1.1"),
    "half an escape in the path": post(line=b"POST /v2/%2/blobs/uploads/ HTTP/1.1"),
    "TLS on the plain port": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(40),
    "no version": post(line=b"POST /v2/sec47/blobs/uploads/"),
    "another version": post(line=b"POST /v2/sec47/blobs/uploads/ HTTP/2.0"),
    "a version of three digits": post(line=b"POST /v2/sec47/blobs/uploads/ HTTP/1.11"),
    "two spaces": post(line=b"POST  /v2/sec47/blobs/uploads/ HTTP/1.1"),
    "a space in the target": post(line=b"POST /v2/sec47 /blobs/uploads/ HTTP/1.1"),
    "two spaces before the version": post(line=b"POST /v2/sec47/blobs/uploads/  HTTP/1.1"),
    "a tab for a space": post(line=b"POST\t/v2/sec47/blobs/uploads/ HTTP/1.1"),
    "a space behind the version": post(line=b"POST /v2/sec47/blobs/uploads/ HTTP/1.1 "),
    "a protocol in lower case": post(line=b"POST /v2/sec47/blobs/uploads/ http/1.1"),
    "a method that is none": post(line=b"P(ST /v2/ HTTP/1.1"),
    "another protocol": post(line=b"POST /v2/ RTSP/1.1"),
    "chunks in HTTP/1.0": post(CHUNKED, body=b"0\r\n\r\n", line=b"POST /v2/sec47/blobs/uploads/ HTTP/1.0"),
}

CHUNKS = {
    "a size with a sign": b"+0\r\n\r\n",
    "a size with a prefix": b"0x0\r\n\r\n",
    "a size with a space": b" 0\r\n\r\n",
    "a size with a space behind it": b"0 \r\n\r\n",
    "a size with an underscore": b"0_0\r\n\r\n",
    "a size beyond 64 bits": b"10000000000000000\r\n\r\n",
    "no size": b"\r\n\r\n",
    "a line feed alone behind the size": b"0\n\r\n",
    "a carriage return in an extension": b"0;a\rb\r\n\r\n",
    "a line feed in an extension": b"1;a\nb\r\nx\r\n0\r\n\r\n",
    "an extension without end": b"0;" + b"a" * 10_000,
    "no line end behind a chunk": b"1\r\nxx\r\n0\r\n\r\n",
    "a line feed alone behind a chunk": b"1\r\nx\n0\r\n\r\n",
    "a trailer that is none": b"0\r\nnothing\r\n\r\n",
    "a folded trailer": b"0\r\nA: b\r\n c\r\n\r\n",
    "a line feed alone behind a trailer": b"0\r\nA: b\n\r\n",
    "trailers without end": b"0\r\n" + b"A: b\r\n" * 5_000,
}


@pytest.mark.parametrize("raw", MALFORMED.values(), ids=MALFORMED.keys())
def test_sec_47_what_is_read_in_two_ways_is_refused_and_closed(victim: Served, raw: bytes) -> None:
    found = talk(victim, raw + HIDDEN + HIDDEN)
    assert statuses(found) == [400]
    assert json.loads(found.partition(b"\r\n\r\n")[2])["errors"][0]["code"] == "REQUEST_INVALID"


@pytest.mark.parametrize("body", CHUNKS.values(), ids=CHUNKS.keys())
def test_sec_47_a_chunked_body_that_is_read_in_two_ways_is_refused_and_closed(victim: Served, body: bytes) -> None:
    with connect(victim) as one:
        place = b"PATCH " + upload(victim) + b" HTTP/1.1"
        with suppress(ConnectionError):
            one.sendall(post(CHUNKED, body=body, line=place) + HIDDEN + HIDDEN)
        assert statuses(read_all(one)) == [400]


def upload(server: Served) -> bytes:
    return httpx.post(f"{server.url}/v2/sec47/blobs/uploads/").headers["Location"].encode()


def test_sec_47_a_body_is_never_a_request_whoever_answers(victim: Served) -> None:
    """Neither where a handler reads it, nor where it is refused, nor where there should be none."""
    digest = make.digest(HIDDEN)
    for method, target, expected in [
        ("GET", "/v2/", 200),
        ("HEAD", "/v2/", 200),
        ("DELETE", "/v2/sec47/manifests/1", 404),
        ("POST", f"/v2/sec47/blobs/uploads/?digest={digest}", 201),
        ("POST", "/v2/sec47/blobs/uploads/?digest=md5:0", 400),
        ("PUT", "/v2/sec47/manifests/1", 400),
        ("PATCH", "/v2/sec47/blobs/uploads/nothing", 404),
        ("POST", "/elsewhere", 404),
        ("OPTIONS", "/v2/", 200),
    ]:
        chunked = b"%x\r\n%b\r\n0\r\n\r\n" % (len(HIDDEN), HIDDEN)
        for sent, fields, body in (
            (HIDDEN, [LENGTH], HIDDEN),
            (HIDDEN, [CHUNKED], chunked),
            (b"G", [CHUNKED], b"1;x=y\r\nG\r\n0\r\nA: b\r\n\r\n"),
        ):
            line = f"{method} {target} HTTP/1.1".encode()
            found = talk(victim, post(*fields, body=body, line=line), request("GET", "/elsewhere"))
            # The next request is answered, or the connection closed: never anything in between.
            status = 400 if expected == 201 and digest != make.digest(sent) else expected
            assert statuses(found) in ([status, 404], [status]), (method, target, fields, found)
            assert b"smuggled" not in found


@pytest.mark.parametrize("field", ["Upgrade: h2c", "Upgrade: websocket", "Upgrade: TLS/1.0"])
def test_sec_47_an_upgrade_that_is_not_made_changes_nothing(victim: Served, field: str) -> None:
    raw = request("POST", "/v2/sec47/blobs/uploads/", field, "Connection: Upgrade, HTTP2-Settings", close=False)
    raw = raw[:-2] + LENGTH + b"\r\n\r\n" + HIDDEN
    found = talk(victim, raw, request("GET", "/elsewhere"))
    assert statuses(found) in ([202, 404], [202])
    assert b"smuggled" not in found


def test_sec_47_nothing_is_served_behind_a_refusal(victim: Served) -> None:
    """A manifest that is too large, an upload that does not exist, a header that is too large: then a request."""
    large = 5 * 1024 * 1024
    for raw, status in [
        (post(b"Content-Length: %d" % large, line=b"PUT /v2/sec47/manifests/1 HTTP/1.1"), 413),
        (post(b"Content-Length: %d" % large, line=b"PATCH /v2/sec47/blobs/uploads/1 HTTP/1.1"), 404),
        (post(b"X: " + b"x" * 70_000), 431),
        (
            post(b"Content-Length: %d" % large, b"Expect: 100-continue", line=b"PATCH /v2/a/blobs/uploads/1 HTTP/1.1"),
            404,
        ),
    ]:
        assert statuses(talk(victim, raw + HIDDEN * 3)) == [status]


def test_sec_47_an_early_answer_does_not_turn_the_rest_of_a_body_into_requests(victim: Served) -> None:
    """The refusal is out before the body has come; what then comes of it is body, to the byte."""
    line = b"POST /v2/sec47/blobs/uploads/?digest=md5:0 HTTP/1.1"
    with connect(victim) as one:
        one.sendall(post(b"Content-Length: %d" % (2 * len(HIDDEN)), line=line))
        assert statuses(one.recv(65536)) == [400]
        one.sendall(HIDDEN + HIDDEN + request("GET", "/elsewhere"))
        assert statuses(read_all(one)) == [404]


# Behind real proxies

NGINX = """
daemon off;
worker_processes 1;
pid {folder}/nginx.pid;
error_log {folder}/error.log;
events {{ worker_connections 256; }}
http {{
    access_log off;
    client_body_temp_path {folder}/body; proxy_temp_path {folder}/proxy; fastcgi_temp_path {folder}/f;
    uwsgi_temp_path {folder}/u; scgi_temp_path {folder}/s;
    client_max_body_size 0;
    upstream registry {{ server 127.0.0.1:{behind}; keepalive 1; }}
    server {{
        listen 127.0.0.1:{port};
        location / {{
            proxy_pass http://registry;
            proxy_http_version 1.1;
            proxy_set_header Connection "";
            proxy_set_header Host $http_host;
            proxy_request_buffering off;
            proxy_buffering off;
            proxy_next_upstream off;
        }}
    }}
}}
"""
HAPROXY = """
global
    maxconn 256
defaults
    mode http
    option http-keep-alive
    http-reuse always
    timeout connect 5s
    timeout client 5s
    timeout server 5s
frontend front
    bind 127.0.0.1:{port}
    default_backend registry
backend registry
    server one 127.0.0.1:{behind} pool-max-conn 1
"""


@contextmanager
def nginx(behind: int) -> Iterator[int]:
    with running(
        lambda folder, port: NGINX.format(folder=folder, port=port, behind=behind),
        lambda file, folder: [tool("nginx"), "-p", str(folder), "-c", str(file)],
    ) as port:
        yield port


@contextmanager
def haproxy(behind: int) -> Iterator[int]:
    with running(
        lambda _, port: HAPROXY.format(port=port, behind=behind),
        lambda file, _: [tool("haproxy"), "-db", "-f", str(file)],
    ) as port:
        yield port


@pytest.fixture(scope="module")
def behind(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    server = start(tmp_path_factory.mktemp("behind") / "data")
    yield server
    server.stop()


@pytest.mark.parametrize("proxy", [nginx, haproxy])
def test_sec_47_behind_a_proxy_nobody_gets_anothers_answer(behind: Served, proxy: Callable[[int], object]) -> None:
    """Each attack goes through the proxy's one connection to us; then others ask there, and get their own answers."""
    chunked = b"%x\r\n%b\r\n0\r\n\r\n" % (len(HIDDEN), HIDDEN)
    attacks = [*MALFORMED.values(), *(post(CHUNKED, body=body) for body in CHUNKS.values())]
    attacks += [
        post(LENGTH, body=HIDDEN),
        post(CHUNKED, body=chunked),
        post(LENGTH, body=HIDDEN, line=b"GET /v2/ HTTP/1.1"),
        post(CHUNKED, body=chunked, line=b"GET /v2/ HTTP/1.1"),
        post(CHUNKED, body=b"5;" + b"a" * 300 + b"\r\nhello\r\n0\r\n\r\n"),
        post(CHUNKED, body=b"0\r\nContent-Length: 50\r\n\r\n"),
        post(LENGTH, b"Upgrade: websocket", b"Connection: Upgrade", body=HIDDEN),
        post(LENGTH, b"Connection: Content-Length", body=HIDDEN),
        post(LENGTH, b"Expect: 100-continue", body=HIDDEN),
        post(b"Content-Length: 0", line=b"HEAD /v2/ HTTP/1.1"),
        post(b"Content-Length: 5000000", body=b"x" * 300_000, line=b"PUT /v2/sec47/manifests/1 HTTP/1.1"),
    ]
    before = behind.log.stat().st_size
    with proxy(behind.port) as port:  # type: ignore[attr-defined]
        for number, raw in enumerate(attacks):
            # What is malformed may leave a smuggled request only in the proxy's reading, as its own next request.
            with socket.create_connection(("127.0.0.1", port), 20) as one, suppress(OSError):
                one.sendall(raw)
                one.settimeout(0.1)
                one.recv(65536)
            for turn in range(2):
                mark = f"victim-{number}-{turn}"
                with httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=20, verify=False) as client:
                    answer = client.get(f"/v2/{mark}/tags/list", headers={"X-Request-Id": mark})
                assert answer.headers.get("X-Request-Id") == mark, (raw[:200], answer.status_code, answer.text)
                assert answer.status_code == 404
                assert mark in answer.text
    with behind.log.open() as lines:
        lines.seek(before)
        asked = {event.get("repo") for event in map(json.loads, lines) if event["msg"] == "request"}
    assert "smuggled" not in asked
    assert len([name for name in asked if str(name).startswith("victim-")]) == 2 * len(attacks)
