"""The management API of the data folder on this machine, as its operator: no server is needed, one may run."""

import asyncio
import json
from pathlib import Path
from typing import Any

from moorage.access.actor import OPERATOR
from moorage.app import beside
from moorage.cli.place import Answer
from moorage.edge.http import Request
from moorage.edge.server.bodies import EMPTY
from moorage.edge.server.targets import read_target
from moorage.settings import load


class Folder:
    """Whoever can write the rows may do everything; it is written down as done by `operator`."""

    name = ""

    def __init__(self, config: Path | None, data: Path | None) -> None:
        """Finds the folder as `serve` does.  Raises SettingsError, UNAVAILABLE where there is no registry yet."""
        loaded = load(config, overrides={"data": str(data) if data else None})
        self._api, self._db = beside(loaded.settings)

    def ask(self, method: str, target: str, body: dict[str, Any] | None = None, /) -> Answer:
        path, query, _ = read_target(f"/api/v1{target}".encode())
        content = json.dumps(body).encode() if body is not None else b""
        headers = [("content-type", "application/json")] if content else []
        request = Request(method, path, query, headers, EMPTY, "local", "http", "cli")
        answer = asyncio.run(self._api.answer(request, OPERATOR, content))
        assert isinstance(answer.body, bytes)
        document = json.loads(answer.body) if answer.body else None
        link = next((value for name, value in answer.headers if name.lower() == "link"), "")
        following = link.partition(">")[0].removeprefix("</api/v1")
        return Answer(answer.status, document, following or None)

    def close(self) -> None:
        self._db.close_now()
