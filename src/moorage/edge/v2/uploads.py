"""end-4, end-5, end-6, end-11, end-13, end-14: uploads and mounts."""

from moorage.access.action import Action
from moorage.access.scopes import needed
from moorage.core import upload as deeds
from moorage.core.upload import Upload
from moorage.edge.http import Response, render
from moorage.edge.v2.routes import Call
from moorage.errors import Code, RegistryError
from moorage.oci import ranges
from moorage.oci.digest import CANONICAL, Digest
from moorage.oci.names import RepositoryName


async def start(call: Call) -> Response:
    """end-4, end-11: begin an upload, push a blob whole, or mount one."""
    request = call.request
    mount = request.parameter("mount")
    if mount is not None:
        digest = Digest.parse(mount)
        if await _mount(call, digest, request.parameter("from")):
            return _created(call, digest)
        return _accepted(call, await deeds.start(call.registry, call.permit))
    wanted = request.parameter("digest")
    if wanted is not None:
        digest = Digest.parse(wanted)
        return _created(call, await deeds.whole(call.registry, call.permit, digest, request.body))
    algorithm = request.parameter("digest-algorithm") or CANONICAL
    return _accepted(call, await deeds.start(call.registry, call.permit, algorithm))


async def status(call: Call) -> Response:
    """end-13: how far the upload has come."""
    found = await deeds.status(call.registry, call.permit, call.rest)
    return Response(204, _progress(call, found))


async def append(call: Call) -> Response:
    """end-5: a chunk, a stream, or everything at once."""
    try:
        advanced = await deeds.append(call.registry, call.permit, call.rest, call.request.body, _at(call))
    except RegistryError as error:
        return await _refused(call, error)
    return _accepted(call, advanced)


async def finish(call: Call) -> Response:
    """end-6: the last chunk, or nothing more, and the digest of the whole."""
    wanted = call.request.parameter("digest")
    if wanted is None:
        raise RegistryError(
            Code.DIGEST_INVALID,
            "the 'digest' parameter is missing: finish an upload with the digest of all its bytes",
            parameter="digest",
        )
    digest = Digest.parse(wanted)
    try:
        await deeds.finish(call.registry, call.permit, call.rest, digest, call.request.body, _at(call))
    except RegistryError as error:
        return await _refused(call, error)
    return _created(call, digest)


async def cancel(call: Call) -> Response:
    """end-14: drop the upload."""
    await deeds.cancel(call.registry, call.permit, call.rest)
    return Response(204)


async def _mount(call: Call, digest: Digest, source: str | None) -> bool:
    """Mount from the named repository, or from any that the token covers; a refusal is no error.

    But where the actor may read the named one and only the token was not asked for it, saying so saves an upload.
    """
    try:
        names = [RepositoryName.parse(source)] if source else await deeds.holders(call.registry, call.permit, digest)
    except RegistryError:
        return False
    for name in names:
        try:
            permit = await call.rules.permit(call.identity, name, Action.PULL)
        except RegistryError as error:
            if source is not None and error.detail.get("error") == "insufficient_scope":
                both = f"{needed(call.permit.repository, Action.PUSH)} {error.detail['scope']}"
                raise RegistryError(error.code, error.message, **{**error.detail, "scope": both}) from error
            continue
        if await deeds.mount(call.registry, call.permit, permit, digest):
            return True
    return False


def _at(call: Call) -> int | None:
    header = call.request.header("content-range")
    return None if header is None else ranges.chunk(header, call.request.body.length)


async def _refused(call: Call, error: RegistryError) -> Response:
    """A chunk in the wrong place: say where the upload stands, so that the client can go on."""
    if error.code is not Code.RANGE_INVALID:
        raise error
    found = await deeds.status(call.registry, call.permit, call.rest)
    return render(error, *_progress(call, found))


def _progress(call: Call, upload: Upload) -> list[tuple[str, str]]:
    return [
        ("Location", f"/v2/{call.permit.repository}/blobs/uploads/{upload.id}"),
        ("Docker-Upload-UUID", upload.id),
        ("Range", f"0-{max(upload.offset - 1, 0)}"),
    ]


def _accepted(call: Call, upload: Upload) -> Response:
    return Response(202, _progress(call, upload))


def _created(call: Call, digest: Digest) -> Response:
    location = f"/v2/{call.permit.repository}/blobs/{digest}"
    return Response(201, [("Location", location), ("Docker-Content-Digest", str(digest))])
