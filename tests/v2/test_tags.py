"""end-8 and the catalog: names in pages."""

import httpx
import pytest

from tests import make


@pytest.mark.spec("end-8")
def test_pages_of_tags_are_cut_by_bytes(client: httpx.Client) -> None:
    names = ["B", "a", "A", "b", "_x", "1", "a.b", "a-b"]
    for name in names:
        make.push_image(client, "acme/tags", name, b"{}")
    found: list[str] = []
    place = "/v2/acme/tags/tags/list?n=3"
    while place:
        answer = client.get(place)
        found += answer.json()["tags"]
        place = answer.headers.get("Link", "").partition(">")[0].removeprefix("<")
    assert found == sorted(names)
    assert client.get("/v2/acme/tags/tags/list?n=0").json()["tags"] == []
    assert make.code(client.get("/v2/acme/tags/tags/list?n=-1")) == "PAGINATION_NUMBER_INVALID"
