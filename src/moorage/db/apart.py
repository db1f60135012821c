"""A deed in a child process: what it imports and leaves in memory goes with it."""

import ctypes
import gc
import json
import os
import signal
import sys
from collections.abc import Callable
from typing import Any, BinaryIO, Final, NoReturn, TypeVar, TypeVarTuple

from moorage.errors import Code, RegistryError

T = TypeVar("T", str, bool)
Ts = TypeVarTuple("Ts")

_PR_SET_PDEATHSIG: Final = 1


def apart(deed: Callable[[*Ts], T], *args: *Ts) -> T:
    """Do `deed` in a child of this process, which is killed where this one ends first, and wait for its result.

    Raises the RegistryError that the deed raises, without its detail; UNAVAILABLE where the child is killed; and
    RuntimeError for what has no name.  The child is a fork: the deed uses no database that is open here.
    """
    parent = os.getpid()
    reading, writing = os.pipe()
    with os.fdopen(reading, "rb") as heard, os.fdopen(writing, "wb") as told:
        pid = os.fork()
        if not pid:
            _do(parent, told, deed, *args)
        told.close()
        words = heard.read()
    status = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    if status:
        how = f"status {status}" if status > 0 else f"signal {-status}, {signal.strsignal(-status)}"
        raise RegistryError(Code.UNAVAILABLE, f"a process that helped at the start ended early: {how}")
    code, said = json.loads(words)
    if code == _DONE:
        result: T = said
        return result
    raise RegistryError(Code[code], said) if code else RuntimeError(said)


def end_with(parent: int) -> bool:
    """Have this process killed when `parent`, which has forked it, ends.  False: it has ended already."""
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    return os.getppid() == parent


_DONE: Final = "done"


def _do(parent: int, told: BinaryIO, deed: Callable[[*Ts], object], *args: *Ts) -> NoReturn:
    """The life of the child."""
    status = 1
    try:
        if end_with(parent):
            # A terminal's SIGINT reaches every process; what it means is for the parent to say.
            signal.signal(signal.SIGINT, signal.SIG_IGN)
            gc.disable()  # for so short a life
            told.write(json.dumps(_outcome(deed, *args)).encode())
            told.flush()
            status = 0
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status)


def _outcome(deed: Callable[[*Ts], object], *args: *Ts) -> tuple[str, Any]:
    try:
        return _DONE, deed(*args)
    except RegistryError as error:
        return error.code.name, error.message
    except Exception as error:  # noqa: BLE001 - the parent raises it
        return "", f"{type(error).__name__}: {error}"
