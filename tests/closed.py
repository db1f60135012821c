"""A closed server, and its management API as people use it."""

import json
from pathlib import Path

import httpx

from tests.conftest import Served, start

PASSWORD = "correct horse battery"
ADMIN = ("admin", PASSWORD)
Login = tuple[str, str]


class Closed:
    """A server that asks who one is, with a first administrator; each test makes accounts of its own."""

    def __init__(self, folder: Path, settings: str = "", **environment: str) -> None:
        config = folder / "config.yml"
        config.write_text(f"version: 0.1\n{settings}")
        self.config = config
        environment.setdefault("REGISTRY_ADMIN_PASSWORD", PASSWORD)
        self.served: Served = start(folder / "data", config=config, **environment)
        self.database = environment.get("REGISTRY_DATABASE_URL", f"sqlite:///{self.served.data / 'moorage.db'}")
        self.client = httpx.Client(base_url=self.served.url, verify=False, timeout=60)
        self._number = 0

    def api(
        self, who: Login | str | None, method: str, path: str, body: object = None, **more: object
    ) -> httpx.Response:
        """Ask; `who` signs in with Basic, or is a bearer token."""
        auth = who if isinstance(who, tuple) else None
        headers = {"Authorization": f"Bearer {who}"} if isinstance(who, str) else {}
        return self.client.request(method, f"/api/v1{path}", json=body, auth=auth, headers=headers, **more)

    def done(self, who: Login | str | None, method: str, path: str, body: object = None) -> object:
        """Ask for what has to be granted; gives the document."""
        answer = self.api(who, method, path, body)
        assert answer.is_success, (answer.status_code, answer.text)
        return answer.json() if answer.content else None

    def user(self) -> Login:
        """A new user."""
        self._number += 1
        name = f"user{self._number}"
        self.done(ADMIN, "POST", "/users", {"name": name, "password": PASSWORD})
        return name, PASSWORD

    def organisation(self, owner: Login) -> str:
        """A new organisation of the owner's."""
        self._number += 1
        name = f"org{self._number}"
        self.done(ADMIN, "POST", "/organisations", {"name": name, "owner": owner[0]})
        return name

    def bearer(self, who: Login | None, *scopes: str) -> str:
        answer = self.client.get("/token", params={"service": "moorage", "scope": list(scopes)}, auth=who)
        return str(answer.raise_for_status().json()["token"])

    def signed_in(self, who: Login) -> httpx.Client:
        """A client that pushes and pulls; the caller closes it."""
        return httpx.Client(base_url=self.served.url, verify=False, auth=who, timeout=60)

    def stop(self) -> None:
        self.client.close()
        self.served.stop()
        log = self.served.log.read_text()
        assert "Traceback" not in log
        assert PASSWORD not in log
        assert not any(prefix in log for prefix in ("mrgp_", "mrgr_", "mrgo_", "mrgi_"))


def problem(answer: httpx.Response, status: int, code: str) -> str:
    """What a refusal says; it has to be a problem of RFC 9457."""
    assert answer.status_code == status, (answer.status_code, answer.text)
    assert answer.headers["Content-Type"] == "application/problem+json"
    document = json.loads(answer.text)
    assert (document["status"], document["code"]) == (status, code)
    assert document["type"] == f"urn:moorage:error:{code}"
    assert document["detail"].isprintable()
    return str(document["detail"])
