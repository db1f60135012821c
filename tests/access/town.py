"""A closed registry with somebody of every kind in it, and everything that each can show.

    acme, an organisation      private  internal  public  missing
    alice, a user              private  public
    beta, another organisation private

What stands in its rows and what `tests.access.reference` is told of it are written side by side.
"""

import base64
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from moorage.access.secrets import new_secret
from moorage.db import accounts, generation, grants, tokens
from moorage.db.engine import Tx, open_database
from tests import make
from tests.access.forging import ended, signing_key
from tests.access.reference import ACTIONS, ROLES, Credential, Rule, Who
from tests.closed import ADMIN, PASSWORD, Closed, Login
from tests.conftest import Served, start

REPOSITORIES: dict[str, str | None] = {
    "acme/private": "private",
    "acme/internal": "internal",
    "acme/public": "public",
    "acme/missing": None,
    "alice/private": "private",
    "alice/public": "public",
    "beta/private": "private",
}
LAYER = b"a layer of every repository"
FULL = frozenset({"pull", "push", "delete"})
EVERYONE = frozenset({"everyone", "anyone"})
GRANTS = {
    "reader": ("acme/**", "reader"),
    "writer": ("acme/**", "writer"),
    "maintainer": ("acme/*", "maintainer"),
    "holder": ("acme/**", "owner"),
    "pusher": ("acme/**", "push"),
    "lone": ("acme/private", "pull,delete"),
    "disabled": ("acme/**", "owner"),
    "expired": ("acme/**", "owner"),
    "former": ("acme/**", "owner"),
    "acme.ci": ("acme/*", "pull,push"),
    "beta.ci": ("beta/**", "writer"),
}
"""By account: one rule of its own.  The one of `former` has ended."""


@dataclass(frozen=True)
class Asking:
    """Somebody with one of their credentials, as the Authorization header that shows it."""

    who: Who
    credential: Credential
    header: str | None


@dataclass(frozen=True)
class Town:
    """The server, who lives there, and the rules."""

    closed: Closed
    asking: tuple[Asking, ...]
    rules: tuple[Rule, ...]

    def mutant(self, name: str) -> Served:
        """The same registry, served by a broken program; the sound one has to be stopped before."""
        served = self.closed.served
        return start(served.data, config=self.closed.config, program=("tests.access.mutants", name))


def build(folder: Path) -> Town:
    """A town; its server runs."""
    closed = Closed(folder)
    for name in ("reader", "writer", "maintainer", "holder", "pusher", "lone", "disabled", "expired", "former"):
        closed.done(ADMIN, "POST", "/users", {"name": name, "password": PASSWORD})
    for name in ("stranger", "member", "worker", "boss", "alice", "rival"):
        closed.done(ADMIN, "POST", "/users", {"name": name, "password": PASSWORD})
    for name, owner in (("acme", "boss"), ("beta", "rival")):
        closed.done(ADMIN, "POST", "/organisations", {"name": name, "owner": owner})
        closed.done(ADMIN, "POST", "/robots", {"owner": name, "name": "ci"})
    for name in ("member", "worker"):
        closed.done(ADMIN, "PUT", f"/organisations/acme/members/{name}", {"role": "member"})
    closed.done(ADMIN, "POST", "/organisations/acme/teams", {"name": "dev"})
    closed.done(ADMIN, "PUT", "/organisations/acme/teams/dev/members/worker")
    closed.done(ADMIN, "POST", "/grants", {"subject": "acme/dev", "pattern": "acme/**", "actions": "writer"})
    _push(closed)
    return Town(closed, tuple(_Census(closed).everybody()), tuple(_rules()))


def _push(closed: Closed) -> None:
    with closed.signed_in(ADMIN) as client:
        for name, visibility in REPOSITORIES.items():
            if visibility is not None:
                make.push_image(client, name, "1", b"{}", LAYER)
                closed.done(ADMIN, "PATCH", f"/repositories/{name}", {"visibility": visibility})


def _rules() -> Iterator[Rule]:
    yield Rule("team acme/dev", "acme/**", frozenset(ROLES["writer"]))
    yield Rule("beta.ci", "acme/**", frozenset(ROLES["owner"]))
    for name, (pattern, actions) in GRANTS.items():
        words = ROLES.get(actions) or set(actions.split(","))
        yield Rule(name, pattern, frozenset(words), ended=name == "former")


class _Census:
    """Hands out rules and credentials."""

    def __init__(self, closed: Closed) -> None:
        self.closed = closed
        self.db = open_database(closed.database)

    def everybody(self) -> Iterator[Asking]:
        try:
            self.db.write_now(_grant)
            yield from self.nobody()
            for name in ("stranger", "member", "reader", "writer", "maintainer", "holder", "pusher", "lone", "former"):
                yield from self.user(Who(name, subjects=EVERYONE | {name}, owns=frozenset({name})))
            yield from self.user(Who("worker", subjects=EVERYONE | {"worker", "team acme/dev"}))
            yield from self.user(Who("alice", subjects=EVERYONE, owns=frozenset({"alice"})))
            yield from self.user(Who("boss", subjects=EVERYONE, owns=frozenset({"boss", "acme"})))
            yield from self.user(Who("admin", admin=True, subjects=EVERYONE))
            for owner in ("acme", "beta"):
                who = Who(f"{owner}.ci", "robot", subjects=EVERYONE | {f"{owner}.ci"}, within=owner)
                secret = self.token(who.name, "robot", None)
                yield Asking(who, Credential("the secret"), basic((who.name, secret)))
                yield from self.bearers(who, (who.name, secret), None)
            yield from self.past()
        finally:
            self.db.close_now()

    def nobody(self) -> Iterator[Asking]:
        who = Who("nobody", "anonymous", subjects=frozenset({"anyone"}))
        yield Asking(who, Credential("nothing", catalog=False), None)
        for one in self.bearers(who, None, None):
            yield Asking(who, Credential(one.credential.called, asked=one.credential.asked, catalog=False), one.header)

    def user(self, who: Who) -> Iterator[Asking]:
        login = (who.name, PASSWORD)
        yield Asking(who, Credential("a password"), basic(login))
        whole = (who.name, self.token(who.name, "personal", None))
        yield Asking(who, Credential("a token"), basic(whole))
        for called, pattern, actions in (
            ("a token to read", "**", {"pull"}),
            ("a token for acme", "acme/p*", {"pull", "push", "overwrite"}),
            ("a token to delete", "acme/*", {"delete"}),
        ):
            limit = ((pattern, frozenset(actions)),)
            limited = (who.name, self.token(who.name, "personal", f'[["{pattern}", "{",".join(sorted(actions))}"]]'))
            yield Asking(who, Credential(called, limit), basic(limited))
            yield next(self.bearers(who, limited, limit))
        yield next(self.bearers(who, login, None))
        yield from self.bearers(who, whole, None)

    def bearers(self, who: Who, login: Login | None, limit: object) -> Iterator[Asking]:
        """Bearer tokens that were asked for all, for reading, for `*`, for another repository, and for nothing."""
        for called, names, words, catalog in (
            ("asked for all", REPOSITORIES, FULL, True),
            ("asked to read", REPOSITORIES, frozenset({"pull"}), False),
            ("asked to write", REPOSITORIES, frozenset({"push"}), False),
            ("asked for *", REPOSITORIES, frozenset({"*"}), False),
            ("asked for another", ["acme/other", "acme", "acme/private/more"], FULL, True),
            ("asked for nothing", [], FULL, False),
        ):
            scopes = [f"repository:{name}:{','.join(sorted(words))}" for name in names]
            scopes += ["registry:catalog:*"] * catalog
            header = f"Bearer {self.closed.bearer(login, *scopes)}"
            asked = dict.fromkeys(names, words)
            token = f"a bearer token {called}{' with a limited token' if limit else ''}"
            yield Asking(who, Credential(token, limit, asked, catalog), header)

    def past(self) -> Iterator[Asking]:
        """Those whose credentials were good once."""
        key = signing_key(self.db, self.closed.served.data)
        scopes = [f"repository:{name}:*" for name in REPOSITORIES]
        nothing = Credential("a bearer token", good=False)
        expired, disabled = ((name, PASSWORD) for name in ("expired", "disabled"))
        who = Who("expired")
        yield Asking(who, nothing, f"Bearer {ended(self.closed.bearer(expired, *scopes), key)}")
        late = self.token("expired", "personal", None, expires_at=_now() - 1)
        yield Asking(who, Credential("a token", good=False), basic(("expired", late)))
        who = Who("disabled")
        token = self.token("disabled", "personal", None)
        yield Asking(who, nothing, f"Bearer {self.closed.bearer(disabled, *scopes)}")
        yield Asking(who, Credential("a token", good=False), basic(("disabled", token)))
        self.closed.done(ADMIN, "PATCH", "/users/disabled", {"disabled": True})

    def token(self, name: str, kind: str, scopes: str | None, expires_at: int | None = None) -> str:
        secret = new_secret(kind)

        def add(tx: Tx) -> None:
            called = secret.hash[:12]
            tokens.add(tx, accounts.find(tx, name).id, called, kind, secret.hash, scopes, _now(), expires_at)

        self.db.write_now(add)
        return secret.text


def _grant(tx: Tx) -> None:
    """What the API would refuse is among it: a robot's rule on what is not its owner's, and one that has ended."""
    for name, (pattern, actions) in GRANTS.items():
        expires = _now() - 1 if name == "former" else None
        _put(tx, name, pattern, ",".join(one for one in ACTIONS if one in (ROLES.get(actions) or actions)), expires)
    _put(tx, "beta.ci", "acme/**", ",".join(ACTIONS), None)
    generation.change(tx, _now())


def _put(tx: Tx, name: str, pattern: str, actions: str, expires: int | None) -> None:
    subject = f"account:{accounts.find(tx, name).id}"
    grants.put(tx, subject, pattern.partition("/")[0], pattern, actions, "test", _now(), expires)


def _now() -> int:
    return time.time_ns() // 1000


def basic(login: Login) -> str:
    """The Authorization header of a name and its secret."""
    return "Basic " + base64.b64encode(":".join(login).encode()).decode()
