"""end-3, end-7, end-9: manifests."""

from moorage.core import delete as deeds
from moorage.core import pull, push
from moorage.edge.http import Response
from moorage.edge.v2.conditional import precondition, unchanged
from moorage.edge.v2.routes import Call
from moorage.errors import Code, RegistryError
from moorage.oci.digest import Digest
from moorage.oci.names import Tag, parse_reference


async def get(call: Call) -> Response:
    """end-3: the exact bytes that were pushed, whatever Accept says."""
    head = call.request.method == "HEAD"
    found = await pull.manifest(call.registry, call.permit, parse_reference(call.rest), head=head)
    headers = [("Docker-Content-Digest", str(found.digest)), ("ETag", f'"{found.digest}"')]
    if unchanged(call.request, found.digest):
        return Response(304, headers)
    headers.append(("Content-Type", found.media_type))
    return Response(200, headers, found.content or b"", found.size)


async def put(call: Call) -> Response:
    """end-7a, end-7b: push a manifest under a tag or its digest, then perhaps under several tags."""
    reference = parse_reference(call.rest)
    extra = tuple(Tag.parse(text) for text in call.request.parameters("tag"))
    if extra and isinstance(reference, Tag):
        raise RegistryError(
            Code.QUERY_INVALID,
            "the 'tag' parameter goes with a push by digest; this one is pushed by tag already",
            tag=[tag.value for tag in extra[:10]],
        )
    content = await _read(call, call.registry.policy.manifest_bytes)
    pushed = await push.manifest(
        call.registry,
        call.permit,
        reference,
        call.request.header("content-type"),
        content,
        extra,
        precondition(call.request),
    )
    headers = [
        ("Location", f"/v2/{call.permit.repository}/manifests/{pushed.digest}"),
        ("Docker-Content-Digest", str(pushed.digest)),
    ]
    if pushed.subject is not None:
        headers.append(("OCI-Subject", str(pushed.subject)))
    if extra:
        headers.append(("OCI-Tag", ", ".join(tag.value for tag in pushed.tags)))
    return Response(201, headers)


async def remove(call: Call) -> Response:
    """end-9: a tag goes alone, a manifest with all its tags."""
    reference = parse_reference(call.rest)
    if isinstance(reference, Digest):
        await deeds.manifest(call.registry, call.permit, reference, precondition(call.request))
    else:
        await deeds.tag(call.registry, call.permit, reference, precondition(call.request))
    return Response(202)


async def _read(call: Call, most: int) -> bytes:
    """The whole body, of at most `most` bytes.  Raises MANIFEST_TOO_LARGE without reading on."""
    body = call.request.body
    too_large = RegistryError(
        Code.MANIFEST_TOO_LARGE,
        f"the manifest is larger than {most} bytes, the most that is accepted here (limits.manifest_bytes); "
        "put what is large into blobs",
        most=most,
    )
    if body.length is not None and body.length > most:
        raise too_large
    content = bytearray()
    async for piece in body:
        content += piece
        if len(content) > most:
            raise too_large
    return bytes(content)
