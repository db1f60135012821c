"""end-2: blobs come back, whole and in parts."""

import httpx
import pytest

from tests import make


@pytest.mark.spec("end-2")
@pytest.mark.parametrize("size", [1000, 300_000], ids=["in a row", "in a file"])
def test_ranges_are_exact(client: httpx.Client, size: int) -> None:
    content = bytes(index * 7 % 251 for index in range(size))
    make.push_blob(client, "acme/ranges", content)
    place = f"/v2/acme/ranges/blobs/{make.digest(content)}"
    for asked, wanted in (("500-699", content[500:700]), ("-10", content[-10:]), ("990-", content[990:])):
        answer = client.get(place, headers={"Range": f"bytes={asked}"})
        assert (answer.status_code, answer.content) == (206, wanted)
    for asked in ("500-0", f"{size}-"):
        assert client.get(place, headers={"Range": f"bytes={asked}"}).status_code == 416
    several = client.get(place, headers={"Range": "bytes=0-9,20-29"})
    assert several.status_code == 206
    assert several.headers["Content-Type"].startswith("multipart/byteranges")
    assert content[20:30] in several.content
