"""Who may come in by where they come from, on real sockets."""

import asyncio
import json
import socket
import struct
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from moorage.edge.http import Request, Response
from moorage.edge.server import Admission, Limits, Server
from moorage.edge.server.networks import EVERYBODY
from moorage.edge.server.proxies import Trust
from moorage.errors import Code, RegistryError

ASK = b"GET / HTTP/1.1\r\nHost: here\r\n"


async def who(request: Request) -> Response:
    return Response(body=f"<{request.peer}>".encode())


@asynccontextmanager
async def serving(admission: Admission, *proxies: str, limits: Limits | None = None) -> AsyncIterator[tuple[int, str]]:
    """A server on a port and on a Unix socket."""
    server = Server(who, limits=limits, trusted_proxies=proxies, admission=admission)
    _, port = await server.listen("127.0.0.1", 0)
    path = f"/tmp/moorage-{port}.sock"
    await server.listen_unix(path)
    try:
        yield port, path
    finally:
        await server.drain(1)
        Path(path).unlink(missing_ok=True)


async def talk(port: int, sent: bytes, source: str = "127.0.0.1") -> bytes:
    """Send, and read until the server closes or three seconds are over."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port, local_addr=(source, 0))
    return await _exchange(reader, writer, sent)


async def talk_unix(path: str, sent: bytes) -> bytes:
    return await _exchange(*await asyncio.open_unix_connection(path), sent)


async def _exchange(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, sent: bytes) -> bytes:
    writer.write(sent)
    got = bytearray()
    try:
        async with asyncio.timeout(3):
            while piece := await reader.read(65536):
                got += piece
        got += b"<closed>"
    except TimeoutError:
        pass
    finally:
        writer.close()
    return bytes(got)


def ask(*headers: str, last: bool = True) -> bytes:
    return (
        ASK + "".join(f"{one}\r\n" for one in headers).encode() + (b"Connection: close\r\n" if last else b"") + b"\r\n"
    )


@pytest.mark.parametrize(
    ("allow", "deny", "let_in", "kept_out"),
    [
        ([], [], ["192.0.2.1", "2001:db8::1", "::ffff:192.0.2.1", ""], []),
        (["192.0.2.0/24"], [], ["192.0.2.1", "::ffff:192.0.2.1", ""], ["192.0.3.1", "2001:db8::1", "::1"]),
        (
            [],
            ["192.0.2.0/24"],
            ["192.0.3.1", "2001:db8::1", ""],
            ["192.0.2.255", "::ffff:192.0.2.1", "::FFFF:c000:0201"],
        ),
        (["192.0.2.0/24"], ["192.0.2.7"], ["192.0.2.6", "192.0.2.8"], ["192.0.2.7", "::ffff:192.0.2.7"]),
        (["192.0.2.7"], ["192.0.2.0/24", "0.0.0.0/0"], [""], ["192.0.2.7"]),
        (["2001:db8::/32", "fe80::/10"], [], ["2001:db8:1::1", "fe80::1%eth0"], ["2001:db9::1", "192.0.2.1"]),
        (["::ffff:192.0.2.0/120"], ["::ffff:192.0.2.7"], ["192.0.2.1", "::ffff:192.0.2.1"], ["192.0.2.7", "192.0.3.1"]),
        (["0.0.0.0/0"], [], ["192.0.2.1", "::ffff:192.0.2.1"], ["2001:db8::1"]),
        ([], ["::/0"], ["192.0.2.1", "::ffff:192.0.2.1"], ["2001:db8::1", "::1"]),
        ([], ["192.0.2.7"], ["192.0.2.6"], ["unknown", "localhost", "192.0.2", "0300.0.2.6"]),
    ],
)
def test_deny_wins_and_an_empty_allow_means_everybody(
    allow: list[str], deny: list[str], let_in: list[str], kept_out: list[str]
) -> None:
    admission = Admission(allow, deny)
    assert [peer for peer in let_in if not admission.admits(peer)] == []
    assert [peer for peer in kept_out if admission.admits(peer)] == []


def test_a_refusal_names_the_address_and_the_settings_and_lists_nothing() -> None:
    with pytest.raises(RegistryError) as caught:
        Admission(["198.51.100.0/24"], ["192.0.2.0/24"], "http.debug").check("192.0.2.7")
    error = caught.value
    assert error.code is Code.DENIED
    assert "192.0.2.7 is not let in: http.debug.allow and http.debug.deny decide" in error.message
    assert error.detail == {"address": "192.0.2.7"}
    assert "192.0.2.0" not in error.message
    assert "198.51.100" not in error.message


@pytest.mark.parametrize("text", ["10.0.0.0/33", "here", "", "unix", "10.0.0.1-10.0.0.9"])
def test_what_is_no_network_is_no_rule(text: str) -> None:
    with pytest.raises(ValueError, match="does not appear to be"):
        Admission([], [text])


async def test_who_is_kept_out_is_told_so_and_the_connection_closes() -> None:
    async with serving(Admission([], ["127.0.0.2"])) as (port, path):
        refused = await talk(port, ask(last=False) * 2, "127.0.0.2")
        assert refused.startswith(b"HTTP/1.1 403 ")
        assert refused.count(b"HTTP/1.1") == 1
        assert b"\r\nConnection: close\r\n" in refused
        assert refused.endswith(b"<closed>")
        body = json.loads(refused.partition(b"\r\n\r\n")[2].removesuffix(b"<closed>"))
        assert body["errors"][0]["code"] == "DENIED"
        assert "127.0.0.2 is not let in" in body["errors"][0]["message"]
        assert b"<127.0.0.1>" in await talk(port, ask())
        assert b"<>" in await talk_unix(path, ask())


async def test_a_unix_socket_is_always_let_in() -> None:
    async with serving(Admission(["192.0.2.1"], ["0.0.0.0/0", "::/0"])) as (port, path):
        assert b"HTTP/1.1 403 " in await talk(port, ask())
        assert b"<>" in await talk_unix(path, ask())


async def test_no_body_is_wanted_of_whoever_is_kept_out() -> None:
    async with serving(Admission([], ["127.0.0.2"])) as (port, _):
        head = b"PUT / HTTP/1.1\r\nHost: here\r\nContent-Length: 1000000\r\nExpect: 100-continue\r\n\r\n"
        refused = await talk(port, head, "127.0.0.2")
        assert refused.startswith(b"HTTP/1.1 403 ")
        assert b" 100 " not in refused


async def test_whoever_is_kept_out_and_says_nothing_holds_no_connection() -> None:
    async with serving(Admission([], ["127.0.0.2"]), limits=Limits(header_seconds=0.3)) as (port, _):
        began = time.monotonic()
        assert await talk(port, b"", "127.0.0.2") == b"<closed>"
        assert time.monotonic() - began < 2.5, "it need not wait as long as between two requests"


async def test_nobody_lets_himself_in_by_a_header() -> None:
    claims = ["X-Forwarded-For: 127.0.0.1", "Forwarded: for=127.0.0.1", "X-Real-IP: 127.0.0.1"]
    async with serving(Admission([], ["127.0.0.2"]), "192.0.2.1") as (port, _):
        assert b"HTTP/1.1 403 " in await talk(port, ask(*claims), "127.0.0.2")
        assert b"<127.0.0.1>" in await talk(port, ask("X-Forwarded-For: 127.0.0.2"))


async def test_behind_a_trusted_proxy_each_request_is_judged_by_its_own_client() -> None:
    async with serving(Admission(["192.0.2.0/24"], ["192.0.2.7"]), "127.0.0.1", "10.0.0.9", "unix") as (port, path):
        both = ask("X-Forwarded-For: 192.0.2.6", last=False) + ask("X-Forwarded-For: 192.0.2.7", last=False)
        for answer in (await talk(port, both), await talk_unix(path, both)):
            assert b"<192.0.2.6>" in answer
            assert b"192.0.2.7 is not let in" in answer
            assert answer.endswith(b"<closed>")
        for claim, admitted in [
            ("192.0.2.7, 192.0.2.6", True),  # what stands left of the client is its own claim
            ("192.0.2.6, 192.0.2.7", False),
            ("192.0.2.6, 10.0.0.9", True),
            ("192.0.2.7, 10.0.0.9", False),
            ("::ffff:192.0.2.7", False),
            ("192.0.2.6:4711", True),
            ("192.0.2.7:4711", False),
            ("[::ffff:192.0.2.7]:4711", False),
            ("[::ffff:c000:0206]", True),
            ("unknown", False),
            ("192.0.2.6, unix:", False),
        ]:
            for answer in (
                await talk(port, ask(f"X-Forwarded-For: {claim}")),
                await talk_unix(path, ask(f"X-Forwarded-For: {claim}")),
            ):
                assert (b"HTTP/1.1 200 " in answer) is admitted, (claim, answer)
        assert b"127.0.0.1 is not let in" in await talk(port, ask()), "the proxy asks for itself"


async def test_a_peer_is_judged_once_for_its_connection_and_never_where_nothing_is_set() -> None:
    admission = Admission(["127.0.0.0/8"])
    async with serving(admission) as (port, _):
        assert (await talk(port, ask(last=False) * 9 + ask())).count(b"<127.0.0.1>") == 10
        seen = admission.admits.cache_info()
        assert seen.hits + seen.misses == 1
    before = EVERYBODY.admits.cache_info()
    async with serving(EVERYBODY) as (port, _):
        assert b"<127.0.0.1>" in await talk(port, ask())
        assert EVERYBODY.admits.cache_info() == before


async def test_a_connection_that_was_reset_before_it_was_accepted_is_no_unix_socket() -> None:
    """Such a one has no address any more, but what it sent can still be read: a blind way around every rule."""
    seen: list[str] = []

    async def note(request: Request) -> Response:
        seen.append(request.peer)
        return Response()

    server = Server(note, trusted_proxies=("unix",), admission=Admission(["192.0.2.1"]))
    _, port = await server.listen("127.0.0.1", 0)
    try:
        for _ in range(20):  # none of them lets the loop accept before the reset
            one = socket.create_connection(("127.0.0.1", port))
            one.sendall(ask("X-Forwarded-For: 192.0.2.1"))
            one.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            one.close()
        await asyncio.sleep(0.3)
        for _ in range(50):
            if server.connections:
                await asyncio.sleep(0.1)
        assert seen == []
        assert server.connections == 0
    finally:
        await server.drain(1)


def test_an_address_is_read_as_proxies_write_it() -> None:
    trust = Trust(["::ffff:10.0.0.0/104"])
    assert trust.trusts("10.1.2.3")
    assert trust.trusts("::ffff:10.1.2.3")
    assert not trust.trusts("11.0.0.1")
    for hop, client in [
        ("192.0.2.1", "192.0.2.1"),
        ("192.0.2.1:80", "192.0.2.1"),
        ("[2001:DB8::1]:80", "2001:db8::1"),
        ("2001:db8::1", "2001:db8::1"),
        ("::ffff:192.0.2.1", "192.0.2.1"),
        ("<script>", "unknown"),
    ]:
        assert trust.client("10.0.0.1", "http", {"x-forwarded-for": [hop]})[0] == client
