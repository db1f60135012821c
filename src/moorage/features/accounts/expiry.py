"""When something ends that somebody is given."""

from typing import Final

from moorage.core.registry import SECOND
from moorage.errors import Code, RegistryError

_LONGEST: Final = 100 * 365 * 24 * 3600


def ends_at(now: int, seconds: int | None, longest: int | None = None) -> int | None:
    """The time, in microseconds, at which something ends that is given `seconds` to live; None for no end.

    `longest`, in microseconds, is the operator's: more is refused, and whoever asks for nothing gets that.  Raises
    REQUEST_INVALID.
    """
    if seconds is None:
        return None if longest is None else now + longest
    if not 1 <= seconds <= _LONGEST:
        raise RegistryError(
            Code.REQUEST_INVALID, f"a life of {seconds} seconds cannot be given: it would be over, or never end"
        )
    if longest is not None and seconds * SECOND > longest:
        raise RegistryError(
            Code.REQUEST_INVALID,
            f"tokens live {longest // SECOND} seconds here at the most (accounts.tokenlife); ask for less",
            most=longest // SECOND,
        )
    return now + seconds * SECOND
