import pytest

from tests.closed import Closed


@pytest.fixture(scope="module")
def closed(tmp_path_factory):
    one = Closed(tmp_path_factory.mktemp("closed"), "accounts:\n  signup: open\n")
    yield one
    one.stop()
