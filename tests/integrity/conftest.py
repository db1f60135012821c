"""Two replicas on either database, and a garden of images on them."""

import io
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from moorage.telemetry.log import _Sink, _State
from tests.integrity.plant import Garden
from tests.model.nodes import Fleet


@pytest.fixture(autouse=True)
def told(monkeypatch: pytest.MonkeyPatch) -> io.StringIO:
    """What is logged meanwhile."""
    stream = io.StringIO()
    monkeypatch.setattr(_State, "sink", _Sink(stream))
    monkeypatch.setattr(_State, "least", 0)
    return stream


@pytest.fixture
def garden(database_url: str, tmp_path: Path) -> Iterator[Callable[[int], Garden]]:
    fleet = Fleet(database_url, tmp_path / "store")
    fleet.start()

    def grow(count: int) -> Garden:
        planted = Garden(fleet)
        planted.grow(count)
        return planted

    yield grow
    fleet.end()
