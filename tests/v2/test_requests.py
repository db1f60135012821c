"""Addresses, methods, queries, and the shape of every refusal."""

import httpx
import pytest

from tests import make


@pytest.mark.parametrize("name", ["Acme/app", "acme//app", "acme/../app", "a" * 256, "acme/app-", "%E2%80%AE/x"])
def test_a_bad_name_is_refused(client: httpx.Client, name: str) -> None:
    answer = client.get(f"/v2/{name}/tags/list")
    assert answer.status_code in {400, 404}
    assert make.code(answer) in {"NAME_INVALID", "PATH_UNKNOWN", "REQUEST_INVALID", "NAME_UNKNOWN"}
