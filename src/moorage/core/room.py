"""Room: pushes are refused while some is left, so that whatever frees space never lacks it.

Pulls, deletes, cancelled uploads and the collector are not asked.
"""

from time import monotonic
from typing import Final, Protocol
from weakref import WeakKeyDictionary

from moorage.core.registry import Registry
from moorage.errors import Code, RegistryError
from moorage.telemetry import logger

_MIB: Final = 1024 * 1024
_PLENTY: Final = 1024 * _MIB
_LITTLE: Final = 16 * _MIB
_MOMENT: Final = 0.05
"""Seconds for which a disk that had plenty, beyond what was asked for, is not asked again on behalf of a little."""

_plenty_until: Final[WeakKeyDictionary[object, float]] = WeakKeyDictionary()


class Place(Protocol):
    """What keeps rows or bytes, and can say how many bytes are free there; None where it cannot."""

    def room(self) -> int | None: ...


def for_bytes(registry: Registry, more: int) -> None:
    """Return if the blob storage can take `more` bytes and keep its reserve.  Raises STORAGE_FULL."""
    _leave_reserve("the blob storage", registry.store, registry.policy.reserve, more)


def for_rows(registry: Registry, more: int = 0) -> None:
    """Return if the database's disk can take `more` bytes of rows and keep its reserve.  Raises STORAGE_FULL."""
    _leave_reserve("the database's disk", registry.db, registry.policy.reserve, more)


def _leave_reserve(place: str, where: Place, reserve: int, more: int) -> None:
    if more <= _LITTLE and monotonic() < _plenty_until.get(where, 0.0):
        return
    free = where.room()
    if free is None:
        return
    missing = reserve + more - free
    if missing <= 0:
        if missing < -_PLENTY:
            _plenty_until[where] = monotonic() + _MOMENT
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
