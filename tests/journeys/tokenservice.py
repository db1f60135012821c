"""A token service of Docker Registry's kind, small enough to read: it signs whatever it is asked for by its one user.

Its key is an elliptic curve's or an RSA key; the registry hears of it by a certificate or by a key set.
"""

import base64
import datetime
import hashlib
import json
import re
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import jwt
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from cryptography.x509.oid import NameOID
from jwt.algorithms import ECAlgorithm, RSAAlgorithm

USER, SECRET = "tess", "open sesame"
ISSUER, SERVICE = "the token service", "the registry"
PATHS = ("/auth", "/auth/token/")


@dataclass
class Service:
    """The service, and how it signs."""

    algorithm: str
    named: str
    """How its tokens name the key: `x5c` (its certificate), `kid` (in a key set), `thumbprint` or `fingerprint`."""
    port: int = 0
    asked: list[str] = field(default_factory=list)
    """The scopes that were asked for so far."""

    def __post_init__(self) -> None:
        self.key: Any = (
            rsa.generate_private_key(65537, 2048)
            if self.algorithm == "RS256"
            else ec.generate_private_key(ec.SECP256R1())
        )
        self.certificate = _certificate(self.key)

    def bundle(self, folder: Path) -> Path:
        path = folder / "bundle.pem"
        path.write_bytes(self.certificate.public_bytes(Encoding.PEM))
        return path

    def key_set(self, folder: Path) -> Path:
        of = RSAAlgorithm if self.algorithm == "RS256" else ECAlgorithm
        one = {**of.to_jwk(self.key.public_key(), as_dict=True), "kid": "ours", "use": "sig", "alg": self.algorithm}
        path = folder / "jwks.json"
        path.write_text(json.dumps({"keys": [one]}))
        return path

    def sign(self, access: list[dict[str, object]], subject: str = USER, key: Any = None, **changes: object) -> str:
        """A token; `changes` are other claims, and None leaves one out."""
        now = int(time.time())
        claims = {"iss": ISSUER, "aud": SERVICE, "sub": subject, "iat": now, "nbf": now - 30, "exp": now + 300}
        claims |= {"access": access, **changes}
        kept = {name: value for name, value in claims.items() if value is not None}
        chain = [base64.b64encode(self.certificate.public_bytes(Encoding.DER)).decode()]
        head = {"x5c": chain} if self.named == "x5c" else {"kid": self._identity()}
        return jwt.encode(kept, key or self.key, self.algorithm, headers=head)

    def _identity(self) -> str:
        """The key's id: its own, or what can be worked out from the certificate (RFC 7638, libtrust)."""
        public = self.key.public_key()
        if self.named == "thumbprint":
            members = {name: ECAlgorithm.to_jwk(public, as_dict=True)[name] for name in ("crv", "kty", "x", "y")}
            text = json.dumps(members, separators=(",", ":"))
            return base64.urlsafe_b64encode(hashlib.sha256(text.encode()).digest()).decode().rstrip("=")
        if self.named == "fingerprint":
            spki = public.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
            return ":".join(re.findall("....", base64.b32encode(hashlib.sha256(spki).digest()[:30]).decode()))
        return "ours"

    def answer(self, path: str, authorization: str | None) -> tuple[int, dict[str, object]]:
        asked = parse_qs(urlsplit(path).query)
        scopes = " ".join(asked.get("scope", [])).split()
        wanted = "Basic " + base64.b64encode(f"{USER}:{SECRET}".encode()).decode()
        if urlsplit(path).path not in PATHS or asked.get("service") != [SERVICE]:
            return 404, {}
        if authorization not in (None, wanted):
            return 401, {"errors": [{"code": "UNAUTHORIZED", "message": "tess knows better"}]}
        self.asked += scopes
        access = [_entry(one, everything=authorization is not None) for one in scopes]
        token = self.sign(access, USER if authorization else "")
        return 200, {"token": token, "access_token": token, "expires_in": 300}


def _entry(scope: str, *, everything: bool) -> dict[str, object]:
    """What is given of a scope: all to the user, to others only pull of what is below public/."""
    kind, name, actions = scope.split(":")
    given = actions.split(",") if everything else [one for one in ["pull"] if name.startswith("public/")]
    return {"type": kind, "name": name, "actions": given}


def _certificate(key: Any) -> x509.Certificate:
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "token service")])
    now = datetime.datetime.now(datetime.UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )


@contextmanager
def serving(service: Service) -> Iterator[Service]:
    """The service answers on a port of its own meanwhile."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            status, document = service.answer(self.path, self.headers.get("Authorization"))
            body = json.dumps(document).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def do_POST(self) -> None:
            """Docker's services need not know OAuth2; clients then ask with GET."""
            self.send_response(405)
            self.send_header("Content-Length", "0")
            self.send_header("Connection", "close")
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    service.port = server.server_address[1]
    thread = threading.Thread(target=server.serve_forever, args=(0.05,))
    thread.start()
    try:
        yield service
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
