"""Where a command is asked: the management API of a server, or that of the data folder on this machine.

Both answer alike, so commands know nothing of the difference.
"""

from dataclasses import dataclass
from typing import Any, Protocol
from urllib.parse import quote, urlencode


@dataclass(frozen=True, slots=True)
class Answer:
    """What the API said: a status, a document (None where there is none), and where the next page is."""

    status: int
    document: Any
    more: str | None = None


class Place(Protocol):
    """Where the management API is asked.  Raises RegistryError where it cannot be reached."""

    name: str
    """How docker knows the registry; empty for the data folder."""

    def ask(self, method: str, target: str, body: dict[str, Any] | None = None, /) -> Answer:
        """`target` is a path below `/api/v1` with its query, percent-encoded."""
        ...


def target(*parts: str, **query: object) -> str:
    """A path from its components, none of which can become several, but for a repository's own slashes.

    What is None in the query is left out.
    """
    path = "".join(f"/{quote(part, safe='', errors='replace')}" for part in parts[:-1])
    last = quote(parts[-1], safe="/" if parts[0] == "repositories" else "", errors="replace")
    given = {name: str(value) for name, value in query.items() if value is not None}
    return f"{path}/{last}" + (f"?{urlencode(given, errors='replace')}" if given else "")
