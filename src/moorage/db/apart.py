"""A deed in a child process: what it imports and leaves in memory goes with it."""

import ctypes
import gc
import json
import os
import signal
import sys
from collections.abc import Callable
from typing import BinaryIO, Final, NoReturn, TypeVar, TypeVarTuple

from moorage.errors import Code, RegistryError
from moorage.telemetry import finish

T = TypeVar("T")
Ts = TypeVarTuple("Ts")

_PR_SET_PDEATHSIG: Final = 1


def apart(deed: Callable[[*Ts], T], *args: *Ts) -> T:
    """Do `deed` in a child of this process, and wait for its result, which JSON can say.

    Raises a RegistryError that the deed raises, without its detail; what else it raises is a RuntimeError in its words.
    Raises UNAVAILABLE where the child is killed.  It is, where this process ends first.  The child is a fork: the deed
    uses no database that is open here.
    """
    return begin(deed, *args)()


def begin(deed: Callable[[*Ts], T], *args: *Ts) -> Callable[[], T]:
    """The same, with the result to be waited for later: by what this gives, once."""
    parent = os.getpid()
    reading, writing = os.pipe()
    with os.fdopen(writing, "wb") as told:
        pid = os.fork()
        if not pid:
            _do(parent, told, deed, *args)

    def wait() -> T:
        with os.fdopen(reading, "rb") as heard:
            words = heard.read()
        status = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
        if status:
            how = f"status {status}" if status > 0 else f"signal {-status}, {signal.strsignal(-status)}"
            raise RegistryError(Code.UNAVAILABLE, f"a process that helped at the start ended early: {how}")
        result, code, failure = json.loads(words)
        if failure is not None:
            raise RegistryError(Code[code], failure) if code is not None else RuntimeError(failure)
        found: T = result
        return found

    return wait


def end_with(parent: int) -> bool:
    """Have this process killed when `parent`, which has forked it, ends.  False: it has ended already."""
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    return os.getppid() == parent


def _do(parent: int, told: BinaryIO, deed: Callable[[*Ts], object], *args: *Ts) -> NoReturn:
    """The life of the child."""
    status = 1
    try:
        if end_with(parent):
            # A terminal's SIGINT reaches every process; what it means is for the parent to say.
            signal.signal(signal.SIGINT, signal.SIG_IGN)
            gc.disable()  # for so short a life
            told.write(_outcome(deed, *args))
            told.flush()
            status = 0
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        finish()
        os._exit(status)


def _outcome(deed: Callable[[*Ts], object], *args: *Ts) -> bytes:
    result, code, failure = None, None, None
    try:
        result = deed(*args)
    except RegistryError as refused:
        code, failure = refused.code.name, refused.message
    except Exception as failed:  # noqa: BLE001 - the parent raises it
        failure = f"{type(failed).__name__}: {failed}"
    return json.dumps([result, code, failure]).encode()
