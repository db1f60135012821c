"""What `serve` would refuse of settings that are right by themselves, found without starting or changing anything."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Final
from urllib.parse import urlsplit

from moorage.cli.addresses import check_apart
from moorage.errors import Code, RegistryError
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


def _tls(settings: "Settings") -> None:
    from moorage.cli.tls import tls_context

    tls_context(settings.http.tls)


def _htpasswd(settings: "Settings") -> None:
    if settings.auth.htpasswd is not None:
        from moorage.access.htpasswd import Htpasswd
        from moorage.access.passwords import Passwords

        Htpasswd(settings.auth.htpasswd.path, Passwords())


def _token(settings: "Settings") -> None:
    token = settings.auth.token
    if token is not None:
        from moorage.access.external import external

        external(token.issuer, token.service, tuple(token.signingalgorithms), token.rootcertbundle, token.jwks)


def _silly(settings: "Settings") -> None:
    if settings.auth.silly is not None:
        raise RegistryError(Code.DENIED, "lets in whoever sends an Authorization header, and `serve` refuses it")


def _admin(settings: "Settings") -> None:
    """A weak one is refused where it makes the first administrator: not where there are rows already, it seems."""
    if settings.admin.password is None or not _has_accounts(settings) or _has_rows(settings):
        return
    from moorage.access.first import ADMIN
    from moorage.access.strength import check_strength

    check_strength(settings.admin.password, ADMIN)


def _has_accounts(settings: "Settings") -> bool:
    return settings.auth.provider is None and not settings.auth.open


def _has_rows(settings: "Settings") -> bool:
    """Whether there may be accounts: of another database than a file nothing is known."""
    url = urlsplit(settings.database_url)
    return not settings.ephemeral and (url.scheme != "sqlite" or Path(url.path[1:]).exists())


_CHECKS: "Final[dict[str, Callable[[Settings], None]]]" = {
    "http.debug.addr": _debug,
    "http.tls.certificate": _tls,
    "auth.htpasswd.path": _htpasswd,
    "auth.token.realm": _token,
    "auth.silly.realm": _silly,
    "admin.password": _admin,
}
"""By the setting that is told."""
