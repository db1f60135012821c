"""Docker Registry's settings, in force over a real server."""

import json
import socket
from collections.abc import Callable

import httpx
import pytest

from tests import make
from tests.conftest import Served

Serve = Callable[..., Served]


def test_everything_moves_below_a_prefix_and_health_stays(serve: Serve) -> None:
    server = serve(REGISTRY_HTTP_PREFIX="/team/registry/")
    with httpx.Client(base_url=server.url) as client:
        assert client.get("/v2/").status_code == 404
        assert client.get("/readyz").status_code == 200
        assert client.get("/team/registry/v2/").status_code == 200
    with httpx.Client(base_url=f"{server.url}/team/registry") as client:
        begun = client.post("/v2/v2/app/blobs/uploads/")
        assert begun.headers["Location"].startswith("/team/registry/v2/v2/app/blobs/uploads/")
        content = b"x" * 100_000
        place = server.url + begun.headers["Location"]
        assert client.patch(place, content=content).headers["Location"] == begun.headers["Location"]
        blob = client.put(f"{place}?digest={make.digest(content)}").headers["Location"]
        assert blob == f"/team/registry/v2/v2/app/blobs/{make.digest(content)}"
        assert client.get(server.url + blob).content == content
        for tag in ("1", "2"):
            make.push_image(client, "v2/app", tag, b"{}")
        link = client.get("/v2/v2/app/tags/list?n=1").headers["Link"]
        assert link == '</team/registry/v2/v2/app/tags/list?last=1&n=1>; rel="next"'


def test_further_headers_are_on_every_answer(serve: Serve) -> None:
    headers = "{X-Content-Type-Options: [nosniff], Access-Control-Allow-Origin: ['*'], X-Twice: [a, b], Link: [no]}"
    with httpx.Client(base_url=serve(REGISTRY_HTTP_HEADERS=headers).url) as client:
        for tag in ("1", "2"):
            make.push_image(client, "acme/app", tag, b"{}")
        for path in ("/v2/", "/v2/nobody/tags/list", "/livez", "/nothing"):
            answer = client.get(path)
            assert answer.headers["Access-Control-Allow-Origin"] == "*"
            assert answer.headers.get_list("X-Twice") == ["a", "b"]
            assert answer.headers.get_list("X-Content-Type-Options") == ["nosniff"]
        assert client.get("/v2/acme/app/tags/list?n=1").headers.get_list("Link") == [
            '</v2/acme/app/tags/list?last=1&n=1>; rel="next"'
        ]
        asked = client.options("/v2/acme/app/manifests/1")
        assert (asked.status_code, asked.headers["Allow"]) == (200, "DELETE, GET, HEAD, PUT")
        assert asked.headers["Access-Control-Allow-Origin"] == "*"


def test_lists_are_no_longer_than_configured(serve: Serve) -> None:
    with httpx.Client(base_url=serve(REGISTRY_TAGS_MAXTAGS="2", REGISTRY_CATALOG_MAXENTRIES="2").url) as client:
        for name in ("a", "b", "c"):
            make.push_image(client, "acme/app", name, b"{}")
            make.push_image(client, f"acme/{name}", "1", b"{}")
        assert client.get("/v2/acme/app/tags/list?n=50").json()["tags"] == ["a", "b"]
        assert "n=2" in client.get("/v2/acme/app/tags/list?n=50").headers["Link"]
        # As in Docker Registry, the bound is for those who ask for a number.
        assert client.get("/v2/acme/app/tags/list").json()["tags"] == ["a", "b", "c"]
        assert client.get("/v2/_catalog").json()["repositories"] == ["acme/a", "acme/app"]
        assert client.get("/v2/_catalog?n=50").json()["repositories"] == ["acme/a", "acme/app"]


def push_index(client: httpx.Client, *platforms: str) -> httpx.Response:
    """An index whose children, one per platform, are not there."""
    children = []
    for platform in platforms:
        system, _, architecture = platform.partition("/")
        place = {"platform": {"os": system, "architecture": architecture}} if platform else {}
        children.append(make.descriptor(platform.encode(), make.IMAGE) | place)
    body = json.dumps({"schemaVersion": 2, "mediaType": make.INDEX, "manifests": children})
    return client.put("/v2/acme/app/manifests/1", content=body, headers={"Content-Type": make.INDEX})


LISTED = {
    "REGISTRY_VALIDATION_MANIFESTS_INDEXES_PLATFORMS": "list",
    "REGISTRY_VALIDATION_MANIFESTS_INDEXES_PLATFORMLIST_0_OS": "linux",
    "REGISTRY_VALIDATION_MANIFESTS_INDEXES_PLATFORMLIST_0_ARCHITECTURE": "amd64",
}


@pytest.mark.parametrize(
    ("environment", "accepted"),
    [
        ({}, [False, False, False]),
        ({"REGISTRY_VALIDATION_MANIFESTS_INDEXES_PLATFORMS": "list"}, [False, False, False]),
        (LISTED, [False, True, True]),
        ({"REGISTRY_VALIDATION_MANIFESTS_INDEXES_PLATFORMS": "none"}, [True, True, True]),
        ({"REGISTRY_VALIDATION_DISABLED": "true"}, [True, True, True]),
    ],
)
def test_the_manifests_of_an_index_that_must_be_there(
    serve: Serve, environment: dict[str, str], accepted: list[bool]
) -> None:
    with httpx.Client(base_url=serve(**environment).url) as client:
        found = [push_index(client, one).status_code == 201 for one in ("linux/amd64", "linux/arm64", "")]
        assert found == accepted
        if environment == LISTED:
            refused = push_index(client, "linux/arm64", "linux/amd64")
            assert refused.json()["errors"][0]["detail"]["missing"] == [make.digest(b"linux/amd64")]
        # Blobs have to be there all the same.
        sparse = client.put("/v2/acme/app/manifests/1", content=make.image(b"no"), headers={"Content-Type": make.IMAGE})
        assert make.code(sparse) == "MANIFEST_BLOB_UNKNOWN"


@pytest.mark.parametrize(
    ("environment", "accepted"),
    [
        ({}, [True, True, True]),
        ({"REGISTRY_VALIDATION_MANIFESTS_URLS_ALLOW": "['^https://go\\.example/', b]"}, [True, False, True]),
        ({"REGISTRY_VALIDATION_MANIFESTS_URLS_DENY": "example/x"}, [True, True, False]),
        (
            {
                "REGISTRY_VALIDATION_MANIFESTS_URLS_ALLOW": "^https://go",
                "REGISTRY_VALIDATION_MANIFESTS_URLS_DENY": "/x",
            },
            [True, False, False],
        ),
        (
            {"REGISTRY_VALIDATION_MANIFESTS_URLS_DENY": "example", "REGISTRY_VALIDATION_DISABLED": "true"},
            [True, True, True],
        ),
    ],
)
def test_urls_in_manifests_are_let_through_by_rules(
    serve: Serve, environment: dict[str, str], accepted: list[bool]
) -> None:
    with httpx.Client(base_url=serve(**environment).url) as client:
        assert make.push_blob(client, "acme/app", b"{}").status_code == 201
        found = []
        for url in ("https://go.example/a", "https://no.example/a", "https://go.example/x"):
            body = json.loads(make.image(b"{}", b"elsewhere"))
            body["layers"][0]["urls"] = [url]
            put = client.put("/v2/acme/app/manifests/1", content=json.dumps(body), headers={"Content-Type": make.IMAGE})
            assert put.status_code == 201 or "validation.manifests.urls" in put.text
            found.append(put.status_code == 201)
        assert found == accepted


def test_addresses_are_kept_out_of_either_listener_by_its_own_lists(serve: Serve) -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        aside = f"127.0.0.1:{free.getsockname()[1]}"
    server = serve(
        REGISTRY_HTTP_DENY="127.0.0.2",
        REGISTRY_HTTP_DEBUG_ADDR=aside,
        REGISTRY_HTTP_DEBUG_PROMETHEUS_ENABLED="true",
        REGISTRY_HTTP_DEBUG_ALLOW="[127.0.0.2, 192.0.2.0/24]",
        REGISTRY_HTTP_DEBUG_DENY="192.0.2.7",
        REGISTRY_HTTP_TRUSTED_PROXIES="127.0.0.9",
    )
    clients = {last: httpx.Client(transport=httpx.HTTPTransport(local_address=f"127.0.0.{last}")) for last in (1, 2, 9)}
    assert clients[1].get(f"{server.url}/livez").status_code == 200
    for _ in range(20):
        refused = clients[2].get(f"{server.url}/livez")
        assert (refused.status_code, make.code(refused)) == (403, "DENIED")
    refused = clients[1].get(f"http://{aside}/metrics")
    assert refused.status_code == 403
    assert "127.0.0.1 is not let in: http.debug.allow" in refused.json()["errors"][0]["message"]
    for last, address, status in [(9, "192.0.2.6", 200), (9, "192.0.2.7", 403), (1, "192.0.2.6", 403)]:
        answer = clients[last].get(f"http://{aside}/debug/health", headers={"X-Forwarded-For": address})
        assert answer.status_code == status
    counted = clients[2].get(f"http://{aside}/metrics").text
    assert 'registry_http_addresses_refused_total{listener="http"} 20.0' in counted
    assert 'registry_http_addresses_refused_total{listener="http.debug"} 3.0' in counted
    told = [line for line in map(json.loads, server.log.read_text().splitlines()) if "is not let in" in line["msg"]]
    assert [(line["address"], line["settings"], line["times"]) for line in told] == [
        ("127.0.0.2", "http", 1),
        ("127.0.0.1", "http.debug", 1),
    ], "not a line for each"
    for client in clients.values():
        client.close()
