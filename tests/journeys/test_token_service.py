"""Docker Registry's own providers: a token service outside decides (`auth.token`), or a file does (`auth.htpasswd`)."""

import time
from collections.abc import Callable, Iterator
from pathlib import Path

import bcrypt
import httpx
import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import ec

from tests import make
from tests.conftest import Served, start
from tests.journeys.house import Home
from tests.journeys.tokenservice import SECRET, SERVICE, USER, Service, serving
from tests.journeys.ways import way

ACCESS: list[dict[str, object]] = [{"type": "repository", "name": "acme/app", "actions": ["pull", "push"]}]
KINDS = [("RS256", "x5c"), ("ES256", "kid"), ("ES256", "thumbprint"), ("RS256", "fingerprint")]


@pytest.fixture(scope="module", params=KINDS, ids=[named for _, named in KINDS])
def service(request: pytest.FixtureRequest) -> Iterator[Service]:
    with serving(Service(*request.param)) as one:
        yield one


@pytest.fixture(scope="module")
def server(service: Service, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """A registry that believes the service."""
    folder = tmp_path_factory.mktemp("outside")
    known = (
        f"jwks: {service.key_set(folder)}" if service.named == "kid" else f"rootcertbundle: {service.bundle(folder)}"
    )
    config = folder / "config.yml"
    config.write_text(
        f"version: 0.1\nauth:\n  token:\n    realm: http://localhost:{service.port}/auth\n    {known}\n"
        f"    service: {SERVICE}\n    issuer: the token service\n"
    )
    one = start(folder / "data", config=config)
    yield one
    one.stop()
    assert "Traceback" not in one.log.read_text()


@pytest.mark.client("docker")
@pytest.mark.client("crane")
@pytest.mark.parametrize("program", ["docker", "crane"])
def test_a_client_logs_in_pushes_and_pulls_by_a_token_service(
    server: Served, service: Service, tmp_path: Path, program: str
) -> None:
    how = way(program)
    how.need()
    bearer = {"Authorization": f"Bearer {service.sign(ACCESS)}"}
    with httpx.Client(base_url=server.url, headers=bearer) as client:
        make.push_image(client, "acme/app", "1", b'{"architecture":"amd64","os":"linux","rootfs":{"type":"layers"}}')
    home = Home(tmp_path / "home", server.address, user=USER, secret=SECRET, name=f"acme/by-{program}")
    home.stranger(how.pull)
    home.run(how.login)
    home.run(how.push)
    home.run(how.pull)
    assert any(one.startswith(f"repository:acme/by-{program}:") for one in service.asked)
    home.run(how.push, name=f"public/by-{program}")
    home.run(how.logout)
    home.stranger(how.pull)
    home.run(how.pull, name=f"public/by-{program}")


@pytest.mark.client("docker")
def test_docker_shows_what_the_token_service_says_to_a_wrong_password(server: Served, tmp_path: Path) -> None:
    how = way("docker")
    how.need()
    home = Home(tmp_path / "home", server.address, user=USER, secret="wrong")
    assert "tess knows better" in home.refused(how.login)


def _unsigned(service: Service) -> str:
    claims = jwt.decode(service.sign(ACCESS), options={"verify_signature": False})
    return jwt.encode(claims, None, "none", headers=jwt.get_unverified_header(service.sign(ACCESS)) | {"alg": "none"})


FALSE: dict[str, Callable[[Service], str]] = {
    "another issuer": lambda service: service.sign(ACCESS, iss="somebody else"),
    "no issuer": lambda service: service.sign(ACCESS, iss=None),
    "another audience": lambda service: service.sign(ACCESS, aud="another registry"),
    "no audience": lambda service: service.sign(ACCESS, aud=None),
    "expired": lambda service: service.sign(ACCESS, exp=int(time.time()) - 120),
    "no end": lambda service: service.sign(ACCESS, exp=None),
    "not yet": lambda service: service.sign(ACCESS, nbf=int(time.time()) + 3600),
    "unsigned": _unsigned,
    "another key": lambda service: Service(service.algorithm, service.named).sign(ACCESS),
    "another key, the right chain": lambda service: service.sign(
        ACCESS, key=Service(service.algorithm, service.named).key
    ),
    "a shared secret": lambda service: jwt.encode(
        jwt.decode(service.sign(ACCESS), options={"verify_signature": False}), "secret" * 8, "HS256"
    ),
    "a key that it brings": lambda service: jwt.encode(
        jwt.decode(service.sign(ACCESS), options={"verify_signature": False}),
        (key := ec.generate_private_key(ec.SECP256R1())),
        "ES256",
        headers={"jwk": jwt.algorithms.ECAlgorithm.to_jwk(key.public_key(), as_dict=True)},
    ),
}


@pytest.mark.parametrize("false", [pytest.param(one, id=name) for name, one in FALSE.items()])
def test_a_token_that_the_service_did_not_mean_for_us_is_refused(
    server: Served, service: Service, false: Callable[[Service], str]
) -> None:
    upload = f"{server.url}/v2/acme/app/blobs/uploads/"
    good = httpx.post(upload, headers={"Authorization": f"Bearer {service.sign(ACCESS)}"})
    assert good.status_code == 202
    answer = httpx.post(upload, headers={"Authorization": f"Bearer {false(service)}"})
    assert answer.status_code == 401
    assert 'error="invalid_token"' in answer.headers["WWW-Authenticate"]
    assert f'realm="http://localhost:{service.port}/auth",service="{SERVICE}"' in answer.headers["WWW-Authenticate"]


def test_the_claims_are_the_whole_decision(server: Served, service: Service) -> None:
    def status(method: str, path: str, access: list[dict[str, object]]) -> int:
        headers = {"Authorization": f"Bearer {service.sign(access)}"}
        return httpx.request(method, f"{server.url}/v2/{path}", headers=headers).status_code

    pull = [{"type": "repository", "name": "acme/app", "actions": ["pull"]}]
    everything = [{"type": "repository", "name": "acme/app", "actions": ["*"]}]
    assert status("POST", "acme/app/blobs/uploads/", pull) == 401
    assert status("POST", "acme/other/blobs/uploads/", ACCESS) == 401
    assert status("GET", "_catalog", ACCESS) == 401
    assert status("GET", "_catalog", [{"type": "registry", "name": "catalog", "actions": ["*"]}]) == 200
    assert status("POST", "acme/app/blobs/uploads/", everything) == 202
    assert status("DELETE", f"acme/app/manifests/{make.digest(b'none')}", ACCESS) == 401
    assert status("DELETE", f"acme/app/manifests/{make.digest(b'none')}", everything) == 404


def test_autoredirect_sends_clients_to_the_host_they_asked(tmp_path: Path) -> None:
    with serving(Service("ES256", "kid")) as service:
        config = tmp_path / "config.yml"
        config.write_text(
            f"version: 0.1\nauth:\n  token:\n    realm: http://nowhere.invalid/\n    service: {SERVICE}\n"
            f"    issuer: the token service\n    jwks: {service.key_set(tmp_path)}\n    autoredirect: true\n"
        )
        server = start(tmp_path / "data", config=config)
        try:
            challenge = httpx.get(f"{server.url}/v2/", headers={"Host": "registry.example:5000"})
        finally:
            server.stop()
    told = challenge.headers["WWW-Authenticate"]
    assert told == f'Bearer realm="http://registry.example:5000/auth/token/",service="{SERVICE}"'


@pytest.mark.client("docker")
@pytest.mark.client("crane")
@pytest.mark.parametrize("program", ["docker", "crane", "podman", "oras"])
def test_a_client_logs_in_pushes_and_pulls_by_an_htpasswd_file(
    tmp_path: Path, storage: list[str], program: str
) -> None:
    how = way(program)
    how.need()
    users, config = tmp_path / "users", tmp_path / "config.yml"
    users.write_text(f"ann:{bcrypt.hashpw(b'secret', bcrypt.gensalt(4)).decode()}\n")
    config.write_text(f"version: 0.1\nauth: {{htpasswd: {{path: {users}, realm: Ours}}}}\n")
    server = start(tmp_path / "data", config=config)
    try:
        with httpx.Client(base_url=server.url, auth=("ann", "secret")) as client:
            make.push_image(
                client, "acme/app", "1", b'{"architecture":"amd64","os":"linux","rootfs":{"type":"layers"}}'
            )
        who = {"user": "ann", "secret": "secret", "storage": " ".join(storage)}
        home = Home(tmp_path / "home", server.address, name="acme/own", **who)
        home.stranger(how.pull)
        if program != "crane":  # it asks nobody at its login
            home.refused(how.login, secret="wrong")
        home.run(how.login)
        home.run(how.push)
        home.run(how.pull)
        home.run(how.logout)
        home.stranger(how.pull)
    finally:
        server.stop()
