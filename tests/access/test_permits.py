"""Nothing is done without a permit: every deed takes one, asks it first, and nobody but the rules makes one."""

import ast
import asyncio
import inspect
import pkgutil
import re
import subprocess
import sys
from collections.abc import Callable, Iterable, Iterator
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import Any, Final, get_type_hints

import pytest

import moorage.core
import moorage.features.accounts
from moorage.access import permit as permits
from moorage.access.action import Action
from moorage.access.actor import ANONYMOUS, NOBODY, Identity
from moorage.access.permit import SEAL, CatalogPermit, Permit
from moorage.core.registry import Registry
from moorage.db.engine import Database, Tx
from moorage.edge.http import Request
from moorage.edge.v2 import lists
from moorage.edge.v2.routes import V2, Router
from moorage.edge.v2.table import ROWS
from moorage.errors import Code, RegistryError
from moorage.features.accounts.desk import Desk
from moorage.oci.names import RepositoryName
from tests.conftest import ROOT

KINDS: Final = tuple(one for one in vars(permits).values() if isinstance(one, type) and one.__name__.endswith("Permit"))
APP: Final = RepositoryName.parse("acme/app")

WITHOUT: Final = {
    "moorage.core.damage.condemn": "bookkeeping of damage that a read or a job has found; nobody asks for it",
    "moorage.core.damage.tell": "the event of such damage",
    "moorage.core.identity.is_known": "of commands beside a server: whether rows and bytes belong together",
    "moorage.core.identity.recognise": "at start: whether rows and bytes belong together",
    "moorage.core.identity.remember": "at start",
    "moorage.core.identity.remembered": "at start",
    "moorage.core.intake.digest_in": "takes an Upload, which only a permit finds",
    "moorage.core.intake.go_on": "takes an Upload, which only a permit finds",
    "moorage.core.pull.content": "takes a Linked, which only a permit finds",
    "moorage.core.pull.file_key": "takes a Linked, which only a permit finds",
    "moorage.core.pull.is_lost": "of a blob that a permit found",
    "moorage.core.pull.lost": "tells whoever pushes all of a blob's bytes of the copy there is, and no client",
    "moorage.core.pull.read_blob": "takes a Linked, which only a permit finds",
    "moorage.core.room.for_bytes": "whether the disk has room",
    "moorage.core.room.for_rows": "whether the disk has room",
    "moorage.features.accounts.signup.sign_up": "for anybody, where accounts.signup is open",
    "moorage.features.accounts.signup.accept": "for whoever has the invitation",
}
"""What does something with a registry and takes no permit, and why."""

INSIDE: Final = "moorage.features.accounts."
STEPS: Final = {
    "desk.find_account", "desk.tell", "users.add", "users.replace_password", "users.set_default",
    "tokens.issue", "teams.find", "robots.find", "organisations.seen",
}  # fmt: skip
"""Steps of deeds, inside their transaction: they have no desk to begin one."""

UNASKED: Final = {"moorage.core.unknown.within": "only words the refusal of a verb that has asked"}


def functions(package: ModuleType) -> Iterator[tuple[str, Callable[..., Any]]]:
    """Every public function of a package's modules, by its full name."""
    for found in pkgutil.iter_modules(package.__path__, f"{package.__name__}."):
        module = import_module(found.name)
        for name, one in vars(module).items():
            if inspect.isfunction(one) and one.__module__ == found.name and not name.startswith("_"):
                yield f"{found.name}.{name}", one


def takes(deed: Callable[..., Any], *kinds: type) -> list[str]:
    """The parameters of these kinds."""
    hints = {name: hint for name, hint in get_type_hints(deed).items() if name != "return"}
    return [name for name, hint in hints.items() if hint in kinds]


def unproved(named: Iterator[tuple[str, Callable[..., Any]]]) -> set[str]:
    """Deeds that anybody can call who has a registry: they take neither a permit nor an identity to ask about."""
    return {
        name for name, deed in named if takes(deed, Registry, Desk, Tx, Database) and not takes(deed, *KINDS, Identity)
    }


def test_every_deed_takes_a_permit_or_says_why_not() -> None:
    assert unproved(functions(moorage.core)) == {one for one in WITHOUT if one.startswith("moorage.core.")}
    found = unproved(functions(moorage.features.accounts)) - {INSIDE + one for one in STEPS}
    assert found == {one for one in WITHOUT if one.startswith(INSIDE)}


def test_a_deed_without_a_permit_is_noticed() -> None:
    async def take(registry: Registry, name: RepositoryName) -> None: ...

    assert unproved(iter([("planted.take", take)])) == {"planted.take"}


def unasked(named: Iterator[tuple[str, Callable[..., Any]]]) -> set[str]:
    """Verbs that go on with a permit that permits nothing, whatever the others of theirs do."""
    return {
        name
        for name, verb in named
        for one in takes(verb, Permit)
        if takes(verb, Registry, Desk) and not _asks(verb, one)
    }


def _asks(verb: Callable[..., Any], asked: str) -> bool:
    """Whether a verb asks this permit before it does anything but ask."""
    given = {
        name: permit(Action if name != asked else ()) if hint is Permit else Untouchable()
        for name, hint in get_type_hints(verb).items()
        if name in inspect.signature(verb).parameters
    }
    try:
        asyncio.run(verb(**given))
    except RegistryError as error:
        return error.code is Code.DENIED
    except Touched:
        return False
    return False


class Touched(Exception):  # noqa: N818 - no error: somebody has done something
    """Something was looked at before anybody asked."""


class Untouchable:
    """In the place of a registry, a digest, a body: whoever does anything with it is found out."""

    def __getattr__(self, name: str) -> Any:
        if name == "registry":  # a desk's, to be handed to a verb that asks
            return Untouchable()
        raise Touched(name)

    def __aiter__(self) -> Any:
        raise Touched


def permit(actions: Iterable[Action]) -> Permit:
    return Permit(ANONYMOUS, APP, frozenset(actions), SEAL)


def test_every_verb_asks_its_permit_before_anything_else() -> None:
    assert unasked(functions(moorage.core)) == UNASKED.keys()
    assert unasked(functions(moorage.features.accounts)) == set()


def test_a_verb_that_does_not_ask_is_noticed() -> None:
    async def take(registry: Registry, permit: Permit) -> None:
        await registry.db.read(permit.repository)

    async def half(registry: Registry, permit: Permit, source: Permit) -> None:
        permit.require(Action.PUSH)
        await registry.db.read(print, source)

    assert unasked(iter([("planted.take", take), ("planted.half", half)])) == {"planted.take", "planted.half"}


def test_a_list_of_repositories_is_what_its_permit_lets_one_see() -> None:
    async def none(_names: object) -> list[RepositoryName]:
        return []

    class Rows:
        async def scan(self, *_: object) -> list[str]:
            return ["acme/app"]

        read = scan

    class Somewhere:
        db = Rows()

    page = moorage.core.discover.catalog_page(Somewhere(), CatalogPermit(ANONYMOUS, none, SEAL), None, "", 10)
    assert asyncio.run(page).names == ()


@pytest.mark.parametrize("kind", KINDS)
def test_no_permit_is_made_without_the_seal(kind: type) -> None:
    count = len(inspect.signature(kind).parameters) - 1
    with pytest.raises(TypeError, match="a permit is made by"):
        kind(*[None] * count, object())


def test_the_seal_is_held_by_access_alone() -> None:
    for path in (ROOT / "src" / "moorage").rglob("*.py"):
        if path.is_relative_to(ROOT / "src" / "moorage" / "access"):
            continue
        names = {node.id for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.Name)}
        imported = {
            one.name
            for node in ast.walk(ast.parse(path.read_text()))
            if isinstance(node, ast.ImportFrom)
            for one in node.names
        }
        assert "SEAL" not in names | imported, path


def test_a_call_without_its_permit_is_a_type_error(tmp_path: Path) -> None:
    """One call of every deed that takes a permit, complete but for that: mypy has to refuse each line."""
    lines, calls = ["from typing import Any", "x: Any = None", "async def f() -> None:"], 0
    imports = set()
    for package in (moorage.core, moorage.features.accounts):
        for name, deed in functions(package):
            proof = takes(deed, *KINDS)
            if not proof or name.startswith("moorage.core.unknown."):
                continue
            module = name.rpartition(".")[0]
            imports.add(f"import {module}")
            given = [f"{one}=x" for one in inspect.signature(deed).parameters if one not in proof]
            lines.append(f"    {name}({', '.join(given)})")
            calls += 1
    snippet = tmp_path / "snippet.py"
    snippet.write_text("\n".join([*sorted(imports), *lines, ""]))
    done = subprocess.run(
        [sys.executable, "-m", "mypy", "--cache-dir", str(ROOT / ".mypy_cache"), "--no-error-summary", str(snippet)],
        capture_output=True, text=True, check=False, cwd=ROOT,
    )  # fmt: skip
    missing = re.findall(r"snippet.py:(\d+): error: Missing (?:positional|named) argument", done.stdout)
    assert calls > 30
    assert len(set(missing)) == calls, done.stdout + done.stderr


class Asked:
    """Rules that write down what they were asked, and refuse."""

    def __init__(self) -> None:
        self.asked: list[object] = []

    async def authenticate(self, *_proof: object) -> Identity:
        return NOBODY

    def recognised(self, *_proof: object) -> Identity:
        return NOBODY

    def remembered(self, _identity: Identity, repository: RepositoryName, action: Action) -> Permit | None:
        self.asked.append((repository, action))
        return None

    async def permit(self, _identity: Identity, repository: RepositoryName, action: Action) -> Permit:
        self.asked.append((repository, action))
        raise RegistryError(Code.DENIED, "no")

    async def permit_catalog(self, _identity: Identity) -> CatalogPermit:
        self.asked.append("catalog")
        raise RegistryError(Code.DENIED, "no")


class Hasty(Router):
    """Calls handlers without asking: what the walk must notice."""

    async def _dispatch(self, request: Request) -> Any:
        if not request.path.endswith("/tags/list"):
            return await super()._dispatch(request)
        found = Permit(ANONYMOUS, APP, frozenset(Action), SEAL)
        from moorage.edge.v2.routes import Call

        return await lists.tags(Call(self._registry, self._rules, request, NOBODY, "", found, self._v2))


def unruled(kind: type[Router]) -> list[str]:
    """Endpoints that do something before the rules were asked for just what their row says."""
    found = []
    requests = [("/v2/_catalog", method, "catalog") for method in ("GET", "HEAD")]
    for row in ROWS.values():
        path = re.sub(r"\{\w+\}", "x", row.template.replace("{name}", APP.value))
        requests += [(path, method, (APP, action)) for method, (_, action) in row.methods.items()]
    for path, method, wanted in requests:
        rules = Asked()
        router = kind(Untouchable(), rules, ROWS, lists.catalog, V2())
        request = Request(method, path, "", [], Untouchable(), "", "http", "1")
        try:
            status = asyncio.run(router.respond(request)).status
        except Touched:
            status = 0
        if set(rules.asked) != {wanted} or status != 403:
            found.append(f"{method} {path}")
    return found


def test_every_endpoint_asks_the_rules_before_anything_is_read_or_written() -> None:
    assert unruled(Router) == []


def test_an_endpoint_that_does_not_ask_is_noticed() -> None:
    assert unruled(Hasty) == ["GET /v2/acme/app/tags/list", "HEAD /v2/acme/app/tags/list"]
