"""A registry that is killed again and again loses nothing that it acknowledged."""

from pathlib import Path

import pytest

from tests.databases import Server
from tests.faults.report import LONG, ready, tally
from tests.faults.server import Place
from tests.faults.storm import storm

pytestmark = [pytest.mark.fault, pytest.mark.timeout(7200 if LONG else 900)]

KILLS = 500 if LONG else 45

SLOWER = 8.0
"""How many times as long as a usual start the slowest of a hundred after a kill may take: 3 s where that takes 0.4."""


def weather(request: pytest.FixtureRequest, place: Place, folder: Path, names: str, kills: int = KILLS) -> None:
    seen = storm(place, folder / "history", kills, names)
    tally(request, seen.verdict, kills=seen.kills, clean=seen.clean, killed=seen.killed)
    assert seen.verdict.violations == []
    assert seen.kills == kills
    assert seen.verdict.acknowledged > seen.kills
    assert seen.verdict.unknown > seen.kills // 2, "the kills hit nobody at work"
    assert ready(seen.clean, seen.killed)["ratio"] < SLOWER


@pytest.mark.parametrize("part", ["first", "second", "third"])
def test_kills_at_random_moments_lose_nothing(request: pytest.FixtureRequest, folder: Path, part: str) -> None:
    weather(request, Place(folder / "data"), folder, part)


def test_kills_at_random_moments_lose_nothing_on_postgresql(
    request: pytest.FixtureRequest, folder: Path, own_server: Server
) -> None:
    weather(request, Place(folder / "data", url=own_server.create(schema=False)), folder, "pg")


def test_kills_of_several_processes_at_once_lose_nothing(request: pytest.FixtureRequest, folder: Path) -> None:
    weather(request, Place(folder / "data", {"REGISTRY_HTTP_WORKERS": "2"}), folder, "workers", KILLS // 2)
