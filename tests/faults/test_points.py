"""Wherever a registry is killed while it does something, it is done as a whole or not at all."""

from pathlib import Path

import pytest

from tests.faults.acts import ACTS
from tests.faults.points import Scene, leaks, visit
from tests.faults.report import LONG, tally
from tests.faults.server import Launcher, Place
from tests.faults.starts import SOME, old_registry, visit_start

pytestmark = [pytest.mark.fault, pytest.mark.timeout(1800), pytest.mark.usefixtures("strace")]

PATIENCE = 60.0

BRIEF = ("small blob in one request", "blob in its last request", "manifest", "tag", "delete tag", "mount", "heal")
"""Acts whose 201 is a brief write."""

BOTH = ("manifest", "tag", "heal")
"""Those that are also done in the writer's thread, where all are in the long run."""


@pytest.mark.parametrize("name", ACTS if LONG else [one for one in ACTS if one not in BRIEF or one in BOTH])
def test_no_kill_at_any_call_leaves_something_half_done(
    request: pytest.FixtureRequest, registries: Launcher, folder: Path, name: str
) -> None:
    """In the writer's thread: a registry that was just started does not know yet whether its disk is quick."""
    _visit(request, registries, folder, name)


@pytest.mark.parametrize("name", BRIEF)
def test_no_kill_at_any_call_of_the_loop_leaves_something_half_done(
    request: pytest.FixtureRequest, quick_registries: Launcher, folder: Path, name: str
) -> None:
    _visit(request, quick_registries, folder, name)


def _visit(request: pytest.FixtureRequest, registries: Launcher, folder: Path, name: str) -> None:
    scene = Scene(Place(folder / "data"), folder / "history")
    points = visit(registries, scene, ACTS[name])
    points.verdict.violations += leaks(registries, scene, PATIENCE)
    tally(request, points.verdict, points=len(points.visited))
    assert points.verdict.violations == []
    assert len(points.visited) > 15
    assert points.verdict.operations > len(points.visited)


@pytest.mark.parametrize("before", ["old schema", "nothing"])
def test_no_kill_at_any_call_of_a_start_leaves_something_half_done(
    request: pytest.FixtureRequest, registries: Launcher, folder: Path, before: str
) -> None:
    template = old_registry(registries, folder / "old") if before == "old schema" else None
    points = visit_start(registries, template, folder / "copy", most=10_000 if LONG else SOME)
    tally(request, points.verdict, points=len(points.visited))
    assert points.verdict.violations == []
    assert len(points.visited) > 50
    assert sum("of the migration" in one for one in points.visited) > 10
