"""The keys that sign bearer tokens: made, kept encrypted in rows, renewed in time.

The newest signs.  Older ones are believed until nothing they signed can still be good, so that a change of keys
leaves no gap; a process that meets a key it does not know reads the rows again.  Keys that were sealed with another
secret, from before it was changed or of a replica that has another, are passed over as if they were not there.
"""

import asyncio
import base64
import json
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from moorage.db import generation
from moorage.db import keys as rows
from moorage.db.engine import Database, Tx
from moorage.errors import Code, RegistryError
from moorage.telemetry import logger

if TYPE_CHECKING:
    from cryptography.fernet import Fernet
    from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePrivateKey

ALGORITHM: Final = "ES256"
LONGEST_TOKEN: Final = 3600
"""Seconds that a bearer token can be good for."""

_LIFE: Final = 30 * 24 * 3600 * 1_000_000
_AGAIN: Final = 1.0
"""Seconds between two looks for unknown keys: whoever invents key ids waits, and costs us no more."""

log: Final = logger("moorage.access")


@dataclass(frozen=True, slots=True)
class Key:
    id: str
    public: dict[str, str]
    private: "EllipticCurvePrivateKey"
    created_at: int


class KeyRing:
    """The signing keys of a registry.  `secret` is what they are encrypted by: bytes, the same in every replica."""

    def __init__(self, db: Database, secret: bytes, now: Callable[[], int]) -> None:
        self._db, self._secret, self._now = db, secret, now
        self._keys: dict[str, Key] = {}
        self._foreign: set[str] = set()
        self._looked = -_AGAIN
        self._turn = asyncio.Lock()

    async def signing(self) -> Key:
        """The key to sign with; made if there is none, or the newest is old.  Raises UNAVAILABLE if it was not kept."""
        if self._is_due():
            await self._read()
        if self._is_due():
            made = _made(self._now())
            sealed = self._fernet().encrypt(_pem(made.private)).decode()
            await self._db.write(_add, made, sealed, self._opens, self._now())
            await self._read()
        newest = self._newest()
        if newest is None:
            raise RegistryError(Code.UNAVAILABLE, "the key that signs tokens was made and is gone; try again shortly")
        return newest

    def _newest(self) -> Key | None:
        return next(iter(self._keys.values()), None)

    def _is_due(self) -> bool:
        newest = self._newest()
        return newest is None or newest.created_at + _LIFE < self._now()

    async def find(self, identity: str) -> Key | None:
        """The key of this id, if we made it.

        An unknown one is looked for in the rows as they are after it was asked for: another process may have made it
        just now, or somebody else may be reading them.
        """
        if identity not in self._keys:
            asked = time.monotonic()
            async with self._turn:
                if identity not in self._keys and self._looked < asked:
                    await asyncio.sleep(max(0.0, self._looked + _AGAIN - time.monotonic()))
                    await self._read()
        return self._keys.get(identity)

    async def published(self) -> dict[str, list[dict[str, str]]]:
        """The JSON Web Key Set of all that are believed (RFC 7517)."""
        await self.signing()
        return {"keys": [one.public for one in self._keys.values()]}

    async def _read(self) -> None:
        self._looked = time.monotonic()
        found, foreign = {}, set()
        for identity, public, sealed, created in await self._db.scan(rows.newest_first):
            if (pem := self._unsealed(sealed)) is None:
                foreign.add(identity)
            else:
                found[identity] = Key(identity, json.loads(public), _private(pem), created)
        for identity in sorted(foreign - self._foreign):
            log.warning(
                "a signing key was sealed with another secret, so its tokens are not believed here: "
                "replicas need the same http.secret",
                key=identity,
            )
        self._keys, self._foreign = found, foreign

    def _unsealed(self, sealed: str) -> bytes | None:
        """What was sealed; None where that was done with another secret."""
        from cryptography.fernet import InvalidToken

        try:
            return self._fernet().decrypt(sealed.encode())
        except InvalidToken:
            return None

    def _opens(self, sealed: str) -> bool:
        return self._unsealed(sealed) is not None

    def _fernet(self) -> "Fernet":
        from cryptography.fernet import Fernet
        from cryptography.hazmat.primitives.hashes import SHA256
        from cryptography.hazmat.primitives.kdf.hkdf import HKDF

        derived = HKDF(SHA256(), 32, None, b"moorage signing keys").derive(self._secret)
        return Fernet(base64.urlsafe_b64encode(derived))


def _add(tx: Tx, key: Key, sealed: str, opens: Callable[[str], bool], now: int) -> None:
    """Add the key, unless another process was faster: it would be met by processes that have only just looked.

    A key that does not open is nobody's whom we could believe, or who would believe us.
    """
    generation.change(tx, now)  # whoever else is at this waits here for our commit
    if any(created + _LIFE >= now and opens(kept) for _, _, kept, created in rows.newest_first(tx)):
        return
    rows.add(tx, key.id, json.dumps(key.public), sealed, now)
    rows.remove_before(tx, now - _LIFE - 2 * LONGEST_TOKEN * 1_000_000)


def _made(now: int) -> Key:
    import hashlib

    from cryptography.hazmat.primitives.asymmetric import ec

    private = ec.generate_private_key(ec.SECP256R1())
    numbers = private.public_key().public_numbers()
    public: dict[str, Any] = {"crv": "P-256", "kty": "EC", "x": _number(numbers.x), "y": _number(numbers.y)}
    thumbprint = hashlib.sha256(json.dumps(public, separators=(",", ":"), sort_keys=True).encode()).digest()
    identity = _text(thumbprint)  # RFC 7638
    return Key(identity, public | {"kid": identity, "use": "sig", "alg": ALGORITHM}, private, now)


def _pem(key: "EllipticCurvePrivateKey") -> bytes:
    from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())


def _private(pem: bytes) -> "EllipticCurvePrivateKey":
    from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePrivateKey
    from cryptography.hazmat.primitives.serialization import load_pem_private_key

    key = load_pem_private_key(pem, None)
    assert isinstance(key, EllipticCurvePrivateKey)
    return key


def _number(value: int) -> str:
    return _text(value.to_bytes(32, "big"))


def _text(value: bytes) -> str:
    return base64.urlsafe_b64encode(value).rstrip(b"=").decode()
