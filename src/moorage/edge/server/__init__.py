"""Our HTTP/1.1 server: handlers are stepped on the connection, bulk bytes are moved by the kernel."""

from moorage.edge.server.limits import Limits
from moorage.edge.server.networks import Admission
from moorage.edge.server.server import Server

__all__ = ["Admission", "Limits", "Server"]
