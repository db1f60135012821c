"""`python -m bench.sampler FILE serve …`: the `moorage` command, which tells where its main thread spends CPU time.

SIGUSR1 begins and ends it.  Meanwhile the kernel's profiling timer interrupts the process after every so much CPU
time; Python looks at the stack as soon as the call into C that was interrupted is over, so that SQLite's time and the
kernel's are their caller's.  In the end FILE has every stack that was seen, innermost function first, and how often.
"""

import dis
import json
import signal
import sys
from collections import Counter
from pathlib import Path
from types import FrameType
from typing import Final

_EVERY: Final = 0.001
"""Seconds of CPU time; the kernel rounds it up to its own clock, often 4 ms."""
_ENTRY: Final = dis.opmap.get("RESUME")

_seen: Counter[tuple[tuple[str, str], ...]] = Counter()


def _look(_: int, frame: FrameType | None) -> None:
    # A function that was about to begin has taken no time yet: what was interrupted is whoever called it.
    while frame is not None and frame.f_code.co_code[frame.f_lasti] == _ENTRY:
        frame = frame.f_back
    stack = []
    while frame is not None:
        stack.append((frame.f_code.co_filename, frame.f_code.co_name))
        frame = frame.f_back
    _seen[tuple(stack)] += 1


def _toggle(_: int, __: object) -> None:
    runs = signal.getitimer(signal.ITIMER_PROF)[1] > 0
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
        file.write_text(json.dumps(list(_seen.items())))


if __name__ == "__main__":
    main()
