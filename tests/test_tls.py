"""TLS from files: read again on SIGHUP, what it demands of clients, and what it says of files it cannot use."""

import datetime
import signal
import ssl
import time
from collections.abc import Callable
from pathlib import Path

import httpx
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from moorage.cli.tls import tls_context
from moorage.errors import RegistryError
from moorage.settings.web import TLS
from tests import make
from tests.conftest import Served


def certify(folder: Path, name: str, passphrase: bytes = b"") -> None:
    """Write a fresh self-signed certificate for localhost, issued to `name`."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    now = datetime.datetime.now(datetime.UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(minutes=5))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("localhost")]), critical=False)
        .sign(key, hashes.SHA256())
    )
    locked = serialization.BestAvailableEncryption(passphrase) if passphrase else serialization.NoEncryption()
    folder.mkdir(exist_ok=True)
    (folder / "tls.crt").write_bytes(made.public_bytes(serialization.Encoding.PEM))
    (folder / "tls.key").write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, locked)
    )


def tls(folder: Path) -> dict[str, str]:
    return {
        "REGISTRY_HTTP_TLS_CERTIFICATE": str(folder / "tls.crt"),
        "REGISTRY_HTTP_TLS_KEY": str(folder / "tls.key"),
    }


def test_blobs_travel_under_tls_and_a_new_certificate_is_taken_up(serve: Callable[..., Served], tmp_path: Path) -> None:
    certify(tmp_path, "first")
    server = serve(**tls(tmp_path))
    content = bytes(range(256)) * 4000
    trust = ssl.create_default_context(cafile=str(tmp_path / "tls.crt"))
    with httpx.Client(base_url=f"https://localhost:{server.port}", verify=trust) as client:
        assert make.push_blob(client, "acme/app", content).status_code == 201
        certify(tmp_path, "second")
        server.process.send_signal(signal.SIGHUP)
        time.sleep(0.5)
        assert client.get(f"/v2/acme/app/blobs/{make.digest(content)}").content == content
    trust = ssl.create_default_context(cafile=str(tmp_path / "tls.crt"))
    with httpx.Client(base_url=f"https://localhost:{server.port}", verify=trust) as client:
        assert client.get("/v2/").status_code == 200


@pytest.mark.parametrize(
    ("clientauth", "with_none", "with_stranger"),
    [
        ("require-and-verify-client-cert", False, False),
        ("verify-client-cert-if-given", True, False),
        ("request-client-cert", True, True),
    ],
)
def test_clients_show_the_certificate_that_is_wanted(
    serve: Callable[..., Served], tmp_path: Path, clientauth: str, with_none: bool, with_stranger: bool
) -> None:
    for name in ("server", "client", "stranger"):
        certify(tmp_path / name, name)
    server = serve(
        **tls(tmp_path / "server"),
        REGISTRY_HTTP_TLS_CLIENTCAS_0=str(tmp_path / "client" / "tls.crt"),
        REGISTRY_HTTP_TLS_CLIENTAUTH=clientauth,
    )

    def let_in(name: str | None) -> bool:
        trust = ssl.create_default_context(cafile=str(tmp_path / "server" / "tls.crt"))
        if name:
            trust.load_cert_chain(tmp_path / name / "tls.crt", tmp_path / name / "tls.key")
        try:
            return httpx.get(f"https://localhost:{server.port}/v2/", verify=trust).status_code == 200
        except (httpx.ReadError, httpx.ConnectError, httpx.RemoteProtocolError):
            return False

    assert let_in("client")
    assert let_in(None) is with_none
    assert let_in("stranger") is with_stranger


def handshake(server: Served, highest: ssl.TLSVersion, ciphers: str = "ALL") -> tuple[str, str, int] | None:
    trust = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    trust.check_hostname, trust.verify_mode = False, ssl.CERT_NONE
    trust.maximum_version = highest
    trust.set_ciphers(ciphers)
    try:
        with httpx.Client(verify=trust) as client, client.stream("GET", f"https://localhost:{server.port}/v2/") as got:
            return got.extensions["network_stream"].get_extra_info("ssl_object").cipher()  # type: ignore[no-any-return]
    except httpx.ConnectError:
        return None


def test_the_version_of_tls_and_its_ciphers_can_be_narrowed(serve: Callable[..., Served], tmp_path: Path) -> None:
    certify(tmp_path, "server")
    narrow = "TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384"
    server = serve(tmp_path / "a", **tls(tmp_path), REGISTRY_HTTP_TLS_CIPHERSUITES_0=narrow)
    found = handshake(server, ssl.TLSVersion.TLSv1_2)
    assert found is not None
    assert found[0] == "ECDHE-ECDSA-AES256-GCM-SHA384"
    assert handshake(server, ssl.TLSVersion.TLSv1_2, "ECDHE-ECDSA-AES128-GCM-SHA256") is None
    modern = serve(tmp_path / "b", **tls(tmp_path), REGISTRY_HTTP_TLS_MINIMUMTLS="tls1.3")
    assert handshake(modern, ssl.TLSVersion.TLSv1_2) is None
    assert handshake(modern, ssl.TLSVersion.TLSv1_3) is not None


def test_a_file_that_cannot_be_used_is_named(tmp_path: Path) -> None:
    for name in ("one", "other"):
        certify(tmp_path / name, name)
    certify(tmp_path / "locked", "locked", b"open sesame")
    (tmp_path / "empty").touch()
    certificate, key = tmp_path / "one" / "tls.crt", tmp_path / "one" / "tls.key"
    for files, words in (
        ({"certificate": tmp_path / "none", "key": key}, "none cannot be read: No such file"),
        ({"certificate": tmp_path / "empty", "key": key}, "empty with the key"),
        ({"certificate": certificate, "key": tmp_path / "other" / "tls.key"}, "mismatch"),
        ({"certificate": tmp_path / "locked" / "tls.crt", "key": tmp_path / "locked" / "tls.key"}, "passphrase"),
        ({"certificate": certificate, "key": key, "clientcas": (str(tmp_path / "empty"),)}, "clientcas: .*empty holds"),
    ):
        with pytest.raises(RegistryError, match=words):
            tls_context(TLS(**files))  # type: ignore[arg-type]
