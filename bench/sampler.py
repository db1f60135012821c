"""`python -m bench.sampler FILE serve …`: the `moorage` command, which tells where it spends CPU time.

SIGUSR1 begins and ends it.  Meanwhile the kernel's profiling timer interrupts the process after every so much CPU
time; Python looks at the main thread's stack as soon as the call into C that was interrupted is over, so that SQLite's
time and the kernel's are their caller's.  A stack counts for what the main thread itself has used since the last look:
the time of other threads is had from their clocks.  In the end FILE has seconds by stack, innermost function first,
and seconds by thread.
"""

import dis
import json
import signal
import sys
import threading
import time
from collections import defaultdict
from pathlib import Path
from types import FrameType
from typing import Final

_EVERY: Final = 0.001
"""Seconds of CPU time; the kernel rounds it up to its own clock, often 4 ms."""
_ENTRY: Final = dis.opmap.get("RESUME")

_seen: defaultdict[tuple[tuple[str, str], ...], float] = defaultdict(float)
_threads: defaultdict[str, float] = defaultdict(float)
_main = {"since": 0.0}
"""What the main thread had used when it was last looked at."""


def _look(_: int, frame: FrameType | None) -> None:
    used = time.thread_time()
    spent, _main["since"] = used - _main["since"], used
    # A function that was about to begin has taken no time yet: what was interrupted is whoever called it.
    while frame is not None and frame.f_code.co_code[frame.f_lasti] == _ENTRY:
        frame = frame.f_back
    stack = []
    while frame is not None:
        stack.append((frame.f_code.co_filename, frame.f_code.co_name))
        frame = frame.f_back
    _seen[tuple(stack)] += spent


def _toggle(_: int, __: object) -> None:
    runs = signal.getitimer(signal.ITIMER_PROF)[1] > 0
    for thread in threading.enumerate():
        if thread.ident is not None and thread is not threading.main_thread():
            used = time.clock_gettime(time.pthread_getcpuclockid(thread.ident))
            _threads[thread.name] += used if runs else -used
    _main["since"] = time.thread_time()
    signal.setitimer(signal.ITIMER_PROF, 0 if runs else _EVERY, 0 if runs else _EVERY)


def main() -> None:
    """Run the command, and write in the end what was seen."""
    file = Path(sys.argv.pop(1))
    signal.signal(signal.SIGPROF, _look)
    signal.signal(signal.SIGUSR1, _toggle)
    from moorage.cli.main import run

    try:
        run()
    finally:
        file.write_text(json.dumps([list(_seen.items()), _threads]))


if __name__ == "__main__":
    main()
