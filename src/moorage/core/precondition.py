"""Conditions on what a reference names: push or delete only if nobody else was faster (RFC 9110 §13.1)."""

from dataclasses import dataclass

from moorage.errors import Code, RegistryError
from moorage.oci.digest import Digest
from moorage.oci.names import Reference


@dataclass(frozen=True, slots=True)
class Precondition:
    """What `If-Match` and `If-None-Match` ask for: digests, or `*` for anything; None where they ask nothing."""

    match: frozenset[str] | None = None
    none_match: frozenset[str] | None = None

    def check(self, reference: Reference, current: Digest | None) -> None:
        """Raise PRECONDITION_FAILED unless a reference that names `current` is as asked for."""
        names = {"*", str(current)} if current is not None else set()
        if (self.match is None or names & self.match) and not (names & (self.none_match or frozenset())):
            return
        state = f"names {current}" if current is not None else "does not exist"
        raise RegistryError(
            Code.PRECONDITION_FAILED,
            f"{reference} {state}, which is not what the request made its condition; look at it and decide again",
            current=str(current) if current is not None else None,
        )


ALWAYS = Precondition()
"""No condition."""
