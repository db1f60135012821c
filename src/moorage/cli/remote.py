"""The management API of a server, with the credentials that `docker login` left."""

import ipaddress
import ssl
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

import httpx

from moorage.cli import credentials
from moorage.cli.place import Answer
from moorage.errors import Code, RegistryError

_PATIENCE: Final = 60
"""Seconds for an answer: deleting a large repository takes a while."""

_CERTIFICATES: Final = Path("/etc/docker/certs.d")
"""Where docker keeps the authorities of registries, in a folder for each."""

_NO_TLS: Final = {"WRONG_VERSION_NUMBER", "RECORD_LAYER_FAILURE"}
"""What the versions of OpenSSL call an answer in plain text."""

_SCOPE: Final = "registry:api:*"


class Remote:
    """One server.  Reached by TLS, but on this machine without, and where `http://` is written."""

    def __init__(self, host: str) -> None:
        """Raises REQUEST_INVALID, and UNAUTHORIZED where nobody logged in there."""
        scheme, self.name = _address(host)
        found = credentials.find(self.name)
        if found is None:
            raise RegistryError(
                Code.UNAUTHORIZED, f"nobody is signed in to {self.name} on this machine; docker login {self.name}"
            )
        verify = _authorities(self.name) if scheme == "https" else False
        self._client = httpx.Client(base_url=f"{scheme}://{self.name}", timeout=_PATIENCE, verify=verify)
        self._sign_in(found)

    def ask(self, method: str, target: str, body: dict[str, Any] | None = None, /) -> Answer:
        try:
            answer = self._client.request(method, f"/api/v1{target}", json=body)
        except httpx.HTTPError as reason:
            raise self._away(reason) from reason
        try:
            document = answer.json() if answer.content else None
        except ValueError:
            raise self._foreign() from None
        if answer.is_redirect or (answer.is_error and not (isinstance(document, dict) and "code" in document)):
            raise self._foreign()
        following = answer.links.get("next", {}).get("url", "")
        return Answer(answer.status_code, document, following.removeprefix("/api/v1") or None)

    def _sign_in(self, found: credentials.Found) -> None:
        if not found.refresh:
            self._client.auth = httpx.BasicAuth(found.user, found.secret)
            return
        form = {"grant_type": "refresh_token", "refresh_token": found.secret, "scope": _SCOPE, "client_id": "moorage"}
        try:
            answer = self._client.post("/token", data=form)
            token = answer.json().get("access_token") if answer.is_success else None
        except (httpx.HTTPError, ValueError) as reason:
            raise self._away(reason) from reason
        if not isinstance(token, str):
            raise RegistryError(
                Code.UNAUTHORIZED, f"the login to {self.name} is not good any more; docker login {self.name}"
            )
        self._client.headers["Authorization"] = f"Bearer {token}"

    def _away(self, reason: Exception) -> RegistryError:
        return RegistryError(Code.UNAVAILABLE, f"{self.name} cannot be reached: {_why(reason, self.name)}")

    def _foreign(self) -> RegistryError:
        return RegistryError(
            Code.UNAVAILABLE,
            f"what answers at {self.name} has no management API: another program, an open registry, or a proxy between",
        )


def _address(host: str) -> tuple[str, str]:
    """Scheme and host, with its port; a URL is understood too.  Raises REQUEST_INVALID."""
    written, slashes, rest = host.partition("://")
    address = rest.rstrip("/") if slashes else host.rstrip("/")
    try:
        parts = urlsplit(f"//{address}")
        name, bare = parts.hostname, parts.netloc == address and "@" not in address
        _ = parts.port
    except ValueError:
        name, bare = None, False
    if not name or not bare or (slashes and written not in {"http", "https"}):
        raise RegistryError(Code.REQUEST_INVALID, f"the host {host!a} is not HOST[:PORT], as in registry.example.com")
    return (written if slashes else "http" if _is_here(name) else "https"), address


def _is_here(name: str) -> bool:
    try:
        return ipaddress.ip_address(name).is_loopback
    except ValueError:
        return name == "localhost"


def _why(reason: BaseException, name: str) -> str:
    """In words that say what to do, where TLS is what failed; else in the library's."""
    cause: BaseException | None = reason
    while cause is not None:
        if isinstance(cause, ssl.SSLCertVerificationError):
            return (
                f"its certificate is not believed ({cause.verify_message}); an authority of one's own goes to"
                f" {_CERTIFICATES / name}/ca.crt, where docker looks as well"
            )
        if isinstance(cause, ssl.SSLError) and cause.reason in _NO_TLS:
            return f"it speaks no TLS; with http://{name}, everybody between can read the password"
        cause = cause.__cause__ or cause.__context__
    return str(reason) or type(reason).__name__


def _authorities(name: str) -> ssl.SSLContext:
    """The system's, and those that docker was given for this registry."""
    context = ssl.create_default_context()
    for path in sorted((_CERTIFICATES / name).glob("*.crt")):
        try:
            context.load_verify_locations(path)
        except (OSError, ssl.SSLError) as reason:
            raise RegistryError(Code.UNAVAILABLE, f"{path} holds no certificate") from reason
    return context
