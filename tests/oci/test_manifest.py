"""What a manifest says, and why one is refused."""

import json
from typing import Any

import pytest

from moorage.errors import Code, RegistryError
from moorage.oci import mediatypes
from moorage.oci.digest import Digest
from moorage.oci.manifest import Manifest, Role
from tests import make

CONFIG = make.descriptor(b"{}", "application/vnd.oci.image.config.v1+json")
LAYER = make.descriptor(b"layer", "application/vnd.oci.image.layer.v1.tar+gzip")


def image(**fields: Any) -> bytes:
    """An image manifest with some fields replaced; None takes a field away."""
    document = {"schemaVersion": 2, "mediaType": make.IMAGE, "config": CONFIG, "layers": [LAYER]} | fields
    return json.dumps({key: value for key, value in document.items() if value is not None}).encode()


def index(**fields: Any) -> bytes:
    return json.dumps({"schemaVersion": 2, "mediaType": make.INDEX, "manifests": []} | fields).encode()


def reason(body: bytes, content_type: str | None = None) -> str:
    with pytest.raises(RegistryError) as refused:
        Manifest.parse(body, content_type)
    assert refused.value.code is Code.MANIFEST_INVALID
    assert refused.value.detail["reason"] in refused.value.message
    return str(refused.value.detail["reason"])


REFUSED = {
    "empty": (b"", "it is empty"),
    "byte order mark": (b"\xef\xbb\xbf" + image(), "byte order mark"),
    "UTF-16": (image().decode().encode("utf-16"), "not UTF-8"),
    "cut short": (image()[:-1], "not JSON"),
    "followed by more": (image() + b"{}", "not JSON"),
    "a list": (b"[]", "not a JSON object"),
    "too deep": (b'{"a":' * 100_000, "nested too deeply"),
    "the same key twice": (b'{"schemaVersion": 2, "config": {"size": 1, "size": 2}}', "the key 'size' twice"),
    "infinity": (b'{"schemaVersion": 2, "x": Infinity}', "Infinity is not a JSON number"),
    "a number of 5000 digits": (b'{"schemaVersion": ' + b"2" * 5000 + b"}", "5000 digits"),
    "half of a surrogate pair": (image(annotations={"a": "\ud800"}), "not UTF-8"),
    "no version": (image(schemaVersion=None), "'schemaVersion' must be 2"),
    "version 1": (image(schemaVersion=1), "'schemaVersion' must be 2"),
    "version 2.0": (image().replace(b'"schemaVersion": 2', b'"schemaVersion": 2.0'), "'schemaVersion' must be 2"),
    "version as text": (image(schemaVersion="2"), "'schemaVersion' must be 2"),
    "schema 1 by its fields": (image(fsLayers=[], history=[]), "old schema 1; push with a current client"),
    "another spelling": (image(Layers=[]), "'Layers' must be spelled 'layers'"),
    "a spelling that only Go reads": (image().replace(b"layers", "layer\u017f".encode()), "be spelled 'layers'"),
    "another spelling in a descriptor": (image(config=CONFIG | {"Digest": "x"}), "'Digest' must be spelled 'digest'"),
    "image and index": (image(manifests=[]), "of an image, but is an index or has 'manifests'"),
    "index and image": (index(layers=[]), "of an image, but is an index or has 'manifests'"),
    "no config": (image(config=None), "needs a 'config'"),
    "layers that are no list": (image(layers={}), "'layers' is not a list"),
    "a layer that is no descriptor": (image(layers=["x"]), "'layers[0]' is not a descriptor"),
    "no digest": (image(layers=[{"mediaType": "a/b", "size": 1}]), "'layers[0]' has no 'digest'"),
    "an unknown digest": (image(layers=[LAYER | {"digest": "md5:" + "a" * 32}]), "unsupported algorithm"),
    "no media type": (image(layers=[LAYER | {"mediaType": ""}]), "'layers[0]' has no 'mediaType'"),
    "NUL in a media type": (image(config=CONFIG | {"mediaType": "a/\0b"}), "control characters"),
    "an endless media type": (image(config=CONFIG | {"mediaType": "a" * 2000}), "more than 1024 characters"),
    "a size of 1e3": (image().replace(b'"size": 5', b'"size": 1e3'), "'layers[0]' has no 'size' that is a whole"),
    "a negative size": (image(layers=[LAYER | {"size": -1}]), "'layers[0]' has no 'size' that is a whole"),
    "a size of 2**63": (image(layers=[LAYER | {"size": 2**63}]), "'layers[0]' has no 'size' that is a whole"),
    "a size of true": (image(layers=[LAYER | {"size": True}]), "'layers[0]' has no 'size' that is a whole"),
    "a size as text": (image(layers=[LAYER | {"size": "5"}]), "'layers[0]' has no 'size' that is a whole"),
    "no size": (image(layers=[{key: LAYER[key] for key in ("mediaType", "digest")}]), "'layers[0]' has no 'size'"),
    "urls that are text": (image(layers=[LAYER | {"urls": "https://x.example"}]), "not a list of strings"),
    "urls that are false": (image(layers=[LAYER | {"urls": False}]), "not a list of strings"),
    "an empty subject": (image(subject={}), "'subject' has no 'mediaType'"),
    "a subject that is text": (image(subject=""), "'subject' is not a descriptor"),
    "annotations that are a list": (image(annotations=[]), "'annotations' is not an object of strings"),
    "a number as annotation": (image(annotations={"a": 1}), "'annotations' is not an object of strings"),
    "a number as artifact type": (image(artifactType=1), "'artifactType' is not a string"),
    "NUL in the artifact type": (image(artifactType="a\0b"), "control characters"),
    "too many layers": (image(layers=[LAYER] * 10_001), "'layers' has 10001 descriptors; 10000 are the most"),
    "a media type that is none": (image(mediaType="text/html"), "'text/html' is not a manifest's; accepted are"),
    "a media type that is a number": (image(mediaType=2), "'mediaType' is not a string"),
}


@pytest.mark.parametrize(("body", "said"), REFUSED.values(), ids=REFUSED.keys())
def test_a_bad_manifest_is_refused_with_the_reason(body: bytes, said: str) -> None:
    assert said in reason(body)


def test_header_and_document_must_agree() -> None:
    assert "Content-Type is 'application/json', but 'mediaType' is" in reason(image(), "application/json")
    assert "belongs to an index" in reason(index(mediaType=None).replace(b"null", b'""'), make.IMAGE)
    assert Manifest.parse(image(mediaType=None), f"{make.IMAGE}; charset=utf-8").media_type == make.IMAGE
    assert Manifest.parse(image(mediaType=None), None).media_type == make.IMAGE
    assert Manifest.parse(index(), "").media_type == make.INDEX


@pytest.mark.parametrize("media_type", sorted(mediatypes.SCHEMA_1))
def test_schema_1_is_refused_by_its_name(media_type: str) -> None:
    assert "old schema 1 are not accepted; push with a current client" in reason(b'{"schemaVersion": 1}', media_type)


def test_what_is_legal_is_accepted() -> None:
    unknown = {"mediaType": "application/x-unknown; v=1", "digest": make.digest(b"s", "sha512"), "size": 1}
    parsed = Manifest.parse(
        image(subject=unknown, config=CONFIG | {"mediaType": "text/x"}, history=[1], x=[1e3], annotations={"k": ""}),
        None,
    )
    assert parsed.subject is not None
    assert (parsed.subject.role, parsed.subject.digest) == (Role.SUBJECT, Digest.of(b"s", "sha512"))
    assert parsed.artifact_type == "text/x"
    assert [one.role for one in parsed.references] == [Role.CONFIG, Role.LAYER]
    assert Manifest.parse(image(layers=None), None).references[1:] == ()
    assert Manifest.parse(index(manifests=None), None).references == ()
    assert Manifest.parse(index(subject=None), None).artifact_type is None


def test_an_artifact_manifest_refers_to_its_blobs() -> None:
    body = json.dumps({"mediaType": mediatypes.OCI_ARTIFACT, "artifactType": "a/b", "blobs": [LAYER]}).encode()
    assert Manifest.parse(body, None).references[0].digest == Digest.of(b"layer")
    assert "'blobs', not 'layers'" in reason(body.replace(b'"blobs"', b'"layers"'))
