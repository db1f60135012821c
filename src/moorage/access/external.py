"""Tokens of a service outside (Docker Registry's `auth.token`): its claims are the whole decision.

A token names its key by `kid`, in the key set or of a certificate in the bundle, or carries a chain of certificates
(`x5c`) that ends at one of the bundle.  A key that only the token itself brings is never believed.
"""

import base64
import hashlib
import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from moorage.access.actor import ANONYMOUS, ANYONE, EVERYONE, Actor, Identity
from moorage.access.bearer import LONGEST, refused
from moorage.access.scopes import Scopes
from moorage.errors import Code, RegistryError

if TYPE_CHECKING:
    from cryptography.x509 import Certificate

SAFE: Final = ("ES256", "ES384", "ES512", "RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "EdDSA")
"""Algorithms with a public key; a shared secret or none at all is not one."""

_CHAIN: Final = 5


@dataclass(frozen=True, slots=True)
class External:
    """Believes the tokens of `issuer` for `service`."""

    issuer: str
    service: str
    algorithms: tuple[str, ...]
    keys: dict[str, Any] = field(default_factory=dict)
    """By key id, what PyJWT verifies with."""
    roots: "tuple[Certificate, ...]" = ()

    async def identify(self, header: str, _peer: str, /) -> Identity:
        import jwt

        scheme, _, text = header.partition(" ")
        text = text.strip()
        if scheme.lower() != "bearer":
            raise RegistryError(Code.UNAUTHORIZED, "this registry wants a token of its token service (Bearer)")
        if len(text) > LONGEST:
            raise refused("is too long")
        try:
            head = jwt.get_unverified_header(text)
            key = self._key(head)
            if key is None or head.get("alg") not in self.algorithms:
                raise refused("was not signed by a key that this registry believes")
            claims = jwt.decode(
                text,
                key,
                list(self.algorithms),
                issuer=self.issuer,
                audience=self.service,
                leeway=60,
                options={"require": ["exp", "iss", "aud"]},
            )
        except jwt.ExpiredSignatureError:
            raise refused("has expired; ask for a new one, or sign in again") from None
        except (jwt.PyJWTError, ValueError, TypeError, RecursionError):
            raise refused("is not one of this registry's token service") from None
        name = claims.get("sub") or ""
        actor = Actor(name, "external", subjects=(EVERYONE, ANYONE)) if name else ANONYMOUS
        scopes = Scopes.of_claims(claims.get("access"))
        return Identity(actor, "a token of the token service", asked=scopes, vouched=True, until=claims["exp"])

    def version(self) -> object:
        """Its keys are read once."""
        return None

    def _key(self, head: dict[str, Any]) -> Any:
        if "x5c" in head and self.roots:
            return self._chained(head["x5c"])
        identity = head.get("kid")
        if isinstance(identity, str):
            return self.keys.get(identity)
        return next(iter(self.keys.values())) if len(self.keys) == 1 and identity is None else None

    def _chained(self, chain: Any) -> Any:
        """The key of a chain's first certificate, if every one is issued by the next and the last by a root."""
        from cryptography.exceptions import InvalidSignature
        from cryptography.x509 import load_der_x509_certificate

        if not isinstance(chain, list) or not 0 < len(chain) <= _CHAIN:
            return None
        certificates = [load_der_x509_certificate(base64.b64decode(one, validate=True)) for one in chain]
        if not all(_valid_now(one) for one in certificates):
            return None
        for issued, issuer in zip(certificates, [*certificates[1:], None], strict=True):
            if issued in self.roots:
                return certificates[0].public_key()
            for candidate in [issuer] if issuer is not None else self.roots:
                try:
                    issued.verify_directly_issued_by(candidate)
                    break
                except (InvalidSignature, ValueError, TypeError):
                    continue
            else:
                return None
        return certificates[0].public_key()


def external(
    issuer: str, service: str, algorithms: tuple[str, ...], bundle: Path | None, key_set: Path | None
) -> External:
    """From files: a PEM bundle of certificates, a JSON Web Key Set.  Raises UNAVAILABLE where one cannot be read."""
    unsafe = [one for one in algorithms if one not in SAFE]
    if unsafe:
        raise RegistryError(
            Code.UNAVAILABLE, f"auth.token.signingalgorithms: {', '.join(unsafe)} cannot be used; use {', '.join(SAFE)}"
        )
    keys: dict[str, Any] = {}
    roots: tuple[Certificate, ...] = ()
    try:
        if key_set is not None:
            keys |= _of_set(key_set)
        if bundle is not None:
            roots = _of_bundle(bundle)
            keys |= {identity: one.public_key() for one in roots for identity in _identities(one)}
    except OSError as reason:
        raise RegistryError(
            Code.UNAVAILABLE, f"auth.token: {reason.filename} cannot be read: {reason.strerror}"
        ) from reason
    return External(issuer, service, algorithms or SAFE, keys, roots)


def _of_set(path: Path) -> dict[str, Any]:
    import jwt

    try:
        found = jwt.PyJWKSet.from_dict(json.loads(path.read_text())).keys
    except (jwt.PyJWTError, ValueError) as reason:
        raise RegistryError(Code.UNAVAILABLE, f"auth.token.jwks: {path} is not a JSON Web Key Set") from reason
    return {one.key_id or str(number): one.key for number, one in enumerate(found) if one.key_type != "oct"}


def _of_bundle(path: Path) -> "tuple[Certificate, ...]":
    from cryptography.x509 import load_pem_x509_certificates

    try:
        return tuple(load_pem_x509_certificates(path.read_bytes()))
    except ValueError as reason:
        raise RegistryError(Code.UNAVAILABLE, f"auth.token.rootcertbundle: {path} holds no certificate") from reason


def _identities(certificate: "Certificate") -> list[str]:
    """The ids that token services give a certificate's key: its thumbprint (RFC 7638), and the older fingerprint."""
    from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
    from jwt.algorithms import ECAlgorithm, OKPAlgorithm, RSAAlgorithm

    key: Any = certificate.public_key()
    spki = key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    letters = base64.b32encode(hashlib.sha256(spki).digest()[:30]).decode()
    older = ":".join(letters[at : at + 4] for at in range(0, 48, 4))
    for algorithm in (ECAlgorithm, RSAAlgorithm, OKPAlgorithm):
        try:
            members: dict[str, Any] = algorithm.to_jwk(key, as_dict=True)
        except (TypeError, AttributeError, ValueError, NotImplementedError):
            continue
        except Exception:  # noqa: BLE001, S112 - each kind of key has its own way to refuse another's
            continue
        wanted = {"EC": ("crv", "kty", "x", "y"), "RSA": ("e", "kty", "n"), "OKP": ("crv", "kty", "x")}
        chosen = {name: members[name] for name in wanted.get(members.get("kty", ""), ()) if name in members}
        if chosen:
            text = json.dumps(chosen, separators=(",", ":"), sort_keys=True).encode()
            thumbprint = base64.urlsafe_b64encode(hashlib.sha256(text).digest()).rstrip(b"=").decode()
            return [thumbprint, older]
    return [older]


def _valid_now(certificate: "Certificate") -> bool:
    from datetime import UTC, datetime

    return certificate.not_valid_before_utc <= datetime.now(UTC) <= certificate.not_valid_after_utc
