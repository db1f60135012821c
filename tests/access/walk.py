"""Every request that the route table knows, by everybody, on every repository; each held against the reference.

The requests change nothing: what is let in finds no digest, no upload, or a body that is no manifest.
"""

import http.client
import json
import re
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass, field
from typing import Final

from moorage.edge.v2.table import ROWS
from tests import make
from tests.access.reference import Answer, answer, may, needs
from tests.access.town import LAYER, REPOSITORIES, Asking, Town
from tests.conftest import Served

READABLE: Final = {"manifests": "1", "tags": "", "blobs": make.digest(LAYER), "referrers": make.digest(b"no subject")}
"""By noun, what every repository of the town answers a read of with 200."""

NOWHERE: Final = {"reference": make.digest(b"nothing"), "digest": make.digest(b"nothing"), "id": "0" * 8}
PASSING: Final = ("X-Request-Id", "Date")


@dataclass(frozen=True)
class Cell:
    """One request of the matrix."""

    asking: Asking
    repository: str
    noun: str
    method: str

    @property
    def target(self) -> str:
        """The address; what a new endpoint has in its braces is something that is not there."""
        read = self.method in {"GET", "HEAD"}
        parts = dict.fromkeys(NOWHERE, READABLE[self.noun]) if read and self.noun in READABLE else NOWHERE
        path = ROWS[self.noun].template.replace("{name}", self.repository)
        path = re.sub(r"\{(\w+)\}", lambda found: parts.get(found[1], "nothing"), path)
        return path if read else f"{path}?digest=none"

    def __str__(self) -> str:
        shown = f"{self.asking.who.name} with {self.asking.credential.called}"
        return f"{shown}: {self.method} {self.noun} of {self.repository}"


@dataclass(frozen=True)
class Reply:
    """What came back."""

    status: int
    headers: tuple[tuple[str, str], ...]
    body: bytes

    @property
    def code(self) -> str | None:
        """The error's code, where there is a body that has one."""
        try:
            return str(json.loads(self.body)["errors"][0]["code"])
        except (ValueError, LookupError):
            return None

    @property
    def challenge(self) -> str:
        return dict(self.headers).get("WWW-Authenticate", "")


@dataclass
class Outcome:
    """How many cells were asked for, and those whose answer was wrong."""

    cells: int = 0
    wrong: list[str] = field(default_factory=list)
    ends: dict[Answer, int] = field(default_factory=dict)
    shapes: dict[tuple[object, ...], dict[bytes, str]] = field(default_factory=dict)
    """Refusals that may not differ: by who asks for what, what was said once the repository's name is taken out."""


def cells(town: Town) -> Iterator[Cell]:
    """The matrix."""
    for asking in town.asking:
        for noun, row in ROWS.items():
            for method in row.methods:
                for repository in REPOSITORIES:
                    yield Cell(asking, repository, noun, method)


def walk(town: Town, served: Served, *, stop_at: int = 1_000) -> Outcome:
    """Ask for every cell, and for what belongs to no repository, until so many are wrong."""
    outcome = Outcome()
    with closing(http.client.HTTPConnection("127.0.0.1", served.port, timeout=30)) as connection:
        for asking in town.asking:
            _ping(connection, asking, outcome)
            _catalog(connection, town, asking, outcome)
        for cell in cells(town):
            if len(outcome.wrong) >= stop_at:
                break
            _check(connection, town, cell, outcome)
    for said in outcome.shapes.values():
        if len(said) > 1:
            outcome.wrong.append(f"these are told apart: {'; '.join(said.values())}")
    return outcome


def ask(connection: http.client.HTTPConnection, method: str, target: str, header: str | None) -> Reply:
    """One request on a connection that is kept."""
    headers = {"Authorization": header} if header is not None else {}
    connection.request(method, target, headers=headers)
    found = connection.getresponse()
    body = found.read()
    return Reply(found.status, tuple(one for one in found.getheaders() if one[0] not in PASSING), body)


def _check(connection: http.client.HTTPConnection, town: Town, cell: Cell, outcome: Outcome) -> None:
    asking, name = cell.asking, cell.repository
    action = needs(cell.noun, cell.method)
    expected = answer(asking.who, asking.credential, name, REPOSITORIES[name], town.rules, action)
    reply = ask(connection, cell.method, cell.target, asking.header)
    outcome.cells += 1
    outcome.ends[expected] = outcome.ends.get(expected, 0) + 1
    if not fits(cell, action, expected, reply):
        outcome.wrong.append(f"{cell}: {reply.status} {reply.code} {reply.challenge}, not {expected.value}")
    elif expected in {Answer.UNKNOWN, Answer.DENIED, Answer.SIGN_IN}:
        key = (asking, cell.noun, cell.method, name.partition("/")[0])
        said = f"{reply.headers}".encode().replace(name.encode(), b"NAME") + reply.body.replace(name.encode(), b"NAME")
        said = re.sub(rb"'Content-Length', '\d+'", b"", said)
        outcome.shapes.setdefault(key, {}).setdefault(said, str(cell))


def fits(cell: Cell, action: str, expected: Answer, reply: Reply) -> bool:
    """Whether a reply is what was expected."""
    challenge = reply.challenge
    bodiless = cell.method == "HEAD"
    if expected is Answer.LET_IN:
        return _let_in(cell, action, reply)
    if expected is Answer.UNKNOWN:
        return reply.status == 404 and (bodiless or reply.code == "NAME_UNKNOWN") and not challenge
    if expected is Answer.DENIED:
        return reply.status == 403 and (bodiless or reply.code == "DENIED") and not challenge
    error = {Answer.SIGN_IN: None, Answer.ASK_FOR_MORE: "insufficient_scope"}.get(expected, "invalid_token")
    scope = f'scope="repository:{cell.repository}:'
    is_bearer = (cell.asking.header or "").startswith("Bearer ")
    if expected is Answer.PROVES_NOTHING and not is_bearer:
        error = None
    told = f'error="{error}"' in challenge if error else "error=" not in challenge
    return reply.status == 401 and (bodiless or reply.code == "UNAUTHORIZED") and scope in challenge and told


def _let_in(cell: Cell, action: str, reply: Reply) -> bool:
    """Past the rules: reads find what is there, and what is not is told of; writes fail for another reason."""
    if reply.status in {401, 403} or reply.status >= 500:
        return False
    if REPOSITORIES[cell.repository] is None and cell.noun != "referrers":  # of which there are none, nowhere
        return action != "pull" or (reply.status == 404 and reply.code in {"NAME_UNKNOWN", None})
    if action == "pull" and cell.noun in READABLE:
        return reply.status == 200
    return reply.code != "NAME_UNKNOWN"


def _ping(connection: http.client.HTTPConnection, asking: Asking, outcome: Outcome) -> None:
    for method in ("GET", "HEAD"):
        reply = ask(connection, method, "/v2/", asking.header)
        outcome.cells += 1
        good = asking.header is not None and asking.credential.good
        if reply.status != (200 if good else 401) or good == bool(reply.challenge):
            outcome.wrong.append(f"{asking.who.name} with {asking.credential.called}: {method} /v2/: {reply.status}")


def _catalog(connection: http.client.HTTPConnection, town: Town, asking: Asking, outcome: Outcome) -> None:
    """Those may list who are signed in, and only what they may pull."""
    who, credential = asking.who, asking.credential
    for method in ("GET", "HEAD"):
        reply = ask(connection, method, "/v2/_catalog?n=1000", asking.header)
        outcome.cells += 1
        may_list = credential.good and who.kind != "anonymous" and credential.catalog
        right = reply.status == (200 if may_list else 401)
        if right and may_list and method == "GET":
            right = json.loads(reply.body)["repositories"] == sorted(
                name
                for name, visibility in REPOSITORIES.items()
                if visibility is not None and may(who, credential.limit, name, visibility, town.rules, "pull")
            )
        if not right:
            outcome.wrong.append(f"{who.name} with {credential.called}: {method} /v2/_catalog: {reply}")
