"""Who may do what, over real HTTP: every endpoint, method, actor, credential and visibility, beside the reference."""

import time
from collections.abc import Iterator

import pytest

from moorage.edge.v2.table import ROWS
from tests.access import town as towns
from tests.access.mutants import MUTANTS
from tests.access.reference import Answer, needs
from tests.access.town import Town
from tests.access.walk import walk


@pytest.fixture(scope="module")
def town(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Town]:
    one = towns.build(tmp_path_factory.mktemp("town"))
    yield one
    if one.closed.served.process.poll() is None:
        one.closed.stop()


@pytest.mark.timeout(400)
def test_no_answer_of_the_matrix_is_wrong(town: Town, record_property) -> None:
    began = time.monotonic()
    outcome = walk(town, town.closed.served)
    record_property("cells", outcome.cells)
    print(f"\n{outcome.cells} cells in {time.monotonic() - began:.0f} s, {len(outcome.wrong)} wrong:", end=" ")
    print(", ".join(f"{count} {how.value}" for how, count in outcome.ends.items()))
    assert not outcome.wrong, "\n".join(outcome.wrong[:40])
    assert outcome.cells > 5_000
    assert outcome.ends.keys() == set(Answer), "every kind of answer has to occur"


def test_the_table_asks_for_what_each_endpoint_needs() -> None:
    for noun, row in ROWS.items():
        for method, (_, action) in row.methods.items():
            assert action.value == needs(noun, method), (noun, method)


@pytest.mark.timeout(400)
@pytest.mark.parametrize("name", MUTANTS)
def test_the_matrix_notices_a_broken_rule(town: Town, name: str) -> None:
    if town.closed.served.process.poll() is None:
        town.closed.stop()  # mutants serve the same data, one after the other
    served = town.mutant(name)
    try:
        assert walk(town, served, stop_at=3).wrong
    finally:
        served.stop()
