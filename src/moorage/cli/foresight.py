"""What `serve` would refuse of settings that are right by themselves, found without starting or changing anything."""

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

from moorage.cli.addresses import check_apart
from moorage.errors import RegistryError
from moorage.settings.faults import Fault

if TYPE_CHECKING:
    from moorage.settings import Loaded, Settings


def refusals(loaded: "Loaded") -> Iterator[Fault]:
    """Each with the place of its setting."""
    for key, check in _CHECKS.items():
        try:
            check(loaded.settings)
        except RegistryError as error:
            yield Fault(loaded.origins[key], key, error.message)


def _debug(settings: "Settings") -> None:
    check_apart(settings.http.addr, settings.http.debug.addr)


_CHECKS: "dict[str, Callable[[Settings], object]]" = {"http.debug.addr": _debug}
