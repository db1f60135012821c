"""A server of its own for what is measured."""

from collections.abc import Iterator

import httpx
import pytest

from tests.conftest import Served, start


@pytest.fixture(scope="package")
def victim(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """A server that attacks are measured on; it must live to the end, and its log be without a traceback."""
    server = start(tmp_path_factory.mktemp("victim") / "data")
    yield server
    assert server.process.poll() is None
    server.stop()
    assert "Traceback" not in server.log.read_text()


@pytest.fixture
def honest(victim: Served) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=victim.url, timeout=60) as client:
        yield client
