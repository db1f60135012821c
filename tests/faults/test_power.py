"""What was acknowledged is still there when the power comes back."""

from pathlib import Path

import pytest

from tests.faults.power import cuts, machine
from tests.faults.report import LONG, tally
from tests.faults.scenes import push_while_syncs_fail, resume_after_a_cut
from tests.faults.server import Launcher

pytestmark = [pytest.mark.fault, pytest.mark.timeout(7200 if LONG else 900), pytest.mark.usefixtures("disks")]

CUTS = {"same": 14, "separate": 16, "strict": 12, "postgresql": 9, "postgresql-separate": 9}
HALF = ("same", "separate", "strict")
"""Where half of them fall on registries that write on the spot."""

MORE = 9
"""How many times as many in the long run."""


@pytest.mark.parametrize("arrangement", CUTS)
def test_power_cuts_lose_nothing(
    request: pytest.FixtureRequest, registries: Launcher, quick_registries: Launcher, folder: Path, arrangement: str
) -> None:
    times = CUTS[arrangement] * (MORE if LONG else 1)
    quick = times // 2 if arrangement in HALF else 0
    with machine(registries, arrangement, folder / "machine") as built:
        seen = cuts(registries, built, folder / "history", times - quick, "cut")
        if quick:
            seen.add(cuts(quick_registries, built, folder / "quick", quick, "quick"))
    tally(request, seen.verdict, cuts=seen.cuts)
    assert seen.verdict.violations == []
    assert seen.cuts == times
    assert seen.verdict.acknowledged > times
    if arrangement == "strict":
        assert seen.lost > 0, "nothing was ever taken away"


@pytest.mark.parametrize("arrangement", ["separate", "strict"])
def test_an_upload_whose_bytes_were_lost_is_not_gone_on_with(
    request: pytest.FixtureRequest, registries: Launcher, folder: Path, arrangement: str
) -> None:
    with machine(registries, arrangement, folder / "machine") as built:
        verdict = resume_after_a_cut(registries, built, folder / "history", 3)
    tally(request, verdict, cuts=3)
    assert verdict.violations == []


@pytest.mark.parametrize("which", ["registries", "quick_registries"])
def test_nothing_is_acknowledged_that_could_not_be_synced(
    request: pytest.FixtureRequest, folder: Path, which: str
) -> None:
    registries: Launcher = request.getfixturevalue(which)
    with machine(registries, "separate", folder / "machine") as built:
        verdict = push_while_syncs_fail(registries, built, folder / "history")
    tally(request, verdict, cuts=1)
    assert verdict.violations == []
