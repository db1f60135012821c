"""`python -m bench`: run, print one table, write results/."""

import argparse
import os
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from bench.calls import has_strace
from bench.chart import chart
from bench.load import has_wrk
from bench.report import document, machine, notes, table
from bench.rounds import Run
from bench.servers import PEERS, ROOT, Peer, another
from bench.shares import shares
from bench.wire import Wrong
from bench.workloads import stages
from bench.workloads.crane import has_crane
from bench.workloads.scale import QUICK, TINY, Scale

_PROFILED = 8
"""Seconds."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run as the arguments say; 1 if an answer was wrong."""
    options = _options(arguments)
    scale = TINY if options.tiny else Scale()
    if options.full:
        scale = replace(scale, shared=max(scale.repositories))
    if options.quick:
        scale, options.rounds = QUICK, 1
    chosen = [stage for stage in (one.chosen(options.only) for one in stages(scale)) if stage.workloads]
    if options.list:
        for stage in chosen:
            for workload in stage.workloads:
                print(f"{stage.name:10} {workload.title}")
        return 0
    options.results.mkdir(parents=True, exist_ok=True)
    if options.profile:
        with tempfile.TemporaryDirectory(prefix="run-", dir=options.results) as folder:
            try:
                print(shares(Path(folder), _PROFILED))
            except Wrong as wrong:
                print(wrong, file=sys.stderr)
                return 1
        return 0
    peers = _present(options.peers, options.peer)
    _pin(options.pin)
    began = time.monotonic()
    try:
        with tempfile.TemporaryDirectory(prefix="run-", dir=options.results) as folder:
            facts = machine(Path(folder))
            run = Run(peers, Path(folder), options.rounds, 0 if options.pin else None)
            run.warm_up()
            rows = [row for stage in chosen for row in run.stage(stage)]
    except Wrong as wrong:
        print(f"the run is worth nothing: {wrong}", file=sys.stderr)
        return 1
    stamp = time.strftime("%Y%m%d-%H%M%S", time.gmtime())
    text = f"{table(rows, peers)}\n\n{notes(rows, peers, facts)}"
    (options.results / f"{stamp}.json").write_text(document(rows, peers, facts))
    (options.results / f"{stamp}.md").write_text(text + "\n")
    (options.results / f"{stamp}.svg").write_text(chart(rows, peers))
    print(f"\n{text}\n{time.monotonic() - began:.0f} s; every sample is in {options.results / stamp}.json")
    return 0


def _options(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="make bench ARGS=…", description="Moorage beside its peers, on this machine.")
    add = parser.add_argument
    add("--rounds", type=int, default=5, metavar="N", help="rounds (5)")
    add("--only", action="append", default=[], metavar="WORDS", help="only workloads whose line in --list has this")
    add("--peers", default="", metavar="NAME,…", help=f"only some of {', '.join(peer.name for peer in PEERS)}")
    add("--peer", action="append", type=another, default=[], metavar="NAME='COMMAND with {port} and {dir}'",
        help="another registry, which is to serve on that port out of that folder")  # fmt: skip
    add("--full", action="store_true", help="as many tags and repositories for peers too (many minutes more)")
    add("--pin", action="store_true", help="servers on core 0, clients on the others")
    add("--quick", action="store_true", help="less of everything, in one round: two minutes, rough figures")
    add("--tiny", action="store_true", help="very little of everything: does it work? Figures mean nothing")
    add("--profile", action="store_true", help="where the time of an operation goes, by stages; nothing else is run")
    add("--list", action="store_true", help="say what would be measured")
    add("--results", type=Path, default=ROOT / "results", metavar="FOLDER", help="where data and results go (results)")
    return parser.parse_args(arguments)


def _present(wanted: str, others: Sequence[Peer]) -> list[Peer]:
    """The peers to run, with a plain word about what is missing; the one that ratios are taken to stays last."""
    names = set(wanted.split(",") if wanted else [peer.name for peer in PEERS])
    unknown = names - {peer.name for peer in PEERS}
    if unknown:
        sys.exit(f"there is no peer {', '.join(sorted(unknown))}")
    own = {peer.name for peer in others}
    ours, *known = [peer for peer in PEERS if peer.name in names - own] or sys.exit("there is nobody to measure")
    peers = [ours, *known[:-1], *others, *known[-1:]]
    for peer in peers:
        if not peer.installed:
            print(f"{peer.title} is left out, for want of {peer.command[0]}: {peer.install}", file=sys.stderr)
    if not has_strace():
        print("strace is missing (apt-get install strace): syncs are not counted", file=sys.stderr)
    if not has_crane():
        print("crane is missing (make clients): it is not asked what it takes to push again", file=sys.stderr)
    if not has_wrk():
        print("wrk is missing (apt-get install wrk): small reads come from a slower client", file=sys.stderr)
    return [peer for peer in peers if peer.installed] or sys.exit("there is nobody to measure")


def _pin(wanted: bool) -> None:
    if wanted:
        others = os.sched_getaffinity(0) - {0}
        os.sched_setaffinity(0, others or {0})


if __name__ == "__main__":
    sys.exit(main())
