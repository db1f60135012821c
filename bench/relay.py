"""Stands between a client and a server, and counts what the client asks and sends; nothing is timed through it."""

import http.client
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Final

_HOP: Final = frozenset({"connection", "content-length", "keep-alive", "transfer-encoding"})


class Relay(ThreadingHTTPServer):
    """What has passed so far: requests, and bytes of blobs that the client sent."""

    daemon_threads = True

    def __init__(self, port: int) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.behind = port
        self.requests = self.sent = 0

    @property
    def port(self) -> int:
        return self.server_port


@contextmanager
def relay(port: int) -> Iterator[Relay]:
    """A relay to the server on that port."""
    with Relay(port) as between:
        thread = threading.Thread(target=between.serve_forever)
        thread.start()
        try:
            yield between
        finally:
            between.shutdown()
            thread.join()


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Relay

    def _pass(self) -> None:
        """Keeps Host, so that clients are sent on to here and nowhere else."""
        body = self._body()
        self.server.requests += 1
        if "/blobs/uploads/" in self.path:
            self.server.sent += len(body)
        there = http.client.HTTPConnection("127.0.0.1", self.server.behind, timeout=60)
        asked = {name: value for name, value in self.headers.items() if name.lower() not in _HOP}
        there.request(self.command, self.path, body, asked)
        answer = there.getresponse()
        content = answer.read()
        there.close()
        self.send_response_only(answer.status, answer.reason)
        for name, value in answer.getheaders():
            if name.lower() not in _HOP:
                self.send_header(name, value)
        length = answer.getheader("Content-Length") if self.command == "HEAD" else str(len(content))
        self.send_header("Content-Length", length or "0")
        self.end_headers()
        self.wfile.write(content)

    do_GET = do_HEAD = do_POST = do_PUT = do_PATCH = _pass  # noqa: N815 - http.server calls them so

    def log_message(self, *_: object) -> None:
        """Clients that try TLS first are no news."""

    def _body(self) -> bytes:
        if self.headers.get("Transfer-Encoding") != "chunked":
            return self.rfile.read(int(self.headers.get("Content-Length", 0)))
        body = b""
        while size := int(self.rfile.readline(), 16):
            body += self.rfile.read(size)
            self.rfile.readline()
        self.rfile.readline()
        return body
