"""What durability costs: syncs are counted, for time says little on a disk that is not yours."""

from dataclasses import replace
from pathlib import Path

import pytest

from bench.calls import counting
from bench.content import new_image
from bench.servers import PEERS, Server, start
from bench.workloads.durability import sync_first
from bench.workloads.verbs import push_image
from tests.conftest import tool

_JOBS = ("GC", "SCRUB", "STORAGE_MAINTENANCE_UPLOADPURGING")
US = replace(PEERS[0], environment=PEERS[0].environment | {f"REGISTRY_{job}_ENABLED": "false" for job in _JOBS})
"""Without jobs, which write now and then."""


def syncs(server: Server, size: int) -> int:
    image = new_image(size=size)
    with counting(server.pid, server.folder) as count, server.connect() as connection:
        push_image(connection, f"acme/app-{size}", "1.0", image)
    return count().total()


@pytest.mark.parametrize(
    ("size", "most"),
    [
        pytest.param(1024, 12, id="small layers: one for each of 11 blobs and the manifest"),
        pytest.param(65536, 32, id="larger ones: file, folder and commit for each of 10 layers"),
    ],
)
def test_an_image_costs_no_more_syncs_than_its_201s_need(tmp_path: Path, size: int, most: int) -> None:
    tool("strace")
    server = start(US, tmp_path / "server")
    try:
        sync_first(server)
        assert syncs(server, size) == most
    finally:
        server.discard()
