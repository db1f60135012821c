"""Where time goes is told by the module that spent it, or the thread."""

from pathlib import Path

import pytest

from bench import shares
from tests.conftest import tool


@pytest.mark.parametrize(
    ("stack", "stage"),
    [
        ([("/x/moorage/db/prepared.py", "all"), ("/x/moorage/core/pull.py", "manifest")], shares.LOOK_UP),
        ([("/x/moorage/oci/names.py", "parse"), ("/x/moorage/edge/v2/routes.py", "_dispatch")], shares.ROUTE),
        ([("/x/moorage/edge/http.py", "header"), ("/x/moorage/access/rules.py", "permit")], shares.AUTHENTICATE),
        ([("/usr/lib/re.py", "match"), ("/x/moorage/edge/server/heads.py", "on_header")], shares.PARSE),
        ([("/x/moorage/edge/server/exchange.py", "_write")], shares.SEND),
        ([("/x/moorage/access/rules.py", "permit"), ("/x/moorage/edge/v2/routes.py", "f")], shares.AUTHENTICATE),
        ([("/usr/lib/asyncio/runners.py", "run"), ("/x/moorage/edge/server/server.py", "run")], shares.WAIT),
        ([], shares.WAIT),
    ],
)
def test_time_belongs_to_the_innermost_module_of_ours(stack: list[tuple[str, str]], stage: str) -> None:
    assert shares.stage_of(stack) == stage


def test_other_threads_have_their_own_stages() -> None:
    assert shares.stage_of_thread("moorage-writer") == shares.WRITE
    assert shares.stage_of_thread("bytes_3") == shares.STORE
    assert shares.stage_of_thread("moorage-password_0") == shares.BESIDE


def test_a_server_tells_where_its_time_goes(tmp_path: Path) -> None:
    tool("wrk")
    wanted = [one for one in shares.profiled() if one.title in {"GET manifest", "push an image"}]
    head, _, *lines = shares.shares(tmp_path, 1, wanted).splitlines()
    assert head == "| share of CPU time | GET manifest | push an image |"
    cells = {line.split("|")[1].strip(): [cell.strip(" %") for cell in line.split("|")[2:4]] for line in lines}
    reading, pushing = ([int(cells[stage][column]) for stage in shares.STAGES] for column in (0, 1))
    for stage in (shares.PARSE, shares.LOOK_UP, shares.SEND):
        assert reading[shares.STAGES.index(stage)] > 0, cells
    assert reading[shares.STAGES.index(shares.WRITE)] == 0, cells
    assert pushing[shares.STAGES.index(shares.WRITE)] > 0, cells
    assert all(90 <= sum(column) <= 110 for column in (reading, pushing)), cells
