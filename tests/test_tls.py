"""TLS from files, read again on SIGHUP."""

import datetime
import signal
import ssl
import time
from collections.abc import Callable
from pathlib import Path

import httpx
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from tests import make
from tests.conftest import Served


def certify(folder: Path, name: str) -> None:
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
    (folder / "tls.crt").write_bytes(made.public_bytes(serialization.Encoding.PEM))
    (folder / "tls.key").write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )


def test_blobs_travel_under_tls_and_a_new_certificate_is_taken_up(serve: Callable[..., Served], tmp_path: Path) -> None:
    certify(tmp_path, "first")
    server = serve(
        REGISTRY_HTTP_TLS_CERTIFICATE=str(tmp_path / "tls.crt"), REGISTRY_HTTP_TLS_KEY=str(tmp_path / "tls.key")
    )
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
