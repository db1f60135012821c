"""Where the API is, and what its addresses are called."""

from collections.abc import Mapping
from typing import Any, Final

ROOT: Final = "/api/v1"


def template(scope: Mapping[str, Any]) -> str:
    """The template of the route that an ASGI scope was led to, for logs, metrics and events."""
    path: str = getattr(scope.get("route"), "path", "")
    return path if path.startswith(ROOT) else ROOT + path
