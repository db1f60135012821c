"""The benchmark measures what it says it does."""

import json
import multiprocessing
import os
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest

from bench import usage
from bench.__main__ import _present, main
from bench.chart import chart
from bench.content import Blobs, digest_of
from bench.load import clients
from bench.report import machine, notes, ratios, table
from bench.rounds import Row, Sample, Stage, Unit, Workload
from bench.servers import PEERS, another, start
from bench.wire import Wrong

US = PEERS[0]

STAGES = {"pull", "push", "tags", "catalog", "referrers", "collection"}
STAGES |= {"reuse", "durability", "footprint", "crowd", "access"}

BURNER = """
import os, resource, sys, threading, time

def burn(seconds):
    stop = time.process_time() + seconds
    while time.process_time() < stop:
        sum(range(1000))

def say(*figures):
    print(*figures, flush=True)
    sys.stdin.readline()

say("ready")
burn(0.2)
thread = threading.Thread(target=burn, args=(0.2,))
thread.start()
thread.join()
pipe, ours = os.pipe()
living = os.fork()
if not living:
    burn(0.2)
    os.write(ours, str(time.process_time()).encode())
    time.sleep(60)
    os._exit(0)
gone = os.fork()
if not gone:
    burn(0.2)
    os._exit(0)
os.waitpid(gone, 0)
other = float(os.read(pipe, 100))
children = resource.getrusage(resource.RUSAGE_CHILDREN)
say(time.process_time() + other + children.ru_utime + children.ru_stime)
os.kill(living, 9)
"""


def test_cpu_is_that_of_all_threads_and_children_living_and_gone() -> None:
    with subprocess.Popen(
        [sys.executable, "-c", BURNER], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdin
        assert process.stdout
        assert process.stdout.readline() == "ready\n"
        before = usage.cpu_seconds(process.pid)
        process.stdin.write("\n")
        process.stdin.flush()
        told = float(process.stdout.readline())
        measured = usage.cpu_seconds(process.pid)
        process.stdin.write("\n")
        process.stdin.flush()
    assert measured == pytest.approx(told, abs=0.03)
    assert measured - before >= 0.75


def test_waiting_costs_nothing() -> None:
    before = usage.cpu_seconds(os.getpid())
    time.sleep(0.3)
    assert usage.cpu_seconds(os.getpid()) - before < 0.1


def test_a_peak_of_memory_is_seen_after_it_is_gone_and_can_be_forgotten() -> None:
    size = 64 * 2**20
    before = usage.resident_bytes(os.getpid())
    taken = b"\1" * size
    del taken
    assert usage.peak_bytes(os.getpid()) >= before + size * 0.9
    usage.forget_peak(os.getpid())
    assert usage.peak_bytes(os.getpid()) < before + size * 0.5


def test_clients_run_at_once_in_threads_and_processes() -> None:
    everybody = multiprocessing.get_context("fork").Barrier(4)

    def meet() -> float:
        everybody.wait(20)
        return 1.5

    load = clients([meet, meet], [meet, meet])
    assert load.ops == 6


def test_a_client_that_computes_is_busy_and_one_that_waits_is_not() -> None:
    def burn() -> float:
        stop = time.process_time() + 0.3
        while time.process_time() < stop:
            pass
        return 1

    assert clients([burn]).cpu == pytest.approx(0.3, abs=0.1)
    assert clients([lambda: time.sleep(0.3) or 1]).busy < 0.3


def test_a_client_that_fails_ends_the_run() -> None:
    def fail() -> float:
        raise Wrong("a wrong answer")

    with pytest.raises(Wrong, match="a wrong answer"):
        clients([fail], [lambda: 1])


def test_large_blobs_differ_and_have_the_digest_they_say() -> None:
    blobs = Blobs(3 * 2**20 + 1)
    one, other = blobs.new(), blobs.new()
    assert one.digest != other.digest
    assert digest_of(one.shared + one.own) == one.digest
    assert one.size == 3 * 2**20 + 1


def test_ratios_are_taken_round_by_round() -> None:
    mine = [Sample(10, cpu, 1, 0, 0) for cpu in (1, 2, 30)]
    theirs = [Sample(10, cpu, 1, 0, 0) for cpu in (2, 4, 50)]
    assert ratios(mine, theirs, Unit.MICROSECONDS) == pytest.approx([0.5, 0.5, 0.6])
    row = Row("pull", Workload("GET", Unit.MICROSECONDS, lambda *_: mine[0]), {US.name: mine, PEERS[-1].name: theirs})
    assert "**0.50** |" in table([row], PEERS)
    assert "200,000 ±725%" in table([row], PEERS)


def test_a_rate_is_better_when_higher_and_the_chart_leaves_it_out() -> None:
    mine, theirs = [Sample(300, 1, 2, 0, 0)], [Sample(100, 1, 2, 0, 0)]
    row = Row("rate", Workload("GET", Unit.RATE, lambda *_: mine[0]), {US.name: mine, PEERS[-1].name: theirs})
    assert "**3** |" in table([row], PEERS)
    assert "GET: 3 times distribution v3's." in notes([row], PEERS, machine(Path()))
    assert "GET" not in chart([row], PEERS)


def test_what_did_not_end_is_told_as_taking_longer() -> None:
    sample = Sample(1, 0, 60, 0, 0, unfinished=True)
    row = Row("collection", Workload("found", Unit.SECONDS, lambda *_: sample), {US.name: [sample]})
    assert " > 60 |" in table([row], [US])


def test_words_choose_workloads_and_stages() -> None:
    stage = Stage("pull", [Workload(name, Unit.IDLE, lambda *_: Sample(1, 0, 0, 0, 0)) for name in ("GET", "HEAD")])
    assert [one.title for one in stage.chosen(["HEAD"]).workloads] == ["HEAD"]
    assert len(stage.chosen(["pull"]).workloads) == len(stage.chosen([]).workloads) == 2
    assert not stage.chosen(["push"]).workloads


def test_another_peer_takes_the_place_of_one_with_its_name() -> None:
    mine = another("zot=sleep {port}")
    assert [peer.command for peer in _present("moorage,zot", [mine]) if peer.name == "zot"] == [mine.command]


def test_a_server_that_does_not_start_says_why(tmp_path: Path) -> None:
    broken = replace(US, command=(sys.executable, "-c", "print('no luck today')"))
    with pytest.raises(Wrong, match="no luck today"):
        start(broken, tmp_path)


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_a_tiny_round_fills_every_row_and_leaves_no_data(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--tiny", "--rounds", "1", "--results", str(tmp_path)]) == 0
    (document,) = tmp_path.glob("*.json")
    rows = json.loads(document.read_text())["rows"]
    printed = capsys.readouterr().out
    assert {row["stage"] for row in rows} >= STAGES
    assert {name for row in rows for name in row["samples"]} == {peer.name for peer in PEERS if peer.installed}
    for row in rows:
        (sample,) = row["samples"][US.name]
        assert sample["ops"] > 0
        assert not sample["unfinished"]
        if row["unit"] == "bytes":  # of what was there already
            assert row["medians"][US.name] == 0
        elif row["unit"] != "% of a core":
            assert row["medians"][US.name] > 0
        assert row["workload"] in printed
    assert {path.suffix for path in tmp_path.iterdir()} == {".json", ".md", ".svg"}
