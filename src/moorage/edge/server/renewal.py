"""A TLS context that can be exchanged for another while servers listen with it."""

import ssl
from typing import Any, Self, final


@final
class Renewable(ssl.SSLContext):
    """Its handshakes are those of the context that is `current` when they begin; the loop asks for nothing else.

    Another context, and not the old one changed: OpenSSL adds authorities to a context and takes none away, and
    resumes sessions with clients that an authority vouched for which is no longer believed.
    """

    current: ssl.SSLContext

    def __new__(cls, current: ssl.SSLContext) -> Self:
        self = super().__new__(cls, ssl.PROTOCOL_TLS_SERVER)
        self.current = current
        return self

    def wrap_bio(self, *arguments: Any, **named: Any) -> ssl.SSLObject:
        return self.current.wrap_bio(*arguments, **named)
