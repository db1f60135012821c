"""Attacks that would make the registry a client (group C of the attack list): so far it is none."""

import json
import socket

import httpx

from tests import make
from tests.conftest import Served
from tests.security.tracing import traced


def test_sec_30_what_a_descriptor_says_of_other_places_is_never_fetched(victim: Served, honest: httpx.Client) -> None:
    make.push_blob(honest, "sec30/app", b"{}")
    with socket.create_server(("127.0.0.1", 0)) as trap, traced(victim, "connect,sendto,sendmsg") as seen:
        trap.setblocking(False)
        here = f"127.0.0.1:{trap.getsockname()[1]}"
        layer = make.descriptor(b"far away", "application/vnd.docker.image.rootfs.foreign.diff.tar.gzip")
        places = [f"http://{here}/layer", f"//{here}/", "http://169.254.169.254/", "file:///etc/passwd", "gopher://x/"]
        annotations = {"org.opencontainers.image.url": f"http://{here}/", "com.docker.foreign": f"http://{here}/"}
        body = json.loads(make.image(b"{}", annotations=annotations))
        body["layers"] = [layer | {"urls": places}]
        answer = honest.put("/v2/sec30/app/manifests/1", json=body, headers={"Content-Type": make.IMAGE})
        assert answer.status_code == 201
        for path in ("manifests/1", f"blobs/{layer['digest']}", f"referrers/{answer.headers['Docker-Content-Digest']}"):
            honest.get(f"/v2/sec30/app/{path}")
        honest.post(f"/v2/sec30/app/blobs/uploads/?mount={layer['digest']}&from={here}/x")
        honest.delete("/v2/sec30/app/manifests/1")
        try:
            trap.accept()
        except BlockingIOError:
            pass
        else:
            raise AssertionError("the registry fetched what a manifest points at")
    outgoing = [line for line in seen if "sin_addr" in line or "sin6_addr" in line]
    assert not [line for line in outgoing if "connect(" in line]
