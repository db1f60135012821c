"""Two replicas on either database, and a garden of images on them."""

import io
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.integrity.plant import Garden
from tests.model.nodes import Fleet


@pytest.fixture(autouse=True)
def _heard(told: io.StringIO) -> None:
    """Nothing of what is logged comes out among the tests."""


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
