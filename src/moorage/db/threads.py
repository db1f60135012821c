"""A bounded number of threads, and callers who would rather be refused than wait too long."""

import asyncio
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from typing import Any, TypeVar, TypeVarTuple, final

from moorage.errors import Code, RegistryError

T = TypeVar("T")
Ts = TypeVarTuple("Ts")


@final
class Threads:
    """`count` threads.  Callers are refused with UNAVAILABLE where their work has not begun after `patience`
    seconds, or has not ended after `limit`: a server that is frozen answers neither yes nor no.

    `doubt` is called for work that has begun and not ended after `patience`; those who wait for it can be refused
    with `give_up`.
    """

    def __init__(
        self,
        name: str,
        count: int,
        patience: float,
        limit: float | None = None,
        doubt: Callable[[], None] | None = None,
    ) -> None:
        self._pool = ThreadPoolExecutor(count, thread_name_prefix=name)
        self._patience = patience
        self._limit = limit
        self._doubt = doubt
        self._overdue: set[asyncio.Future[Any]] = set()
        self._closed = False

    async def run(self, fn: Callable[[*Ts], T], *args: *Ts) -> T:
        """Run `fn(*args)` in a thread.  Cancelled, it is abandoned: it may still run to its end."""
        if self._closed:
            raise shutting_down()
        loop = asyncio.get_running_loop()
        waiting: asyncio.Future[T] = loop.create_future()
        try:
            task = self._pool.submit(_work, loop, waiting, fn, args)
        except RuntimeError:  # closed meanwhile
            raise shutting_down() from None
        late = loop.call_later(self._patience, self._late, waiting, task)
        stuck = loop.call_later(self._limit, _refuse_stuck, waiting) if self._limit is not None else None
        try:
            return await waiting
        finally:
            self._overdue.discard(waiting)
            late.cancel()
            if stuck is not None:
                stuck.cancel()
            task.cancel()

    @property
    def overdue(self) -> bool:
        """Whether anybody waits for work that has taken longer than `patience`."""
        return bool(self._overdue)

    def give_up(self) -> None:
        """Refuse all who wait for such work; call it on their loop."""
        for waiting in list(self._overdue):
            _refuse_stuck(waiting)

    def _late(self, waiting: "asyncio.Future[Any]", task: "Future[None]") -> None:
        if waiting.done():
            return
        if task.cancel():
            waiting.set_exception(
                RegistryError(
                    Code.UNAVAILABLE, "the registry's database is busy with earlier requests; try again shortly"
                )
            )
        elif self._doubt is not None:
            self._overdue.add(waiting)
            self._doubt()

    def close(self) -> None:
        """Wait for what runs and waits; then refuse."""
        self._closed = True
        self._pool.shutdown(wait=True)


def _work(
    loop: asyncio.AbstractEventLoop, waiting: "asyncio.Future[Any]", fn: Callable[..., Any], args: tuple[Any, ...]
) -> None:
    value, error = None, None
    try:
        value = fn(*args)
    except BaseException as raised:  # noqa: BLE001 - it is delivered
        error = raised
    with suppress(RuntimeError):  # the loop is closed: nobody waits there any more
        loop.call_soon_threadsafe(_deliver, waiting, value, error)


def _deliver(waiting: "asyncio.Future[Any]", value: Any, error: BaseException | None) -> None:
    if waiting.done():
        return
    if error is None:
        waiting.set_result(value)
    elif isinstance(error, StopIteration):  # futures refuse it
        waiting.set_exception(RuntimeError(f"a function of rows raised {error!r}"))
    else:
        waiting.set_exception(error)


def _refuse_stuck(waiting: "asyncio.Future[Any]") -> None:
    if not waiting.done():
        waiting.set_exception(
            RegistryError(
                Code.UNAVAILABLE,
                "the registry's database has not answered for too long, so it is not known what it did; "
                "look, then try again",
            )
        )


def shutting_down() -> RegistryError:
    return RegistryError(Code.UNAVAILABLE, "the registry is shutting down; try again shortly")
