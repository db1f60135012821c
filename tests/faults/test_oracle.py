"""The oracle itself: what it takes for wrong, and that it shares nothing with the server."""

import ast
import itertools
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.faults.disks import Strict
from tests.faults.registers import Step, Value, cleared, explain, removed, seen, write
from tests.faults.report import ready

HERE = Path(__file__).parent


@pytest.mark.parametrize("name", ["history", "wire", "clients", "oracle", "registers", "rows", "server", "disks"])
def test_the_oracle_and_the_clients_share_no_code_with_the_server(name: str) -> None:
    tree = ast.parse((HERE / f"{name}.py").read_text())
    imported = [
        one.module or "" if isinstance(one, ast.ImportFrom) else one.names[0].name
        for one in ast.walk(tree)
        if isinstance(one, ast.Import | ast.ImportFrom)
    ]
    assert imported
    assert not [one for one in imported if one.partition(".")[0] == "moorage"]


def steps(*given: tuple[int, int, Callable[[Value], Value], bool]) -> list[Step]:
    return [
        Step(start, end, effect, certain, str(number)) for number, (start, end, effect, certain) in enumerate(given)
    ]


def test_what_one_order_explains_is_accepted() -> None:
    overlapping = steps((0, 10, write("a"), True), (5, 15, write("b"), True), (20, 21, seen("a"), True))
    assert explain(overlapping) is None


def test_a_read_of_what_was_overwritten_before_is_wrong() -> None:
    history = steps((0, 1, write("a"), True), (2, 3, write("b"), True), (4, 5, seen("a"), True))
    assert explain(history)


def test_an_acknowledged_write_that_is_lost_is_wrong() -> None:
    assert explain(steps((0, 1, write("a"), True), (4, 5, seen(None), True)))


def test_a_write_of_unknown_outcome_may_have_happened_or_not() -> None:
    for found in ("a", None):
        assert explain(steps((0, 3, write("a"), False), (4, 5, seen(found), True))) is None


def test_a_write_of_unknown_outcome_happens_once() -> None:
    history = steps((0, 9, write("a"), False), (10, 11, seen("a"), True), (12, 13, seen(None), True))
    assert explain(history)


def test_a_deletion_that_was_acknowledged_needs_something_to_delete() -> None:
    assert explain(steps((0, 1, removed, True)))
    assert explain(steps((0, 1, write("a"), True), (2, 3, removed, True), (4, 5, seen(None), True))) is None


def test_deleting_a_manifest_takes_only_its_own_tag() -> None:
    history = steps((0, 1, write("b"), True), (2, 3, cleared("a"), True), (4, 5, seen("b"), True))
    assert explain(history) is None


def test_no_read_goes_back_in_time() -> None:
    overlapping = (0, 100, write("b"), True)
    reads = [(10 * at, 10 * at + 5, seen(value), True) for at, value in enumerate(("b", "a"), start=2)]
    assert explain(steps((-2, -1, write("a"), True), overlapping, *reads))


def test_every_order_of_many_writers_is_found() -> None:
    for order in itertools.permutations("abcd"):
        writes = [(0, 50, write(value), True) for value in "abcd"]
        reads = [(60 + at, 60 + at, seen(order[-1]), True) for at in range(3)]
        assert explain(steps(*writes, *reads)) is None


def strict(folder: Path, *lines: str) -> Strict:
    disk = Strict(folder)
    disk.learn(f"7 {line.format(root=folder)}" for line in lines)
    return disk


CREATE = 'openat(AT_FDCWD</>, "x", O_WRONLY|O_CREAT, 0640) = 9<{root}/u/x>'
WRITE = 'pwrite64(9<{root}/u/x>, ""..., 4, 0) = 4'
SYNC = "fdatasync(9<{root}/u/x>) = 0"
NAME = "fsync(3<{root}/u>) = 0"


@pytest.mark.parametrize(
    ("lines", "left"),
    [
        ((CREATE, WRITE, SYNC, NAME), b"abcd"),
        ((CREATE, WRITE, SYNC), None),
        ((CREATE, WRITE, NAME), b""),
        ((CREATE, NAME, WRITE, SYNC), b"abcd"),
        ((CREATE, WRITE, SYNC.replace("= 0", "= -1 EIO (Input/output error) (INJECTED)"), NAME), b""),
        ((CREATE, WRITE, "fdatasync(9<{root}/u/x> <unfinished ...>", "<... fdatasync resumed>) = 0", NAME), b"abcd"),
        ((CREATE, WRITE, "fdatasync(9<{root}/u/x> <unfinished ...>", NAME), b""),
    ],
)
def test_a_strict_disk_keeps_what_was_synced_and_no_more(
    tmp_path: Path, lines: tuple[str, ...], left: bytes | None
) -> None:
    file = tmp_path / "u" / "x"
    file.parent.mkdir()
    file.write_bytes(b"abcd")
    strict(tmp_path, *lines).cut()
    assert (file.read_bytes() if file.exists() else None) == left


def test_the_slowest_of_a_hundred_starts_is_compared_with_the_usual_one() -> None:
    assert ready([1.0, 1.0, 9.0], [1.0] * 98 + [3.0, 7.0]) == {"clean": 1.0, "killed": 3.0, "ratio": 3.0}
