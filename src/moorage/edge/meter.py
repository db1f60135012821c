"""Rates at the edge: who has sent too much is refused, and every answer that counts says where one stands.

Being asked to sign in does not count: every client begins with that, and a site that shares an address would else
lose its sign-ins to whoever pulls there without one.
"""

from typing import TYPE_CHECKING, Final

from moorage.access.actor import Identity
from moorage.edge.http import Handler, Request, Response
from moorage.errors import Code, RegistryError
from moorage.telemetry import metrics

if TYPE_CHECKING:
    from moorage.access.rates import Rates, Standing

_LIMITED: Final = metrics.counter("registry_rate_limited", "Requests refused for their number.", ("who",))
_FACT: Final = "rate"


class Meter:
    """Counts the requests of one registry."""

    def __init__(self, rates: "Rates") -> None:
        self._rates = rates

    def known(self, request: Request, identity: Identity) -> None:
        """Count a request of somebody who is signed in, as soon as that is known.  Raises TOOMANYREQUESTS."""
        if identity.actor.signed_in:
            self._count(request, identity)

    def let_in(self, request: Request, identity: Identity) -> None:
        """Count a request of nobody in particular that is to be answered.  Raises TOOMANYREQUESTS."""
        if not identity.actor.signed_in:
            self._count(request, identity)

    def dress(self, handler: Handler) -> Handler:
        """The same answers with the RateLimit headers (of the IETF's draft) where the request was counted."""

        async def respond(request: Request) -> Response:
            response = await handler(request)
            standing: Standing | None = request.facts.get(_FACT)  # type: ignore[assignment]
            if standing is not None:
                response.headers += [
                    ("RateLimit-Limit", str(standing.most)),
                    ("RateLimit-Remaining", str(standing.left)),
                    ("RateLimit-Reset", str(standing.seconds)),
                ]
            return response

        return respond

    def _count(self, request: Request, identity: Identity) -> None:
        standing = self._rates.count(identity, request.peer)
        request.facts[_FACT] = standing
        if standing is None or standing.allowed:
            return
        signed_in = identity.actor.signed_in
        _LIMITED.add("signed_in" if signed_in else "anonymous")
        who = standing.whose if signed_in else f"{standing.whose} (nobody is signed in)"
        then = "try again in" if signed_in else "sign in, or try again in"
        raise RegistryError(
            Code.TOOMANYREQUESTS,
            f"{who} has sent more requests than {standing.rate}; {then} {standing.seconds} seconds",
            retry_after=standing.seconds,
            limit=standing.rate,
        )
