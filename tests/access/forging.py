"""Bearer tokens that a registry would never give: signed by its own key, with claims of the tester's choice."""

import asyncio
import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jwt

from moorage.access.first import sealing_secret
from moorage.access.keys import ALGORITHM, Key, KeyRing
from moorage.db.engine import Database


def signing_key(db: Database, data: Path) -> Key:
    """The key that the registry of these rows and this folder signs with."""
    return asyncio.run(KeyRing(db, sealing_secret(data, None), lambda: time.time_ns() // 1000).signing())


def resigned(token: str, key: Key, change: Callable[[dict[str, Any]], object], **header: object) -> str:
    """A token of the registry with other claims, or another header, signed again."""
    claims = jwt.decode(token, options={"verify_signature": False})
    change(claims)
    payload = json.dumps(claims).encode()  # whatever the claims are: PyJWT signs none that it would not read
    return jwt.PyJWS().encode(payload, key.private, ALGORITHM, headers={"kid": key.id, **header})


def ended(token: str, key: Key) -> str:
    """The same token, an hour after its end."""
    past = {"iat": -7200, "nbf": -7200, "exp": -3600}
    now = int(time.time())
    return resigned(token, key, lambda claims: claims.update({name: now + by for name, by in past.items()}))
