"""Certificate authorities for tests, and the contexts of clients that show certificates."""

import datetime
import ipaddress
import ssl
from pathlib import Path
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

ELSEWHERE = "192.0.2.77"
"""An address that belongs to nobody (RFC 5737), for a test that gives it to this machine alone."""
HERE = x509.SubjectAlternativeName([x509.DNSName("localhost"), x509.IPAddress(ipaddress.ip_address(ELSEWHERE))])


class Authority:
    """Issues certificates into files of a folder; made by itself, or by the authority `above`."""

    def __init__(self, folder: Path, name: str, above: "Authority | None" = None) -> None:
        self.folder = folder
        self.key = ec.generate_private_key(ec.SECP256R1())
        self.name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        signer = above or self
        constraints = x509.BasicConstraints(ca=True, path_length=None)
        self._made = signer._build(self.name, self.key.public_key(), 1, constraints).sign(signer.key, hashes.SHA256())
        folder.mkdir(exist_ok=True)
        self.file = folder / f"{name}.pem"
        self.file.write_bytes(self._made.public_bytes(serialization.Encoding.PEM))

    def _build(self, subject: x509.Name, key: Any, days: float, *extensions: Any) -> x509.CertificateBuilder:
        now = datetime.datetime.now(datetime.UTC)
        built = x509.CertificateBuilder().subject_name(subject).issuer_name(self.name).public_key(key)
        built = built.serial_number(x509.random_serial_number()).not_valid_before(now - datetime.timedelta(minutes=5))
        built = built.not_valid_after(now + datetime.timedelta(days=days))
        for extension in extensions:
            built = built.add_extension(extension, critical=isinstance(extension, x509.BasicConstraints))
        return built

    def issue(self, *names: str, seconds: float = 3600) -> tuple[Path, Path]:
        """The files of a certificate with these common names, and of its key; good for localhost as well."""
        key = ec.generate_private_key(ec.SECP256R1())
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name) for name in names])
        made = self._build(subject, key.public_key(), seconds / 86400, HERE).sign(self.key, hashes.SHA256())
        place = self.folder / f"{made.serial_number:x}"
        certificate, private = place.with_suffix(".cert"), place.with_suffix(".key")
        certificate.write_bytes(made.public_bytes(serialization.Encoding.PEM))
        plain = serialization.NoEncryption()
        private.write_bytes(key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, plain))
        return certificate, private


def context(trusted: Authority, shown: tuple[Path, Path] | None = None) -> ssl.SSLContext:
    """A client that believes an authority, and shows a certificate."""
    made = ssl.create_default_context(cafile=str(trusted.file))
    if shown:
        made.load_cert_chain(*shown)
    return made
