"""end-8, end-12 and the catalog: lists in pages."""

from urllib.parse import urlencode

from moorage.access.actor import Identity
from moorage.access.rules import Rules
from moorage.core import discover
from moorage.core.discover import Page
from moorage.core.registry import Registry
from moorage.edge.http import Request, Response
from moorage.edge.v2.routes import Call
from moorage.errors import Code, RegistryError
from moorage.oci import mediatypes
from moorage.oci.digest import Digest
from moorage.oci.names import shown


async def tags(call: Call) -> Response:
    """end-8: the repository's tags."""
    size, after = _page(call.request)
    page = await discover.tag_page(call.registry, call.permit, size, after, call.settings.tags_most)
    name = call.permit.repository.value
    return _names(f"/v2/{name}/tags/list", f'"name": "{name}", "tags"', page)


async def catalog(registry: Registry, rules: Rules, request: Request, identity: Identity, most: int) -> Response:
    """Docker Registry's list of repositories, of those the actor may see."""
    permit = await rules.permit_catalog(identity)
    size, after = _page(request)
    page = await discover.catalog_page(registry, permit, size, after, most)
    return _names("/v2/_catalog", '"repositories"', page)


async def referrers(call: Call) -> Response:
    """end-12: what refers to a subject; empty, never 404, where nothing does."""
    subject = Digest.parse(call.rest)
    asked = [one for one in call.request.parameters("artifactType") if one]
    # A '+' that was sent raw reads as a space; media types have none.
    types = list(dict.fromkeys(one.replace(" ", "+") for one in asked))
    after = call.request.parameter("last") or ""
    found = await discover.referrers(call.registry, call.permit, subject, types, after)
    headers = [("Content-Type", mediatypes.OCI_INDEX)]
    if types:
        headers.append(("OCI-Filters-Applied", "artifactType"))
    if found.more is not None:
        query = urlencode([*(("artifactType", one) for one in types), ("last", found.more)])
        headers.append(("Link", f'</v2/{call.permit.repository}/referrers/{subject}?{query}>; rel="next"'))
    return Response(200, headers, found.content)


def _page(request: Request) -> tuple[int | None, str]:
    number = request.parameter("n")
    if number is None:
        size = None
    elif number.isascii() and number.isdigit():
        size = int(number) if len(number) < 10 else 10**9  # more than any page holds
    else:
        raise RegistryError(
            Code.PAGINATION_NUMBER_INVALID,
            f"the page size n={shown(number)} is not a whole number of zero or more",
            n=number[:80],
        )
    return size, request.parameter("last") or ""


def _names(path: str, key: str, page: Page) -> Response:
    """A JSON object that ends with the page's names.

    Nothing in names is escaped in JSON, and nothing but the slash in a query: see `oci.names`.
    """
    headers = [("Content-Type", "application/json")]
    if page.more:
        last = page.names[-1].replace("/", "%2F")
        headers.append(("Link", f'<{path}?last={last}&n={page.size}>; rel="next"'))
    names = '", "'.join(page.names)
    return Response(200, headers, f'{{{key}: ["{names}"]}}'.encode() if names else f"{{{key}: []}}".encode())
