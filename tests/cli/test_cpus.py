"""How many workers `auto` means."""

import os

import pytest

from moorage.cli.cpus import usable_cpus

HERE = len(os.sched_getaffinity(0))


@pytest.mark.parametrize(
    ("text", "count"),
    [
        ("max 100000\n", HERE),
        ("100000 100000\n", 1),
        ("50000 100000\n", 1),
        ("250000 100000\n", min(2, HERE)),
        ("9900000 100000\n", HERE),
        ("strange\n", HERE),
        (None, HERE),
    ],
)
def test_a_quota_of_time_bounds_how_many_cpus_can_be_used(tmp_path, text, count):
    if text is not None:
        (tmp_path / "cpu.max").write_text(text)
    assert usable_cpus(tmp_path / "cpu.max") == count
