"""Listening, draining, stopping."""

import asyncio
import secrets
import ssl

from uvicorn.config import Config
from uvicorn.server import ServerState

from moorage.edge.http import Handler, Observer
from moorage.edge.server.limits import Limits
from moorage.edge.server.protocol import Connection, Shared


class Server:
    """Serves a handler on any number of addresses."""

    def __init__(self, handler: Handler, *, limits: Limits | None = None, observe: Observer | None = None) -> None:
        config = Config(app=_unused, log_config=None, access_log=False, lifespan="off", ws="none")
        config.load()
        self._shared = Shared(handler, limits or Limits(), observe, config, ServerState(), secrets.token_hex(6))
        self._listeners: list[asyncio.Server] = []

    async def listen(self, host: str, port: int, tls: ssl.SSLContext | None = None) -> tuple[str, int]:
        """Accept connections; port 0 takes a free one.  Gives the address.  Raises OSError."""
        loop = asyncio.get_running_loop()
        listener = await loop.create_server(
            lambda: Connection(self._shared, loop), host, port, ssl=tls, backlog=2048, reuse_address=True
        )
        self._listeners.append(listener)
        address = listener.sockets[0].getsockname()
        return address[0], address[1]

    async def drain(self, seconds: float) -> None:
        """Stop accepting, let exchanges under way finish, and abort after `seconds` whatever is left."""
        self._shared.draining = True
        for listener in self._listeners:
            listener.close()
        for connection in list(self._shared.state.connections):
            if isinstance(connection, Connection):
                connection.shutdown()
        stop = asyncio.get_running_loop().time() + seconds
        while self._shared.state.connections and asyncio.get_running_loop().time() < stop:  # noqa: ASYNC110
            await asyncio.sleep(0.02)
        self.abort()

    def abort(self) -> None:
        """End every connection at once."""
        for listener in self._listeners:
            listener.close()
        for connection in list(self._shared.state.connections):
            if isinstance(connection, Connection):
                connection.transport.abort()

    @property
    def connections(self) -> int:
        return len(self._shared.state.connections)


async def _unused(_scope: object, _receive: object, _send: object) -> None:
    """Config wants an application; ours never reaches it."""
