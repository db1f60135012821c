"""Our HTTP/1.1 server: uvicorn's protocol, stepped on the connection, with the kernel sending files."""

from moorage.edge.server.limits import Limits
from moorage.edge.server.listener import Server

__all__ = ["Limits", "Server"]
