"""One connection: whose turn it is, what may be read, and when patience ends.

head ──▶ exchange ──▶ answer ──▶ head ──▶ …          one at a time, in order
  │         │            │
  │      body: through us, or (large) an Intake in our place
  ▼                      ▼
refusal ─────────────▶ linger: the answer is out, what still arrives is dropped, then closed
"""

import asyncio
import socket
import struct
from contextlib import suppress
from time import monotonic
from typing import Final, final

from uvicorn.server import ServerState

from moorage.access.certificates import Certificate
from moorage.edge.http import Body, Request, render
from moorage.edge.server.addressing import address
from moorage.edge.server.answers import CONTINUE
from moorage.edge.server.bodies import EMPTY, HIGH_WATER, STALLED, Incoming
from moorage.edge.server.chunks import Chunks
from moorage.edge.server.exchange import Exchange
from moorage.edge.server.framing import body_length, expects_continue
from moorage.edge.server.heads import HeadReader
from moorage.edge.server.intake import Intake
from moorage.edge.server.kernel import untaken
from moorage.edge.server.limits import KIB, MIB
from moorage.edge.server.wire import NEVER, Shared, log
from moorage.errors import Code, RegistryError

TAKEN_OVER: Final = 64 * KIB
"""A body of which more than this is still to come, or of unknown length has come, goes straight into a large buffer."""
DROPPED: Final = 256 * KIB
"""An unread rest of a body up to this size is read and dropped to keep the connection."""
LINGER_BYTES: Final = 8 * MIB
LINGER_SECONDS: Final = 5
LEAST: Final = 16 * KIB
"""What a body must bring in `body_seconds`, or come to its end: a byte a minute keeps no upload open."""
TURNS: Final = 16
"""Pipelined requests that are answered before other connections get their turn."""

_FOREIGN: Final = frozenset({"cross-site", "same-site"})
"""How browsers mark requests of other sites' pages, to which they add the certificate by themselves."""

_RESET: Final = struct.pack("ii", 1, 0)
"""SO_LINGER on, zero seconds: closing sends RST."""


@final
class Connection(HeadReader):
    """A client's connection, from its first byte to its last."""

    def __init__(self, shared: Shared, state: ServerState, loop: asyncio.AbstractEventLoop) -> None:
        super().__init__(state, loop, shared.limits.header_bytes)
        self.shared = shared
        self.plain = True
        self.gone = False
        self.flush_by = NEVER
        self._deadline = NEVER
        """When the client must have sent something (loop time)."""
        self._head_timed = False
        """Whether the deadline is that of a head which has begun."""
        self._peer = ""
        self._scheme = "http"
        self._trusted = False
        self._guarded = False
        """Whether each request has to be judged by the address it comes from."""
        self._certificate: Certificate | None = None
        self._seated = False
        self._exchange: Exchange | None = None
        self._body: Incoming | None = None
        self._left = 0
        """Bytes still to come of a body of known length."""
        self._chunks: Chunks | None = None
        self._patience = 0.0
        """How long the handler would wait for the next LEAST bytes of a body, or its end."""
        self._brought = 0
        """How many of those have come."""
        self._come = 0
        """Bytes of a chunked body that have come through us."""
        self._intake: Intake | None = None
        self._continue = False
        """Whether the client waits for `100 Continue` before it sends its body."""
        self._waiting = b""
        """What came behind the request that is being answered."""
        self._refused = False
        """Nobody can tell where the next request begins: what comes is dropped."""
        self._serving = False
        self._draining = False
        self._lingering = False
        self._eof = False
        self._dropped = 0
        self._unsent = 0
        """How much of an answer the client had not taken when that was last looked at."""

    # The transport's side

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self.plain = self.scheme == "http"
        self._scheme = self.scheme or "http"
        self._peer = self.client[0] if self.client else ""
        if not self._peer and transport.get_extra_info("socket").family != socket.AF_UNIX:
            # Reset before it was accepted.  What it sent may still be read, and must not pass for a Unix socket's.
            self.cut()
            return
        admission, limits = self.shared.admission, self.shared.limits
        self._trusted = self.shared.trust.trusts(self._peer)
        barred = admission.judges and not self._trusted and not admission.admits(self._peer)
        if self.shared.certificates and self.certified and not self._trusted:
            # What a proxy shows is its own, and says nothing of those it asks for.
            self._certificate = Certificate.of(transport.get_extra_info("peercert"))
        self._guarded = barred or (admission.judges and self._trusted)
        self._deadline = self.loop.time() + (limits.header_seconds if barred else limits.idle_seconds)
        if self.plain:
            # "Writable" then means that everything has left, which is what sendfile must know.
            transport.set_write_buffer_limits(0)
        self._seated = self.shared.seats.take()
        if not self._seated:
            self._refuse(RegistryError(Code.UNAVAILABLE, "the registry has too many connections"))

    def data_received(self, data: bytes) -> None:
        if self._lingering:
            self._drop(data)
            return
        if self._left or self._chunks is not None:
            data = self._body_received(data)
        if not data or self.transport.is_closing():
            return
        if self._exchange is not None or self.flow.write_paused or self._waiting:
            self._waiting += data
            self.flow.pause_reading()
        else:
            self._serve(data)

    def eof_received(self) -> bool:  # type: ignore[override]
        """The client sends no more.  It may still wait for its answers, unless that can take for ever."""
        self._eof = True
        exchange = self._exchange
        incomplete = self._left or self._chunks is not None
        if not self.plain or self._lingering or incomplete or (exchange is not None and exchange.streaming):
            return False
        return exchange is not None or bool(self._waiting)

    def connection_lost(self, exc: Exception | None) -> None:
        self.gone = True
        self._deadline = self.flush_by = NEVER
        self._waiting = b""
        self.shared.unsent.remove(self)
        if self._seated:
            self._seated = False
            self.shared.seats.leave()
        if self._intake is not None:
            self._intake.close()
            self._intake = None
        if self._body is not None:
            self._body.fail(None)
        super().connection_lost(exc)
        if self._exchange is not None:
            self._exchange.lost()

    def pause_writing(self) -> None:
        super().pause_writing()
        self.flush_by = self.loop.time() + self.shared.limits.send_seconds

    def resume_writing(self) -> None:
        super().resume_writing()
        self.flush_by = NEVER
        self.shared.unsent.remove(self)
        if self._exchange is None:
            self._go_on()

    # Requests

    def _serve(self, data: bytes) -> None:
        """Read heads and answer them, as far as that goes without waiting."""
        self._serving = True
        turns = 0
        while data:
            try:
                rest = self.read_head(data)
            except RegistryError as error:
                self._refuse(error)
                break
            if rest is None:
                if not self._head_timed:
                    self._head_timed = True
                    self._deadline = self.loop.time() + self.shared.limits.header_seconds
                break
            self._head_timed = False
            data = self._begin(rest)
            turns += 1
            if self._lingering or self.transport.is_closing():
                break  # what follows a request that ends the connection is no request
            if data and (self._exchange is not None or self.flow.write_paused or turns >= TURNS):
                self._waiting = data
                self.flow.pause_reading()
                if self._exchange is None:
                    self.loop.call_soon(self._go_on)
                break
        self._serving = False

    def _begin(self, rest: bytes) -> bytes:
        """Start the exchange for a complete head; gives what follows its body."""
        began = monotonic()
        self._deadline = NEVER
        offered = self.noted.get("x-request-id")
        ids = self.shared.ids
        request = Request(
            self.method,
            "",
            "",
            self.fields,
            EMPTY,
            self._peer,
            self._scheme,
            ids.accept(offered[0]) if offered else ids.fresh(),
        )
        if self._certificate is not None and request.header("sec-fetch-site") not in _FOREIGN:
            request.certificate = self._certificate
        exchange = Exchange(self, request, began, keep=self.wants_keep_alive, http10=self.version == "1.0")
        self._exchange = exchange
        try:
            address(request, self.url, self.version, self.noted, self.shared.trust, trusted=self._trusted)
            if self._guarded:
                self.shared.admission.check(request.peer)
            request.body = self._expect_body()
        except RegistryError as error:
            if not request.path and self.url.startswith(b"/"):
                # For the log, which must not have what stands in a query or, as a password, in front of a host.
                request.path = self.url.partition(b"?")[0].decode("latin-1")
            self._refused = True
            exchange.refuse(render(error), observed=True)
            return b""
        if rest and (self._left or self._chunks is not None):
            rest = self._body_received(rest)
        exchange.run()
        return rest

    def _expect_body(self) -> Body:
        self._continue = False
        if "content-length" not in self.noted and "transfer-encoding" not in self.noted:
            return EMPTY
        length = body_length(self.version, self.noted)
        if length == 0:
            return EMPTY
        self.parse_afresh()
        if length is None:
            self._chunks, self._come = Chunks(), 0
        else:
            self._left = length
        self._continue = expects_continue(self.version, self.noted)
        self._patience, self._brought = self.shared.limits.body_seconds, 0
        self._body = Incoming(self, self.shared.pool, length)
        return self._body

    def _refuse(self, error: RegistryError) -> None:
        """Answer what is not even a request, and close."""
        request = Request("", "", "", [], EMPTY, self._peer, self._scheme, self.shared.ids.fresh())
        self._exchange = Exchange(self, request, monotonic(), keep=False, http10=False)
        self._refused = True
        self._exchange.refuse(render(error), observed=False)

    # Bodies

    def _body_received(self, data: bytes) -> bytes:
        """Take what belongs to the body; gives what follows it."""
        body = self._body
        if self._chunks is None:
            piece = data if len(data) <= self._left else data[: self._left]
            self._left -= len(piece)
            if body is not None:
                body.backlog += piece
            rest = data[len(piece) :]
            ended = not self._left
        else:
            self._come += len(data)
            try:
                rest = self._chunks.feed(data, None if body is None else body.backlog)
            except RegistryError as error:
                self._body_failed(error)
                return b""
            ended = self._chunks.ended
            if ended:
                self._chunks = None
        if body is not None:
            self._bring(len(data) - len(rest))
            self._hand_on(body, ended=ended)
        return rest

    def _bring(self, count: int) -> None:
        """So many bytes of the body have come: time that was waited counts against the next, until they are enough."""
        self._brought += count
        if self._brought >= LEAST:
            self._brought, self._patience = 0, self.shared.limits.body_seconds
        elif self._deadline != NEVER:
            self._patience = max(0.0, self._deadline - self.loop.time())

    def _hand_on(self, body: Incoming, *, ended: bool) -> None:
        if body.waiting:
            self._deadline = NEVER
        if ended:
            body.end()
        else:
            body.wake()
            # What a large buffer will take over anyway need not be collected here while the handler is busy.
            if len(body.backlog) >= (TAKEN_OVER if self._is_large() else HIGH_WATER):
                self.flow.pause_reading()

    def _body_failed(self, error: RegistryError) -> None:
        self._deadline = NEVER
        if self._body is None:
            self._start_linger()
        else:
            self._body.fail(error.code, error.message)
            self.flow.pause_reading()

    def want_body(self) -> None:
        """The handler waits for more of its body."""
        if self._continue:
            self._continue = False
            self.transport.write(CONTINUE)
        if self._intake is None and self._is_large():
            assert self._body is not None
            self._intake = Intake(self, self._body, self.shared.pool, self._left, self._chunks)
            self.transport.set_protocol(self._intake)
        if self._intake is None or self._intake.begin():
            self.body_goes_on()
        else:
            self.flow.pause_reading()

    def body_goes_on(self) -> None:
        self._deadline = self.loop.time() + self._patience
        self.flow.resume_reading()

    def body_taken(self) -> None:
        if not self._is_large():
            self.flow.resume_reading()

    def _is_large(self) -> bool:
        return self.plain and (self._left > TAKEN_OVER or (self._chunks is not None and self._come > TAKEN_OVER))

    def body_arrives(self, count: int) -> None:
        self._bring(count)
        self._deadline = self.loop.time() + self._patience

    def body_pauses(self) -> None:
        self._bring(0)
        self._deadline = NEVER
        self.flow.pause_reading()

    def intake_ended(self, rest: bytes) -> None:
        """The body is complete, to the byte: what comes now is the next request."""
        self._deadline = NEVER
        self._left = 0
        self._chunks = self._intake = None
        self.transport.set_protocol(self)
        if rest:
            self.data_received(rest)

    def intake_failed(self, error: RegistryError) -> None:
        self._intake = None
        self.transport.set_protocol(self)
        self._body_failed(error)

    # Answers

    def settle(self, *, streamed: bool) -> bool:
        """What happens to a body that the handler did not read to its end."""
        if self._intake is not None and not streamed:
            self._intake.close()
            self._left = self._intake.left
            self._intake = None
            self.transport.set_protocol(self)
        unread = self._left > 0 or self._chunks is not None
        if streamed and unread:
            # The answer may come from the very body.
            return False
        if self._body is not None:
            self._body.abandon()
            self._body = None
        if self._draining or (self._eof and not self._waiting):
            return False
        if not unread:
            return True
        if self._chunks is not None or self._continue or self._left > DROPPED:
            return False
        self.flow.resume_reading()  # what was at hand of the body may have been enough to pause
        return True

    def over(self, *, keep: bool) -> None:
        """The exchange is over: on to the next request, or the end."""
        if self._exchange is None:
            return
        if self._body is not None:
            self.settle(streamed=False)
        self._exchange = None
        if self.gone:
            return
        if not keep or self._draining:
            self._close()
            return
        limits = self.shared.limits
        self._deadline = self.loop.time() + (limits.body_seconds if self._left else limits.idle_seconds)
        if not self._serving:
            self._go_on()

    def _go_on(self) -> None:
        """Nothing is being answered: take up what waits, or read on."""
        if self._exchange is not None or self._serving or self._lingering or self.gone or self.flow.write_paused:
            return
        data, self._waiting = self._waiting, b""
        if data and (self._left or self._chunks is not None):
            data = self._body_received(data)
        if data:
            self._serve(data)
        if self._waiting or self.gone or self.transport.is_closing():
            return
        if self._eof and self._exchange is None:
            self.transport.close()
        else:
            self.flow.resume_reading()

    def _close(self) -> None:
        """Close, so that the client gets to read what was sent."""
        unread = self._refused or self._left or self._chunks is not None or self._waiting
        if unread and not self._eof:
            self._start_linger()
        else:
            self.transport.close()

    def _start_linger(self) -> None:
        """Closing with unread bytes would reset the connection, and the answer with it: drop them for a while."""
        self._lingering = True
        self._waiting = b""
        self._deadline = self.loop.time() + LINGER_SECONDS
        if self.plain:
            with suppress(OSError):
                self.transport.write_eof()
        self.flow.resume_reading()

    def _drop(self, data: bytes) -> None:
        self._dropped += len(data)
        if self._dropped > LINGER_BYTES:
            self.transport.close()

    def cut(self) -> None:
        """Reset the connection: a client must not take what it has for the whole."""
        if self.gone:
            return
        self.gone = True
        with suppress(OSError, AttributeError):
            self.transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
        self.transport.abort()
        if self._exchange is not None:
            self._exchange.lost()

    @property
    def certified(self) -> bool:
        """Whether the client has shown a certificate, and TLS has verified it."""
        return bool(self.transport.get_extra_info("peercert"))

    # Time and shutdown

    def check(self, now: float) -> None:
        """Called in the server's rhythm: has the client's time run out?"""
        if self.flush_by != NEVER:
            self._check_taken(now)
        if now <= self._deadline:
            return
        self._deadline = NEVER
        if self._lingering:
            self.transport.close()
        elif self._body is not None:
            self._body.fail(Code.REQUEST_TIMEOUT, STALLED)
        elif self.partial and self._exchange is None and not self._left:
            self._refuse(RegistryError(Code.REQUEST_TIMEOUT, "the request's header did not arrive in time"))
        else:
            self.transport.close()

    def _check_taken(self, now: float) -> None:
        """Cut a client that takes nothing of its answer.  One that takes little wants it all the same."""
        unsent = self.transport.get_write_buffer_size() + untaken(self.transport)
        if unsent != self._unsent:
            self._unsent = unsent
            self.flush_by = now + self.shared.limits.send_seconds
        elif now > self.flush_by:
            log.info("a client takes nothing of its answer: cut", peer=self._peer)
            self.cut()

    def shutdown(self) -> None:
        """Finish what is begun, then close."""
        self._draining = True
        if self._exchange is None and not (self._lingering or self.partial or self._left or self._chunks is not None):
            self.transport.close()
