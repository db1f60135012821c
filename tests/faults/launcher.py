"""Starts registries that need not be imported anew: `python -m tests.faults.launcher [VARIANT]`.

Every start forks this process, which has imported the program and run nothing of it, and runs the command in the
child as `python -m moorage` would.  It takes one JSON object a line and answers each with one:

    {"arguments": […], "environment": {…}, "log": path, "held": bool, "apart": bool, "lone": bool}   →  {"pid": 17}
    {"wait": 17}                                                                                     →  {"status": -9}

A child that is `held` stops itself before it has done anything, so that strace can take hold of it; with `apart` that
process does which it forks for the migration.  Its threads have their names in the kernel too: the crash points tell
them apart by these.  Pools of one that is `lone` have one thread each: which of several takes a piece of work, and
whether there are several at all, is chance.
"""

import gc
import importlib
import json
import os
import signal
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

USED = (
    "alembic.command",
    "moorage.app",
    "moorage.cli.commands",
    "moorage.cli.main",
    "moorage.cli.serve",
    "moorage.cli.server",
    "moorage.cli.start",
    "moorage.settings",
    "moorage.db.link",
    "moorage.db.migrate",
    "moorage.db.postgresql",
    "moorage.db.sqlite",
    "psycopg",
    "sqlalchemy.dialects.postgresql.psycopg",
    "sqlalchemy.dialects.sqlite.pysqlite",
)


def main() -> None:
    for name in USED:
        importlib.import_module(name)
    if len(sys.argv) > 1:
        from tests.faults.mutants import variant

        variant(sys.argv[1]).apply()
    gc.freeze()
    for line in sys.stdin:
        order = json.loads(line)
        if "wait" in order:
            _, status = os.waitpid(order["wait"], 0)
            answer = {"status": os.waitstatus_to_exitcode(status)}
        else:
            answer = {"pid": _fork(order)}
        print(json.dumps(answer), flush=True)


def _fork(order: dict[str, object]) -> int:
    pid = os.fork()
    if pid == 0:
        _be_registry(order)
    if order["held"]:
        os.waitpid(pid, os.WUNTRACED)
    return pid


def _be_registry(order: dict[str, object]) -> None:
    status = 1
    try:
        log = os.open(str(order["log"]), os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        nothing = os.open(os.devnull, os.O_RDONLY)
        os.dup2(nothing, 0)
        os.dup2(log, 1)
        os.dup2(log, 2)
        os.closerange(3, 64)
        os.environ.clear()
        os.environ.update(order["environment"])  # type: ignore[call-overload]
        sys.argv = ["moorage", *order["arguments"]]  # type: ignore[misc]
        if order["held"]:
            os.kill(os.getpid(), signal.SIGSTOP)
        if order["apart"]:
            _hold_migration()
        if order["lone"]:
            _one_thread_each()
        _name_threads()
        from moorage.cli.main import run

        run()
        status = 0
    except SystemExit as end:
        status = end.code if isinstance(end.code, int) else 1
        if isinstance(end.code, str):
            sys.stderr.write(f"{end.code}\n")
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status)


def _hold_migration() -> None:
    from moorage import app

    migrate = app._migrate

    def held(url: str) -> bool:
        os.kill(os.getpid(), signal.SIGSTOP)
        return migrate(url)

    app._migrate = held


def _one_thread_each() -> None:
    make = ThreadPoolExecutor.__init__

    def make_lone(self: ThreadPoolExecutor, *arguments: Any, **named: Any) -> None:
        make(self, *arguments, **named)
        self._max_workers = 1

    ThreadPoolExecutor.__init__ = make_lone  # type: ignore[method-assign]


def _name_threads() -> None:
    begin = threading.Thread.run

    def run(self: threading.Thread) -> None:
        Path(f"/proc/self/task/{threading.get_native_id()}/comm").write_text(self.name[:15])
        begin(self)

    threading.Thread.run = run  # type: ignore[method-assign]


if __name__ == "__main__":
    main()
