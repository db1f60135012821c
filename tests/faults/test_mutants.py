"""The harness notices registries that are broken on purpose: otherwise its silence would mean nothing."""

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.faults.acts import ACTS
from tests.faults.mutants import MUTANTS
from tests.faults.points import Scene, visit
from tests.faults.power import cuts, machine
from tests.faults.report import tally
from tests.faults.scenes import push_while_syncs_fail, resume_after_a_cut
from tests.faults.server import Launcher, Place, launcher
from tests.faults.storm import storm

pytestmark = [pytest.mark.fault, pytest.mark.timeout(900), pytest.mark.usefixtures("disks")]

Hunt = Callable[[Launcher, Path], list[str]]

ENOUGH = 8
"""Power cuts within which a mutant must have been noticed."""

STORMY = 15
"""Kills of a storm that must notice one."""


def by_cuts(arrangement: str) -> Hunt:
    def hunt(registries: Launcher, folder: Path) -> list[str]:
        with machine(registries, arrangement, folder / "machine") as built:
            return cuts(registries, built, folder / "history", ENOUGH, "cut", until_wrong=True).verdict.violations

    return hunt


def by_points(act: str, *only: str, every: int = 1) -> Hunt:
    def hunt(registries: Launcher, folder: Path) -> list[str]:
        scene = Scene(Place(folder / "data"), folder / "history")
        return visit(registries, scene, ACTS[act], only=only, every=every, until_wrong=True).verdict.violations

    return hunt


def by_kills(registries: Launcher, folder: Path) -> list[str]:
    return storm(Place(folder / "data"), folder / "history", STORMY, "mutant", registries.start).verdict.violations


def by_resuming(registries: Launcher, folder: Path) -> list[str]:
    with machine(registries, "separate", folder / "machine") as built:
        return resume_after_a_cut(registries, built, folder / "history", 2).violations


def by_failing_syncs(registries: Launcher, folder: Path) -> list[str]:
    with machine(registries, "separate", folder / "machine") as built:
        return push_while_syncs_fail(registries, built, folder / "history").violations


HUNTS: dict[str, tuple[Hunt, str]] = {
    "no-file-sync": (by_cuts("separate"), "O1"),
    "no-folder-sync": (by_cuts("strict"), "O1"),
    "synchronous-normal": (by_cuts("same"), "O1"),
    "answer-before-commit": (by_points("manifest", "pwrite64"), "O1"),
    "answer-on-the-spot": (by_points("manifest", "pwrite64"), "O1"),
    "row-before-bytes": (by_points("blob in one request"), "O4"),
    # Every fourth: the transaction in question writes more often than that.
    "unlinked-before-the-row": (by_points("collect", "pwrite64", every=4), "O4"),
    "key-reused": (by_points("collect", "unlink"), "O4"),
    "late-cancellation": (by_kills, "O1"),
    "failed-sync-ignored": (by_failing_syncs, "O1"),
    "state-trusted": (by_resuming, "O3"),
}


@pytest.mark.parametrize("name", MUTANTS)
def test_a_broken_registry_is_noticed(request: pytest.FixtureRequest, folder: Path, name: str) -> None:
    hunt, rule = HUNTS[name]
    with launcher(name) as registries:
        violations = hunt(registries, folder)
    caught = any(rule in one for one in violations)
    tally(request, mutants=1, caught=int(caught))
    assert caught, f"{MUTANTS[name].says}, and nobody noticed: {violations[:5]}"
