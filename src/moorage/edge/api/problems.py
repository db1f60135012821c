"""How a failure looks here: RFC 9457, with the codes, words and statuses that the rest of the registry has."""

import json
from typing import Final

from moorage.edge.http import STATUS, Header, Response
from moorage.errors import RegistryError

MEDIA_TYPE: Final = "application/problem+json"


def problem(error: RegistryError) -> dict[str, object]:
    """The document.  `detail` is the sentence for people, `facts` what it says as data."""
    document: dict[str, object] = {
        "type": f"urn:moorage:error:{error.code.name}",
        "title": error.code.name.replace("_", " ").capitalize(),
        "status": STATUS[error.code],
        "detail": error.message,
        "code": error.code.name,
    }
    return document | ({"facts": error.detail} if error.detail else {})


def render_problem(error: RegistryError, *headers: Header) -> Response:
    """The same as an answer."""
    body = json.dumps(problem(error)).encode()
    return Response(STATUS[error.code], [("Content-Type", MEDIA_TYPE), *headers], body, error=error.code)
