"""end-2, end-10: blobs."""

import secrets
from collections.abc import AsyncIterator
from typing import Final

from moorage.core import delete as deeds
from moorage.core import pull
from moorage.core.intake import in_thread
from moorage.core.pull import Linked
from moorage.edge.http import FileRange, Response
from moorage.edge.v2.conditional import unchanged
from moorage.edge.v2.routes import Call
from moorage.errors import Code, RegistryError
from moorage.oci import ranges
from moorage.oci.digest import Digest
from moorage.oci.ranges import ByteRange

_ACCEPT_RANGES: Final = ("Accept-Ranges", "bytes")


async def get(call: Call) -> Response:
    """end-2: a blob, or parts of it."""
    digest = Digest.parse(call.rest)
    head = call.request.method == "HEAD"
    linked = await (pull.blob_head if head else pull.blob)(call.registry, call.permit, digest)
    size = linked.blob.size
    headers = [
        ("Docker-Content-Digest", digest.text),
        ("ETag", f'"{digest.text}"'),
        _ACCEPT_RANGES,
        ("Cache-Control", "max-age=31536000, immutable"),
    ]
    if unchanged(call.request, digest):
        return Response(304, headers)
    headers.append(("Content-Type", "application/octet-stream"))
    if head:
        return Response(200, headers, b"", size)
    parts = _wanted(call, digest, size)
    if call.settings.accel is not None and call.request.proxied:
        key = await pull.file_key(call.registry, linked)
        if key is not None:
            # Parts are the proxy's business: it knows which are wanted, and says by itself that they can be had.
            headers.remove(_ACCEPT_RANGES)
            return Response(200, [*headers, ("X-Accel-Redirect", f"{call.settings.accel}/{key}")])
    if parts is None:
        small = linked.blob.content  # it came with the row
        return Response(200, headers, small if small is not None else await _content(call, linked, ByteRange(0, size)))
    if len(parts) == 1:
        headers.append(("Content-Range", parts[0].content_range(size)))
        return Response(206, headers, await _content(call, linked, parts[0]))
    return _multipart(call, linked, parts, [one for one in headers if one[0] != "Content-Type"])


async def remove(call: Call) -> Response:
    """end-10: take a blob out of the repository."""
    await deeds.blob(call.registry, call.permit, Digest.parse(call.rest))
    return Response(202)


def _wanted(call: Call, digest: Digest, size: int) -> list[ByteRange] | None:
    condition = call.request.header("if-range")
    if condition is not None and condition != f'"{digest}"':
        return None
    return ranges.requested(call.request.header("range"), size)


async def _content(call: Call, linked: Linked, part: ByteRange) -> bytes | FileRange | AsyncIterator[bytes]:
    content = await pull.content(call.registry, linked, part.start, part.stop)
    if isinstance(content, bytes):
        return content
    if isinstance(content, pull.File):
        return FileRange(content.fd, content.start, content.count)
    raise RegistryError(Code.UNAVAILABLE, "this storage cannot stream yet")


def _multipart(call: Call, linked: Linked, parts: list[ByteRange], headers: list[tuple[str, str]]) -> Response:
    """Several ranges in one answer (RFC 9110 §14.6)."""
    boundary = secrets.token_hex(12)
    size = linked.blob.size
    starts = [
        f"--{boundary}\r\nContent-Type: application/octet-stream\r\n"
        f"Content-Range: {part.content_range(size)}\r\n\r\n".encode()
        for part in parts
    ]
    end = f"--{boundary}--\r\n".encode()
    length = sum(len(start) + part.length + 2 for start, part in zip(starts, parts, strict=True)) + len(end)

    async def stream() -> AsyncIterator[bytes]:
        for start, part in zip(starts, parts, strict=True):
            yield start
            async for piece in _pieces(call, linked, part):
                yield piece
            yield b"\r\n"
        yield end

    headers.append(("Content-Type", f"multipart/byteranges; boundary={boundary}"))
    return Response(206, headers, stream(), length)


async def _pieces(call: Call, linked: Linked, part: ByteRange) -> AsyncIterator[bytes]:
    for at in range(part.start, part.stop, 256 * 1024):
        window = ByteRange(at, min(at + 256 * 1024, part.stop))
        yield await in_thread(pull.read_blob, call.registry, linked, window.start, window.stop)
