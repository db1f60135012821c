"""docs/errors.md says what is so."""

import re

from moorage.edge.http import STATUS
from moorage.errors import Code
from tests.conftest import ROOT


def test_every_code_has_one_line_with_its_status() -> None:
    lines = re.findall(r"^\| `([A-Z_]+)` \| (\d+) \|", (ROOT / "docs" / "errors.md").read_text(), re.MULTILINE)
    assert [(name, int(status)) for name, status in lines] == [(code.name, STATUS[code]) for code in Code]
