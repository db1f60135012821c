"""What clients ask and send is counted by what stands between."""

from pathlib import Path

from bench.content import new_image
from bench.relay import relay
from bench.servers import PEERS, start
from bench.wire import Connection, chunked
from bench.workloads.verbs import check_manifest, push_image


def test_a_relay_counts_requests_and_bytes_of_blobs_however_they_come(tmp_path: Path) -> None:
    server = start(PEERS[0], tmp_path / "server")
    image = new_image(layers=1)
    try:
        with relay(server.port) as counted, Connection(counted.port, server.authorization) as connection:
            push_image(connection, "acme/app", "1", image)
            check_manifest(connection, "acme/app", "1", image.manifest)
            assert counted.requests == 2 * 4 + 1 + 1
            assert counted.sent == sum(blob.size for blob in image.blobs)
            location = connection.ask("POST", "/v2/acme/app/blobs/uploads/").want(202).location()
            assert location.startswith("/v2/")
            connection.ask_in_chunks("PATCH", location, (), chunked(b"x" * 50_000), chunked(b"")).want(202)
            assert counted.sent == sum(blob.size for blob in image.blobs) + 50_000
    finally:
        server.discard()
