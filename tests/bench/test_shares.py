"""Where time goes is told by the module that spent it."""

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


def test_a_server_tells_where_its_time_goes(tmp_path: Path) -> None:
    tool("wrk")
    table = shares.shares(tmp_path, 1).splitlines()
    parts = {line.split("|")[1].strip(): int(line.split("|")[2].strip(" %")) for line in table[2:]}
    for stage in (shares.PARSE, shares.LOOK_UP, shares.SEND):
        assert parts[stage] > 0, table
    assert 95 <= sum(share for stage, share in parts.items() if stage in shares.STAGES) <= 105
