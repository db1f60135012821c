"""Builders of small real content."""

import hashlib
import json

import httpx

IMAGE = "application/vnd.oci.image.manifest.v1+json"
INDEX = "application/vnd.oci.image.index.v1+json"


def digest(content: bytes, algorithm: str = "sha256") -> str:
    return f"{algorithm}:{hashlib.new(algorithm, content).hexdigest()}"


def descriptor(content: bytes, media_type: str) -> dict[str, object]:
    return {"mediaType": media_type, "digest": digest(content), "size": len(content)}


def image(config: bytes, *layers: bytes, **extra: object) -> bytes:
    return json.dumps(
        {
            "schemaVersion": 2,
            "mediaType": IMAGE,
            "config": descriptor(config, "application/vnd.oci.image.config.v1+json"),
            "layers": [descriptor(one, "application/vnd.oci.image.layer.v1.tar") for one in layers],
            **extra,
        }
    ).encode()


def push_blob(client: httpx.Client, name: str, content: bytes) -> httpx.Response:
    return client.post(f"/v2/{name}/blobs/uploads/?digest={digest(content)}", content=content)


def push_image(
    client: httpx.Client, name: str, reference: str, config: bytes, *layers: bytes, **extra: object
) -> bytes:
    for one in (config, *layers):
        assert push_blob(client, name, one).status_code == 201
    body = image(config, *layers, **extra)
    answer = client.put(f"/v2/{name}/manifests/{reference}", content=body, headers={"Content-Type": IMAGE})
    assert answer.status_code == 201, answer.text
    return body


def code(answer: httpx.Response) -> str:
    return str(answer.json()["errors"][0]["code"])


def refused(answer: httpx.Response, status: int, name: str) -> dict[str, object]:
    """The error of an answer that must be a refusal in the specification's form; gives its detail."""
    assert answer.status_code == status, (answer.status_code, answer.text[:500])
    assert answer.headers["Content-Type"] == "application/json"
    assert answer.headers["Docker-Distribution-API-Version"] == "registry/2.0"
    assert list(answer.json()) == ["errors"]
    (error,) = answer.json()["errors"]
    assert error["code"] == name, error
    assert error["message"].isprintable()
    assert error["detail"], error
    return dict(error["detail"])
