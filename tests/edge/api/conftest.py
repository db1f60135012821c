import pytest

from tests.closed import Closed


@pytest.fixture(scope="module", params=["sqlite", "postgresql"])
def closed(request, tmp_path_factory):
    environment = {}
    if request.param == "postgresql":
        cluster = request.getfixturevalue("postgresql_server")
        environment["REGISTRY_DATABASE_URL"] = cluster.create(schema=False)
    one = Closed(tmp_path_factory.mktemp("closed"), "accounts:\n  signup: open\n", **environment)
    yield one
    one.stop()
