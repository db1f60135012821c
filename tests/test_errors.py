"""One enum, one table."""

from moorage.edge.http import STATUS
from moorage.errors import Code


def test_every_code_has_a_status() -> None:
    assert set(STATUS) == set(Code)
