"""Client certificates that name accounts, over real TLS."""

import json
import signal
import socket
import ssl
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import jwt
import pytest

from moorage.access.certificates import Certificate, certified
from moorage.db import events
from moorage.db.engine import open_database
from tests import make
from tests.authority import Authority, context
from tests.closed import ADMIN, PASSWORD, Closed, Login, problem
from tests.databases import Server

SETTINGS = """
http:
  tls: {{certificate: {cert}, key: {key}, clientcas: [{clients}], clientauth: {clientauth}}}
  trusted_proxies: [{proxies}]
auth: {{certificates: true, refreshtokens: true}}
"""


class House(Closed):
    """A closed server behind TLS, where certificates sign accounts in."""

    def __init__(
        self,
        folder: Path,
        proxies: str = "",
        clientauth: str = "verify-client-cert-if-given",
        host: str = "",
        **environment: str,
    ) -> None:
        self.name = host or "localhost"
        self.site, self.people = Authority(folder / "site", "site"), Authority(folder / "people", "people")
        self.bundle = folder / "clients.pem"
        self.bundle.write_bytes(self.people.file.read_bytes())
        cert, key = self.site.issue("registry")
        values = {"cert": cert, "key": key, "clients": self.bundle, "clientauth": clientauth, "proxies": proxies}
        super().__init__(folder, SETTINGS.format(**values), host=host or "127.0.0.1", **environment)
        self.client.close()
        self.client = self.show(None)

    @property
    def port(self) -> int:
        return self.served.port

    def show(self, shown: tuple[Path, Path] | None) -> httpx.Client:
        """A client that shows a certificate; the caller closes it."""
        base = f"https://{self.name}:{self.port}"
        return httpx.Client(base_url=base, verify=context(self.site, shown), timeout=60)

    def named(self, *names: str, seconds: float = 3600) -> httpx.Client:
        """A client with a new certificate of these common names."""
        return self.show(self.people.issue(*names, seconds=seconds))

    def reload(self, words: str) -> None:
        """Have the files read again; the log then says how that went."""
        before = self.served.log.read_text().count(words)
        self.served.process.send_signal(signal.SIGHUP)
        wait_for(lambda: self.served.log.read_text().count(words) > before)


def wait_for(what: Callable[[], bool], seconds: float = 10) -> None:
    until = time.monotonic() + seconds
    while not what() and time.monotonic() < until:
        time.sleep(0.1)
    assert what()


def said(answer: httpx.Response, status: int) -> str:
    """What a refusal of /v2 says."""
    assert answer.status_code == status, (answer.status_code, answer.text)
    return str(answer.json()["errors"][0]["message"])


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    made = House(tmp_path_factory.mktemp("house"))
    yield made
    made.stop()


@pytest.fixture
def alice(house: House) -> Login:
    return house.user()


def test_a_certificate_signs_its_account_in_wherever_one_signs_in(house: House, alice: Login) -> None:
    name = alice[0]
    with house.named(name) as client:
        assert client.get("/v2/").status_code == 200
        make.push_image(client, f"{name}/app", "1", b"{}", b"layer")
        assert client.get(f"/v2/{name}/app/manifests/1").status_code == 200
        me = client.get("/api/v1/me").json()
        assert (me["name"], me["kind"], me["credential"]) == (name, "user", "a client certificate")
        refused = said(client.post("/v2/acme/app/blobs/uploads/"), 403)
        assert f"{name} (a client certificate) may not push to acme/app" in refused
        assert client.get(f"/v2/{name}/nothing/manifests/1").status_code == 404
        given = client.get("/token", params={"scope": f"repository:{name}/app:pull,push"}).json()["token"]
    claims = jwt.decode(given, options={"verify_signature": False})
    assert claims["sub"] == name
    assert claims["access"] == [{"type": "repository", "name": f"{name}/app", "actions": ["pull", "push"]}]
    bearer = {"Authorization": f"Bearer {given}"}
    assert house.client.get(f"/v2/{name}/app/manifests/1", headers=bearer).status_code == 200
    lines = [json.loads(line) for line in house.served.log.read_text().splitlines()]
    assert name in {line.get("actor") for line in lines}


def test_an_account_without_a_password_signs_in_by_certificate_alone(house: House) -> None:
    house.done(ADMIN, "POST", "/users", {"name": "keyless"})
    with house.named("keyless") as client:
        assert client.get("/api/v1/me").json()["name"] == "keyless"
    assert house.client.get("/v2/", auth=("keyless", "")).status_code == 401


def test_an_administrator_by_certificate_may_administer(house: House) -> None:
    with house.named("admin") as client:
        assert client.get("/api/v1/users").status_code == 200


def test_a_robot_by_certificate_may_what_its_rules_say(house: House, alice: Login) -> None:
    organisation = house.organisation(alice)
    body = {"owner": organisation, "name": "ci", "rules": [f"{organisation}/app:pull,push"]}
    house.done(alice, "POST", "/robots", body)
    with house.named(f"{organisation}.ci") as client:
        make.push_image(client, f"{organisation}/app", "1", b"{}")
        refused = said(client.post(f"/v2/{organisation}/other/blobs/uploads/"), 403)
        assert f"{organisation}.ci (a client certificate) may not push" in refused
        me = client.get("/api/v1/me").json()
        assert (me["kind"], me["credential"]) == ("robot", "a client certificate")


def test_an_authorization_header_wins_over_the_certificate(house: House, alice: Login) -> None:
    bob = house.user()
    with house.named(alice[0]) as client:
        assert client.get("/api/v1/me").json()["name"] == alice[0]
        assert client.get("/api/v1/me", auth=bob).json()["name"] == bob[0]
        assert client.get("/token", auth=bob).status_code == 200
        for proof in ("Basic eDp5", f"Certificate {alice[0]}", "", "Bearer x"):
            header = {"Authorization": proof}
            assert client.get("/v2/", headers=header).status_code == 401, proof
            assert client.get("/api/v1/me", headers=header).status_code == 401, proof
            assert client.get("/token", headers=header).status_code == 401, proof
        nobody = {"Authorization": f"Bearer {house.bearer(None)}"}
        said(client.post(f"/v2/{alice[0]}/app/blobs/uploads/", headers=nobody), 401)
        assert client.get("/api/v1/me").json()["name"] == alice[0], "it is no worse for what came with a header"


def everything_refused(house: House, client: httpx.Client, why: str) -> None:
    """The certificate is worth nothing: whoever has to sign in is told why, and the public is served."""
    ping = client.get("/v2/")
    assert f"nobody is signed in (the client certificate {why}" in said(ping, 401)
    assert ping.headers["WWW-Authenticate"].startswith("Bearer realm=")
    assert why in said(client.get("/v2/public/secret/tags/list"), 401)
    assert why in said(client.post("/v2/public/app/blobs/uploads/"), 401)
    assert why in said(client.get("/v2/_catalog"), 401)
    assert why in problem(client.get("/api/v1/users"), 401, "UNAUTHORIZED")
    assert client.get("/v2/public/app/manifests/1").status_code == 200
    # docker and others ask for a token first, which is nobody's; it keeps the reason.
    bearer = client.get("/token", params={"scope": "repository:public/app:pull,push"}).raise_for_status().json()
    claims = jwt.decode(bearer["token"], options={"verify_signature": False})
    assert (claims["sub"], claims["access"]) == (
        "",
        [{"type": "repository", "name": "public/app", "actions": ["pull"]}],
    )
    headers = {"Authorization": f"Bearer {bearer['token']}"}
    assert client.get("/v2/", headers=headers).status_code == 200
    assert client.get("/v2/public/app/manifests/1", headers=headers).status_code == 200
    assert why in said(client.post("/v2/public/app/blobs/uploads/", headers=headers), 401)


@pytest.fixture(scope="module")
def public(house: House) -> None:
    house.done(ADMIN, "POST", "/organisations", {"name": "public", "owner": "admin"})
    with house.named("admin") as client:
        make.push_image(client, "public/app", "1", b"{}")
    house.done(ADMIN, "PATCH", "/repositories/public/app", {"visibility": "public"})


@pytest.mark.usefixtures("public")
@pytest.mark.parametrize(
    ("names", "why"),
    [
        (["stranger"], "names 'stranger', which is no account that may sign in"),
        (["public"], "names 'public', which is no account"),  # an organisation
        (["Admin"], "names 'Admin', which is no account"),
        ([" admin"], "names ' admin', which is no account"),
        (["admin\0.evil"], r"names 'admin\x00.evil', which is no account"),
        (["admin\n\u202e"], r"names 'admin\n\u202e', which is no account"),
        (["' OR 1=1 --"], 'names "\' OR 1=1 --", which is no account'),
        (["anonymous"], "names 'anonymous', which is no account"),
        (["operator"], "names 'operator', which is no account"),
        (["admin", "stranger"], "has 2 common names in its subject, and needs one"),
        ([], "has 0 common names in its subject, and needs one"),
    ],
)
def test_a_certificate_of_nobody_proves_nobody_and_says_why(house: House, names: list[str], why: str) -> None:
    with house.named(*names) as client:
        everything_refused(house, client, why)


@pytest.mark.usefixtures("public")
def test_an_account_that_is_disabled_stops_within_seconds_on_an_open_connection(house: House, alice: Login) -> None:
    with house.named(alice[0]) as client:
        push = lambda: client.post(f"/v2/{alice[0]}/app/blobs/uploads/").status_code  # noqa: E731
        assert push() == 202
        house.done(ADMIN, "PATCH", f"/users/{alice[0]}", {"disabled": True})
        wait_for(lambda: push() == 401, 5)
        everything_refused(house, client, f"names '{alice[0]}', which is no account")
        house.done(ADMIN, "PATCH", f"/users/{alice[0]}", {"disabled": False})
        wait_for(lambda: push() == 202, 5)


@pytest.mark.usefixtures("public")
def test_a_certificate_that_ends_is_worth_nothing_from_then_on(house: House, alice: Login) -> None:
    with house.named(alice[0], seconds=5) as client:
        assert client.get("/v2/").status_code == 200
        wait_for(lambda: client.get("/v2/").status_code == 401)
        everything_refused(house, client, "has expired")
    with pytest.raises((httpx.ReadError, httpx.ConnectError, httpx.RemoteProtocolError)):
        house.named(alice[0], seconds=-1).get("/v2/")


def test_a_certificate_is_good_until_it_or_its_account_ends(house: House) -> None:
    house.done(ADMIN, "POST", "/users", {"name": "guest", "expires_in": 3600})
    soon = time.time() + 3600
    db = open_database(house.database)
    try:
        proved = lambda until: db.read_now(certified, Certificate(("guest",), until), now)  # noqa: E731
        now = time.time_ns() // 1000
        assert abs(proved(soon + 9000).until - soon) < 60
        assert proved(soon - 900).until == soon - 900
        now += 3700 * 1_000_000
        assert not proved(soon + 9000).actor.signed_in
    finally:
        db.close_now()


def test_a_certificate_gets_no_refresh_token(house: House, alice: Login) -> None:
    asked = {"offline_token": "true", "service": "moorage"}
    with house.named(alice[0]) as client:
        assert "refresh_token" not in client.get("/token", params=asked).raise_for_status().json()
        assert "refresh_token" in client.get("/token", params=asked, auth=alice).raise_for_status().json()


def test_a_page_of_another_site_gets_nothing_by_a_browsers_certificate(house: House, alice: Login) -> None:
    with house.named(alice[0]) as client:
        for site, status in (("cross-site", 401), ("same-site", 401), ("same-origin", 202), ("none", 202)):
            asked = client.post(f"/v2/{alice[0]}/app/blobs/uploads/", headers={"Sec-Fetch-Site": site})
            assert asked.status_code == status


def test_who_failed_by_certificate_stands_in_the_events(house: House) -> None:
    with house.named("burglar") as client:
        for _ in range(5):
            client.get("/v2/")
    db = open_database(house.database)
    try:
        found = lambda: [one for one in db.read_now(events.after, (0, 0), 1000) if "burglar" in str(one)]  # noqa: E731
        wait_for(lambda: len(found()) == 1, 5)
        assert found()[0].kind == "sign-in.failed"
    finally:
        db.close_now()


def test_no_name_is_a_failure_of_the_database(tmp_path: Path, postgresql_server: Server) -> None:
    """PostgreSQL takes no NUL in a text."""
    house = House(tmp_path, REGISTRY_DATABASE_URL=postgresql_server.create(schema=False))
    try:
        for name, status in (("admin\0", 401), ("admin\ud7ff\uffff", 401), ("\U0001f433" * 16, 401), ("admin", 200)):
            with house.named(name) as client:
                assert client.get("/v2/").status_code == status, ascii(name)
    finally:
        house.stop()


def test_a_proxys_certificate_signs_nobody_in(tmp_path: Path) -> None:
    house = House(tmp_path, proxies="127.0.0.1")
    try:
        with house.named("admin") as proxy:
            refused = said(proxy.get("/v2/", headers={"X-Forwarded-For": "192.0.2.1"}), 401)
            assert refused.startswith("nobody is signed in;")
            assert proxy.get("/api/v1/me", auth=ADMIN).json()["name"] == "admin"
    finally:
        house.stop()


def handshake(house: House, shown: tuple[Path, Path], session: ssl.SSLSession | None = None) -> ssl.SSLSocket:
    """A connection of TLS 1.2, where a certificate that is not believed fails the handshake itself."""
    made = handshake.context.setdefault(shown, context(house.site, shown))
    made.maximum_version = ssl.TLSVersion.TLSv1_2
    plain = socket.create_connection(("localhost", house.port), 20)
    try:
        return made.wrap_socket(plain, server_hostname="localhost", session=session)
    except BaseException:
        plain.close()
        raise


handshake.context = {}  # type: ignore[attr-defined]


def test_who_may_show_certificates_is_read_again_and_no_old_session_lives_on(tmp_path: Path) -> None:
    house = House(tmp_path, clientauth="require-and-verify-client-cert")
    try:
        house.client.close()
        old = house.people.issue("admin")
        others = Authority(tmp_path / "others", "others")
        new = others.issue("admin")
        first = handshake(house, old)
        kept = house.show(old)
        assert kept.get("/v2/").status_code == 200
        with handshake(house, old, first.session) as again:
            assert again.session_reused, "sessions are resumed, or nothing is shown by what follows"
        with pytest.raises((ssl.SSLError, ConnectionError)):
            handshake(house, new)

        house.bundle.write_text("no certificate")
        house.reload("the TLS files are used as they were")
        assert kept.get("/v2/").status_code == 200

        house.bundle.write_bytes(others.file.read_bytes())
        house.reload("the TLS files were read again")
        with house.show(new) as client:
            assert client.get("/v2/").status_code == 200
        with pytest.raises((ssl.SSLError, ConnectionError)):
            handshake(house, old)
        with pytest.raises((ssl.SSLError, ConnectionError)):
            handshake(house, old, first.session)
        with pytest.raises(httpx.TransportError):
            kept.get("/v2/")  # its connection was closed, and a new one is refused
        first.close()
        kept.close()
    finally:
        house.stop()


def test_an_authority_below_another_is_believed_without_the_other(tmp_path: Path) -> None:
    house = House(tmp_path, clientauth="require-and-verify-client-cert")
    try:
        house.client.close()
        above = Authority(tmp_path / "above", "above")
        below = Authority(tmp_path / "below", "below", above)
        house.bundle.write_bytes(below.file.read_bytes())
        house.reload("the TLS files were read again")
        with house.show(below.issue("admin")) as client:
            assert client.get("/v2/").status_code == 200
        with house.show(above.issue("admin")) as client, pytest.raises(httpx.TransportError):
            client.get("/v2/")
    finally:
        house.stop()


def test_certificates_sign_nobody_in_unless_they_are_to(tmp_path: Path) -> None:
    site = Authority(tmp_path / "site", "site")
    cert, key = site.issue("registry")
    house = Closed(tmp_path, f"http: {{tls: {{certificate: {cert}, key: {key}, clientcas: [{site.file}]}}}}\n")
    try:
        shown = context(site, site.issue("admin"))
        with httpx.Client(base_url=f"https://localhost:{house.served.port}", verify=shown) as client:
            assert said(client.get("/v2/"), 401).startswith("nobody is signed in;")
            assert client.get("/v2/", auth=("admin", PASSWORD)).status_code == 200
    finally:
        house.stop()
