"""Client certificates as credentials (`auth.certificates`): the account that a certificate's subject names.

    TLS handshake ──> verified by http.tls.clientcas ──> Certificate("ci", until) ──> rows ──> Identity

What reaches us TLS has verified; whoever runs the authorities decides who can be whom.
"""

import ssl
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from moorage.access.actor import ANONYMOUS, Identity
from moorage.access.credentials import NAME_LENGTH, actor_of
from moorage.db import accounts
from moorage.db.engine import Tx
from moorage.oci.names import shown


@dataclass(frozen=True, slots=True)
class Certificate:
    """The common names of its subject, of which there should be one, and its end in seconds since the epoch."""

    names: tuple[str, ...]
    until: float

    @classmethod
    def of(cls, verified: Mapping[str, Any]) -> "Certificate":
        """From what `ssl` tells of a certificate that it has verified."""
        parts = [part for together in verified.get("subject", ()) for part in together]
        try:
            until = float(ssl.cert_time_to_seconds(verified["notAfter"]))
        except (KeyError, ValueError):
            until = 0.0  # what does not say when it ends has ended
        return cls(tuple(value for kind, value in parts if kind == "commonName"), until)


def certified(tx: Tx, certificate: Certificate, now: int) -> Identity:
    """Whom a verified certificate proves; nobody, and why, where its name is no account's that may sign in."""
    if certificate.until * 1_000_000 <= now:
        return _nobody("has expired")
    if len(certificate.names) != 1:
        return _nobody(f"has {len(certificate.names)} common names in its subject, and needs one: an account's name")
    name = certificate.names[0]
    # Whatever an authority was made to sign; a database takes no NUL.
    found = accounts.find(tx, name) if len(name) <= NAME_LENGTH and name.isprintable() else None
    if found is None or found.kind not in {"user", "robot"} or not found.usable(now):
        return _nobody(f"names {shown(name[:NAME_LENGTH])}, which is no account that may sign in")
    ends = [certificate.until, *([found.expires_at / 1_000_000] if found.expires_at is not None else [])]
    return Identity(actor_of(tx, found), "a client certificate", until=min(ends), credentials_at=found.credentials_at)


def _nobody(why: str) -> Identity:
    return Identity(ANONYMOUS, "a client certificate", unproved=f"the client certificate {why}")
