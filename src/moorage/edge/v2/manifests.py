"""end-3, end-7, end-9: manifests."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final

from moorage.access.action import Action
from moorage.core import delete as deeds
from moorage.core import pull, push
from moorage.edge.http import Response
from moorage.edge.v2.conditional import precondition, unchanged
from moorage.edge.v2.routes import Call
from moorage.errors import Code, RegistryError
from moorage.oci.digest import Digest
from moorage.oci.names import Reference, Tag, parse_reference

_SMALL: Final = 64 * 1024
"""Manifests of at most so many bytes are taken as they come; nearly all are."""
_PATIENCE: Final = 30
"""Seconds to wait for a place among the large ones."""
_READING: Final = 60
"""Seconds for the bytes of a large one to arrive."""


async def get(call: Call) -> Response:
    """end-3: the exact bytes that were pushed, whatever Accept says."""
    head = call.request.method == "HEAD"
    found = await pull.manifest(call.registry, call.permit, parse_reference(call.rest), head=head)
    digest = found.digest.text
    headers = [("Docker-Content-Digest", digest), ("ETag", f'"{digest}"')]
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
    length, most = call.request.body.length, call.registry.policy.manifest_bytes
    if length is not None and length > most:
        raise _too_large(most)
    if length is not None and length <= _SMALL:
        return await _push(call, reference, extra, await _read(call, most))
    async with _place(call):
        return await _push(call, reference, extra, await _read_large(call, most))


async def _push(call: Call, reference: Reference, extra: tuple[Tag, ...], content: bytes) -> Response:
    await call.permit_again(Action.PUSH)
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


@asynccontextmanager
async def _place(call: Call) -> AsyncIterator[None]:
    """One of the few places for large manifests, which are in memory from their first byte to their commit.

    Raises UNAVAILABLE where none becomes free.
    """
    await asyncio.sleep(0)  # a handler's first step is no task's, and timeouts need one
    places = call.settings.large_manifests
    try:
        async with asyncio.timeout(_PATIENCE):
            await places.acquire()
    except TimeoutError:
        raise RegistryError(
            Code.UNAVAILABLE, "too many large manifests are being pushed at once; try again shortly"
        ) from None
    try:
        yield
    finally:
        places.release()


async def _read_large(call: Call, most: int) -> bytes:
    """The same as `_read`, in a time that keeps a place from being held for ever.  Raises REQUEST_TIMEOUT."""
    try:
        async with asyncio.timeout(_READING):
            return await _read(call, most)
    except TimeoutError:
        raise RegistryError(
            Code.REQUEST_TIMEOUT, f"a manifest of more than {_SMALL} bytes must arrive within {_READING} seconds"
        ) from None


async def _read(call: Call, most: int) -> bytes:
    """The whole body, of at most `most` bytes.  Raises MANIFEST_TOO_LARGE without reading on."""
    content = bytearray()
    async for piece in call.request.body:
        content += piece
        if len(content) > most:
            raise _too_large(most)
    return bytes(content)


def _too_large(most: int) -> RegistryError:
    return RegistryError(
        Code.MANIFEST_TOO_LARGE,
        f"the manifest is larger than {most} bytes, the most that is accepted here (limits.manifest_bytes); "
        "put what is large into blobs",
        most=most,
    )
