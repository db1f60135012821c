"""What a client is told that has to sign in: how, where, and for which scope (RFC 9110 §11, Docker's token scheme)."""

from collections.abc import Callable
from dataclasses import dataclass

from moorage.access.actor import Identity
from moorage.access.rules import Rules
from moorage.edge.http import Request
from moorage.errors import Code, RegistryError


@dataclass(frozen=True, slots=True)
class Challenge:
    """How this registry asks for credentials.

    With `realm` unset, the token endpoint is found where the client found us: below the Host it asked for.
    """

    scheme: str
    service: str
    realm: str | None = None
    path: str = "/token"

    def header(self, request: Request, error: RegistryError) -> str:
        """The value of WWW-Authenticate for a refusal."""
        if self.scheme == "Basic":
            return f'Basic realm="{self.service}"'
        parts = {"realm": self.realm or self.beside(request), "service": self.service}
        parts |= {name: str(value) for name in ("scope", "error") if (value := error.detail.get(name)) is not None}
        return "Bearer " + ",".join(f'{name}="{value}"' for name, value in parts.items())

    def beside(self, request: Request) -> str:
        """The token endpoint on the host that the request was sent to; its syntax was checked with the head."""
        return f"{request.scheme}://{request.header('host') or 'localhost'}{self.path}"


async def identified(rules: Rules, request: Request, scope: Callable[[], str] | None) -> Identity:
    """Who is asking.  What proves nothing is refused with the scope that would be needed."""
    try:
        return await rules.authenticate(request.header("authorization"), request.peer, request.certificate)
    except RegistryError as error:
        if error.code is Code.UNAUTHORIZED and scope is not None:
            error.detail.setdefault("scope", scope())
        raise
