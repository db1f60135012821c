"""One request and its answer.

The handler is stepped on the spot.  If it finishes without waiting, head and body leave in one write and no task
was ever made; if it waits, a task carries the started coroutine on.  Until its first wait a handler therefore runs
outside any task: what needs one (`asyncio.timeout`, anyio) comes after `await asyncio.sleep(0)`.
"""

import asyncio
import os
import types
from collections.abc import AsyncIterator, Coroutine, Generator
from contextlib import suppress
from contextvars import Context, copy_context
from time import monotonic
from typing import Any, final

from moorage.edge.http import FileRange, Handler, Request, Response, render
from moorage.edge.server import files
from moorage.edge.server.answers import Measure, content_length, is_bodiless
from moorage.edge.server.limits import MIB
from moorage.edge.server.wire import Wire, log
from moorage.errors import Code, Interrupted, RegistryError

CLIENT_GONE = 499
"""The status told to the observer where the client left before an answer; never sent."""


def _step(handler: Handler, request: Request) -> tuple[Coroutine[Any, Any, Response], Any]:
    """Go as far as the handler comes without waiting; gives what it waits for.  StopIteration has its answer."""
    coroutine = handler(request)
    return coroutine, coroutine.send(None)


@types.coroutine
def _carry_on(coroutine: Coroutine[Any, Any, Response], awaited: Any) -> Generator[Any, Any, Response]:
    """Run a coroutine that has been stepped already and now waits for `awaited`."""
    try:
        while True:
            try:
                sent = yield awaited
            except BaseException as thrown:  # noqa: BLE001 - cancellation and all: it is the coroutine's
                # A future keeps what it raised, that its traceback, and that this frame: with the future in it, all
                # that a failed request held (megabytes, where a manifest was refused) would wait for the collector.
                awaited = None
                awaited = coroutine.throw(thrown)
            else:
                awaited = coroutine.send(sent)
    except StopIteration as done:
        response: Response = done.value
        return response


@final
class Exchange:
    """Runs the handler for one request and sends what it answers."""

    __slots__ = ("_began", "_http10", "_keep", "_observed", "_sender", "_sent", "_streaming", "_wire", "request")

    def __init__(self, wire: Wire, request: Request, began: float, *, keep: bool, http10: bool) -> None:
        self.request = request
        self._wire = wire
        self._began = began
        self._keep = keep
        self._http10 = http10
        self._observed = wire.shared.observe is not None
        self._sent = False
        self._sender: files.FileSend | None = None
        self._streaming: asyncio.Task[None] | None = None

    @property
    def streaming(self) -> bool:
        """Whether the answer comes from an iterator, which may wait for long."""
        return self._streaming is not None

    def run(self) -> None:
        """Step the handler once.  In a context of its own, so that what it sets there stays with this request."""
        context = copy_context()
        try:
            coroutine, awaited = context.run(_step, self._wire.shared.handler, self.request)
        except StopIteration as done:
            self.answer(done.value)
        except (Interrupted, asyncio.CancelledError):
            self._fall_silent()
        except Exception:  # noqa: BLE001 - whatever a handler raises, the client gets an answer
            self._fail()
        else:
            self._start_task(self._finish(coroutine, awaited), context)

    def _start_task(self, work: Coroutine[Any, Any, None], context: Context | None = None) -> asyncio.Task[None]:
        task = self._wire.loop.create_task(work, context=context)
        self._wire.tasks.add(task)
        task.add_done_callback(self._wire.tasks.discard)
        return task

    async def _finish(self, coroutine: Coroutine[Any, Any, Response], awaited: Any) -> None:
        try:
            response = await _carry_on(coroutine, awaited)
        except (Interrupted, asyncio.CancelledError):
            self._fall_silent()
        except Exception:  # noqa: BLE001 - as in `run`
            self._fail()
        else:
            self.answer(response)

    def _fail(self) -> None:
        """In an `except` block: tell the log what happened and the client that something did."""
        self.answer(failed(self.request, "a handler failed"))

    def _fall_silent(self) -> None:
        self._wire.cut()
        self._over(Response(CLIENT_GONE), 0, keep=False)

    def refuse(self, response: Response, *, observed: bool) -> None:
        """Answer a request that was not fit for the handler, and close."""
        self._keep = False
        self._observed = self._observed and observed
        self.answer(response)

    def answer(self, response: Response) -> None:
        """Send an answer, at once or in turns; whatever it opened is closed in any case."""
        wire = self._wire
        if wire.gone:
            self._discard(response)
            self._over(response, 0, keep=False)
            return
        streamed = False
        try:
            streamed = not isinstance(response.body, bytes | FileRange)
            self._keep = wire.settle(streamed=streamed) and self._keep
            head = self._head(response)
        except Exception:
            if self._sent:
                raise
            self._sent = True
            self._discard(response)
            self.answer(failed(self.request, "an answer cannot be sent"))
            return
        self._send(response, head)

    def _send(self, response: Response, head: bytes) -> None:
        body = response.body
        if is_bodiless(self.request.method, response.status):
            self._discard(response)
            self._write(response, head, b"")
        elif isinstance(body, bytes):
            self._write(response, head, body)
        elif isinstance(body, FileRange):
            self._send_file(response, head, body)
        else:
            self._stream(response, head, body)

    def _head(self, response: Response) -> bytes:
        """Raises where the answer contradicts itself or HTTP."""
        length = content_length(self.request.method, response)
        framing = ""
        if length is not None:
            framing = f"Content-Length: {length}\r\n"
        elif not is_bodiless(self.request.method, response.status):
            if self._http10:
                self._keep = False
            else:
                framing = "Transfer-Encoding: chunked\r\n"
        if not self._keep:
            framing += "Connection: close\r\n"
        elif self._http10:
            framing += "Connection: keep-alive\r\n"
        return self._wire.shared.starts.head(response.status, response.headers, self.request.id, framing)

    def _write(self, response: Response, head: bytes, body: bytes | bytearray) -> None:
        transport = self._wire.transport
        if len(body) < MIB:
            transport.write(b"".join((head, body)))
        else:
            transport.write(head)
            transport.write(body)
        if len(body) > files.SMALL and self._wire.flow.write_paused:
            self._wire.shared.unsent.add(self._wire, len(body))
        self._over(response, len(body), keep=self._keep)

    def _send_file(self, response: Response, head: bytes, body: FileRange) -> None:
        wire = self._wire
        if body.count <= files.SMALL:
            small = files.read_resident(body)
            if small is not None:
                os.close(body.fd)
                self._write(response, head, small)
                return
        elif wire.plain and not wire.flow.write_paused:

            def done(sent: int, complete: bool) -> None:
                self._sender = None
                if not complete:
                    wire.cut()
                self._over(response, sent, keep=complete and self._keep)

            try:
                self._sender = files.FileSend(wire, head, body, done)
            except OSError:
                os.close(body.fd)
                wire.cut()
                self._over(response, 0, keep=False)
                return
            self._sender.turn()
            return
        self._stream(response, head, files.FilePieces(body, wire.loop, wire.shared.readers))

    def _stream(self, response: Response, head: bytes, pieces: AsyncIterator[bytes]) -> None:
        self._streaming = self._start_task(self._send_pieces(response, head, pieces))
        self._streaming.add_done_callback(lambda _: self._never_poured(response, pieces))

    def _never_poured(self, response: Response, pieces: AsyncIterator[bytes]) -> None:
        """A task that is cancelled before its first step runs nothing, not even its `finally`."""
        if self._streaming is not None:
            self._streaming = None
            self._start_task(close(pieces))
            self._wire.cut()
            self._over(response, 0, keep=False)

    async def _send_pieces(self, response: Response, head: bytes, pieces: AsyncIterator[bytes]) -> None:
        measure = Measure(response.length)
        complete = False
        try:
            self._wire.transport.write(head)
            await self._pour(response, pieces, measure)
            complete = True
        except (Interrupted, asyncio.CancelledError):
            pass
        except Exception:  # noqa: BLE001 - whatever an iterator raises, the connection must not end well
            log.exception("an answer broke off", path=self.request.path, request_id=self.request.id)
        finally:
            self._streaming = None
            await close(pieces)
            if not complete:
                self._wire.cut()
            self._over(response, measure.sent, keep=complete and self._keep)

    async def _pour(self, response: Response, pieces: AsyncIterator[bytes], measure: Measure) -> None:
        """Write the pieces as fast as the client takes them.  Raises where they are more or less than promised."""
        wire = self._wire
        chunked = response.length is None and not self._http10
        since_pause = 0
        async for piece in pieces:
            if not piece:
                continue
            measure.add(piece)
            wire.transport.write(b"%x\r\n%b\r\n" % (len(piece), piece) if chunked else piece)
            since_pause += len(piece)
            if wire.flow.write_paused:
                await wire.flow.drain()
                since_pause = 0
            elif since_pause > files.TURN:
                # An iterator that never waits, to a client that is never slow, would keep everybody else out.
                await asyncio.sleep(0)
                since_pause = 0
            if wire.gone:
                raise Interrupted
        measure.end()
        if chunked:
            wire.transport.write(b"0\r\n\r\n")

    def _over(self, response: Response, sent: int, *, keep: bool) -> None:
        """Tell the observer and the connection."""
        wire = self._wire
        if self._observed and wire.shared.observe is not None:
            try:
                wire.shared.observe(self.request, response, sent, monotonic() - self._began)
            except Exception:  # noqa: BLE001 - counting must not break serving
                log.exception("the observer failed")
        wire.over(keep=keep)

    def lost(self) -> None:
        """The client is gone: let go of what is being sent."""
        if self._sender is not None:
            self._sender.stop(complete=False)
        if self._streaming is not None:
            self._streaming.cancel()

    def _discard(self, response: Response) -> None:
        """Close a body that nobody will read."""
        body: bytes | FileRange | AsyncIterator[bytes] = getattr(response, "body", b"")
        if isinstance(body, FileRange):
            os.close(body.fd)
        elif not isinstance(body, bytes):
            self._start_task(close(body))


def failed(request: Request, what: str) -> Response:
    """In an `except` block: tell the log what happened, and the client that something did."""
    log.exception(what, method=request.method, path=request.path, request_id=request.id)
    return render(RegistryError(Code.UNKNOWN, request_id=request.id))


async def close(pieces: AsyncIterator[bytes]) -> None:
    """Have an iterator let go of what it holds.  Never raises."""
    aclose = getattr(pieces, "aclose", None)
    if aclose is not None:
        with suppress(Exception):
            await aclose()
