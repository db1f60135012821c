"""F15: two servers over one PostgreSQL and one blob folder, racing each other."""

import json
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from itertools import cycle
from pathlib import Path

import httpx
import pytest

from tests import make
from tests.conftest import Served
from tests.faults.matrix.conftest import QUICK_GC
from tests.faults.matrix.means import layer, until

Start = Callable[..., Served]
Connect = Callable[[Served], httpx.Client]
Pair = tuple[httpx.Client, httpx.Client]


@pytest.fixture
def blobs(tmp_path: Path) -> Path:
    return tmp_path / "blobs"


@pytest.fixture
def pair(registry: Start, connect: Connect, postgresql_url: str, tmp_path: Path, blobs: Path) -> Pair:
    """Clients of two servers that collect every fifth of a second."""
    environment = {
        **QUICK_GC,
        "REGISTRY_DATABASE_URL": postgresql_url,
        "REGISTRY_STORAGE_FILESYSTEM_ROOTDIRECTORY": str(blobs),
    }
    one, other = (connect(registry(tmp_path / name, **environment)) for name in ("one", "other"))
    return one, other


def test_f15_one_tag_moved_by_two_servers_is_a_register(pair: Pair) -> None:
    """Whoever reads what was acknowledged last finds that or something newer, on both servers."""
    one, other = pair
    make.push_image(one, "acme/app", "first", b"{}", b"l")
    bodies = [make.image(b"{}", b"l", annotations={"number": str(number)}) for number in range(60)]

    def move(numbered: tuple[int, httpx.Client]) -> None:
        number, client = numbered
        headers = {"Content-Type": make.IMAGE}
        assert client.put("/v2/acme/app/manifests/tag", content=bodies[number], headers=headers).status_code == 201
        assert client.get("/v2/acme/app/manifests/tag").content in bodies

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(move, zip(range(60), cycle(pair), strict=False)))
    headers = {"Content-Type": make.IMAGE}
    for client, reader in ((one, other), (other, one)):
        for body in bodies[:10]:
            assert client.put("/v2/acme/app/manifests/tag", content=body, headers=headers).status_code == 201
            assert reader.get("/v2/acme/app/manifests/tag").content == body


def test_f15_one_blob_pushed_to_two_servers_is_kept_once(pair: Pair, blobs: Path) -> None:
    content = layer(1, 2_000_000)

    def push(client: httpx.Client) -> int:
        return make.push_blob(client, "acme/app", content).status_code

    with ThreadPoolExecutor(8) as pool:
        assert set(pool.map(push, [*pair] * 4)) == {201}
    make.push_image(pair[0], "acme/app", "1", b"{}", content)
    until(lambda: len([one for one in blobs.glob("blobs/u/*/*") if one.is_file()]) == 1, 40)
    for client in pair:
        assert client.get(f"/v2/acme/app/blobs/{make.digest(content)}").content == content


def test_f15_one_manifest_pushed_to_two_servers_is_one(pair: Pair) -> None:
    make.push_image(pair[0], "acme/app", "first", b"{}", b"l")
    body = make.image(b"{}", b"l", annotations={"same": "everywhere"})

    def push(numbered: tuple[int, httpx.Client]) -> int:
        number, client = numbered
        url = f"/v2/acme/app/manifests/t{number}"
        return client.put(url, content=body, headers={"Content-Type": make.IMAGE}).status_code

    with ThreadPoolExecutor(8) as pool:
        assert set(pool.map(push, zip(range(24), cycle(pair), strict=False))) == {201}
    for number in range(24):
        assert pair[number % 2].get(f"/v2/acme/app/manifests/t{number}").content == body


def test_f15_one_upload_on_two_servers_has_one_writer_at_a_time(pair: Pair) -> None:
    pieces = [layer(number, 400_000) for number in range(8)]
    whole = b"".join(pieces)
    place = pair[0].post("/v2/acme/app/blobs/uploads/").headers["Location"]

    def write(numbered: tuple[int, httpx.Client]) -> int:
        number, client = numbered
        at = number * 400_000
        span = {"Content-Range": f"{at}-{at + 399_999}"}
        return client.patch(place, content=pieces[number], headers=span).status_code

    with ThreadPoolExecutor(6) as pool:
        for number in range(8):
            statuses = list(pool.map(write, [(number, client) for client in [*pair] * 3]))
            assert set(statuses) <= {202, 416}, statuses
            assert statuses.count(202) == 1, statuses
    finished = [client.put(f"{place}?digest={make.digest(whole)}").status_code for client in pair]
    assert finished == [201, 201]  # the second asks again for an answer it may have lost
    assert pair[1].get(f"/v2/acme/app/blobs/{make.digest(whole)}").content == whole


def test_f15_two_collectors_beside_pushes_take_nothing_that_was_promised(pair: Pair) -> None:
    """The same layers are pushed, deleted and pushed again while both servers collect."""
    shared = [layer(number, 100_000) for number in range(3)]

    def live(numbered: tuple[int, httpx.Client]) -> dict[str, bytes]:
        number, client = numbered
        kept = {}
        for turn in range(8):
            tag = f"c{number}-{turn}"
            body = make.push_image(client, "acme/app", tag, b"{}", *shared, annotations={"tag": tag})
            if turn % 2:
                kept[tag] = body
            else:
                assert client.delete(f"/v2/acme/app/manifests/{make.digest(body)}").status_code == 202
        return kept

    with ThreadPoolExecutor(6) as pool:
        lives = list(pool.map(live, zip(range(6), cycle(pair), strict=False)))
    for client in pair:
        for kept in lives:
            for tag, body in kept.items():
                assert client.get(f"/v2/acme/app/manifests/{tag}").content == body
                for one in json.loads(body)["layers"]:
                    pulled = client.get(f"/v2/acme/app/blobs/{one['digest']}")
                    assert make.digest(pulled.content) == one["digest"]
