"""end-11: mounts."""

import httpx
import pytest

from tests import make


@pytest.mark.spec("end-11")
def test_a_mount_needs_no_bytes(client: httpx.Client) -> None:
    make.push_blob(client, "acme/from", b"shared")
    one = make.digest(b"shared")
    assert client.post(f"/v2/acme/to/blobs/uploads/?mount={one}&from=acme/from").status_code == 201
    assert client.get(f"/v2/acme/to/blobs/{one}").content == b"shared"
    assert client.post(f"/v2/acme/auto/blobs/uploads/?mount={one}").status_code == 201
    nowhere = make.digest(b"nowhere")
    assert client.post(f"/v2/acme/to/blobs/uploads/?mount={nowhere}&from=acme/from").status_code == 202
