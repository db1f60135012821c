"""Deeds in a child: their results and refusals come back, and nothing else stays."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from moorage.db.apart import apart, begin
from moorage.errors import Code, RegistryError


def test_a_result_comes_back_and_what_was_changed_does_not() -> None:
    changed: list[int] = []

    def deed(word: str) -> str:
        changed.append(1)
        return word.upper()

    assert apart(deed, "wört") == "WÖRT"
    assert changed == []


def test_what_was_begun_goes_on_meanwhile(tmp_path: Path) -> None:
    met = tmp_path / "met"

    def meet() -> bool:
        until = time.monotonic() + 10
        while not met.exists() and time.monotonic() < until:
            time.sleep(0.01)
        return met.exists()

    wait = begin(meet)
    met.touch()
    assert wait()


def refuse() -> bool:
    raise RegistryError(Code.STORAGE_FULL, "the disk is full", disk="/")


def test_a_refusal_keeps_its_code_and_its_sentence() -> None:
    with pytest.raises(RegistryError) as refused:
        apart(refuse)
    assert (refused.value.code, refused.value.message) == (Code.STORAGE_FULL, "the disk is full")


def fail() -> bool:
    raise LookupError("nothing there")


def test_another_failure_is_told_in_its_words() -> None:
    with pytest.raises(RuntimeError, match=r"^LookupError: nothing there$"):
        apart(fail)


def die() -> bool:
    os.kill(os.getpid(), signal.SIGKILL)
    return True


def test_a_child_that_is_killed_is_no_success() -> None:
    with pytest.raises(RegistryError, match="ended early: signal 9, Killed") as refused:
        apart(die)
    assert refused.value.code is Code.UNAVAILABLE


WAIT = """
import os, time
from moorage.db.apart import apart, begin

def wait():
    print(os.getpid(), flush=True)
    time.sleep(60)
    return True

apart(wait)
"""


def test_a_child_is_killed_with_its_parent() -> None:
    parent = subprocess.Popen([sys.executable, "-c", WAIT], stdout=subprocess.PIPE, text=True)
    assert parent.stdout
    child = Path("/proc") / parent.stdout.readline().strip()
    assert child.exists()
    parent.kill()
    parent.communicate()
    until = time.monotonic() + 10
    while child.exists() and (child / "stat").read_text().rpartition(")")[2].split()[0] != "Z":
        assert time.monotonic() < until
        time.sleep(0.01)
