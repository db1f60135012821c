"""Bearer tokens, as docker gets them: by the administrator's password, one for each repository."""

import base64
import json
import re
from collections.abc import Sequence
from typing import Final
from urllib.parse import quote

from bench.wire import Connection, Header

_REPOSITORY: Final = re.compile(r"/v2/(.+?)/(?:blobs|manifests|tags|referrers)/")
_ADMIN: Final = "admin"


class Tokens:
    """The tokens of one server's clients: asked for once, and kept."""

    def __init__(self, port: int, password: str) -> None:
        self._port = port
        self.basic = base64.b64encode(f"{_ADMIN}:{password}".encode()).decode()
        """Name and password, as Basic authentication spells them."""
        self._kept: dict[str, Sequence[Header]] = {}

    def header(self, target: str) -> Sequence[Header]:
        """The header for whatever is at `target`.  Raises Wrong."""
        found = _REPOSITORY.match(target)
        return self.covering(f"repository:{found[1]}:pull,push" if found else "registry:catalog:*")

    def covering(self, scope: str) -> Sequence[Header]:
        """The header with a token of that scope, or of several with spaces between.  Raises Wrong."""
        if scope not in self._kept:
            self._kept[scope] = (("Authorization", f"Bearer {self._ask(scope)}"),)
        return self._kept[scope]

    def _ask(self, scope: str) -> str:
        with Connection(self._port) as connection:
            target = f"/token?service=moorage&scope={quote(scope)}"
            answer = connection.ask("GET", target, (("Authorization", f"Basic {self.basic}"),)).want(200)
        token: str = json.loads(answer.body)["token"]
        return token
