"""Room: pushes are refused while some is left, so that whatever frees space never lacks it.

Pulls, deletes, cancelled uploads and the collector are not asked.
"""

from typing import Final

from moorage.core.registry import Registry
from moorage.errors import Code, RegistryError
from moorage.telemetry import logger

_MIB: Final = 1024 * 1024


def for_bytes(registry: Registry, more: int) -> None:
    """Return if the blob storage can take `more` bytes and keep its reserve.  Raises STORAGE_FULL."""
    _leave_reserve("the blob storage", registry.store, registry.store.room(), registry.policy.reserve, more)


def for_rows(registry: Registry, more: int = 0) -> None:
    """Return if the database's disk can take `more` bytes of rows and keep its reserve.  Raises STORAGE_FULL."""
    _leave_reserve("the database's disk", registry.db, registry.db.room(), registry.policy.reserve, more)


def _leave_reserve(place: str, where: object, free: int | None, reserve: int, more: int) -> None:
    missing = reserve + more - free if free is not None else 0
    if free is None or missing <= 0:
        return
    # Clients are not told where on the disk that is; the operator is.
    logger(__name__).warning(
        "a push would break into the reserve", place=repr(where), free=free, reserve=reserve, wanted=more
    )
    raise RegistryError(
        Code.STORAGE_FULL,
        f"{place} has {_shown(free)} free and keeps {_shown(reserve)} in reserve (storage.reserve): {_shown(missing)} "
        "are missing for this request; the registry's operator must free or add space",
        place=place,
        free=free,
        reserve=reserve,
        missing=missing,
    )


def _shown(size: int) -> str:
    """A size for people, rounded up: who frees what is said to be missing has freed enough."""
    return f"{-(-size * 10 // _MIB) / 10:g} MiB"
