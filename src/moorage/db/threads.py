"""A bounded number of threads, and work that would rather fail than wait for one too long."""

import asyncio
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar, TypeVarTuple, final

from moorage.errors import Code, RegistryError

T = TypeVar("T")
Ts = TypeVarTuple("Ts")


@final
class Threads:
    """`count` threads; work that has not begun after `patience` seconds raises UNAVAILABLE."""

    def __init__(self, name: str, count: int, patience: float) -> None:
        self._pool = ThreadPoolExecutor(count, thread_name_prefix=name)
        self._patience = patience
        self._closed = False

    async def run(self, fn: Callable[[*Ts], T], *args: *Ts) -> T:
        """Run `fn(*args)` in a thread.  Cancelled, it is abandoned: it may still run to its end."""
        if self._closed:
            raise RegistryError(Code.UNAVAILABLE, "the registry is shutting down; try again shortly")
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._pool, self._unless_late, time.monotonic(), fn, args)

    def _unless_late(self, since: float, fn: Callable[[*Ts], T], args: tuple[*Ts]) -> T:
        if time.monotonic() - since > self._patience:
            raise RegistryError(
                Code.UNAVAILABLE, "the registry's database is busy with earlier requests; try again shortly"
            )
        return fn(*args)

    def close(self) -> None:
        """Wait for what runs and waits; then refuse."""
        self._closed = True
        self._pool.shutdown(wait=True)
