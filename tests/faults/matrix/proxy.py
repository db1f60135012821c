"""A TCP proxy before a Unix socket that can stop passing anything on, as a broken network does."""

import selectors
import socket
import threading
from contextlib import suppress
from pathlib import Path


class Proxy:
    """Listens on a port of its own; what comes is passed on while `passing`, and held back while not."""

    def __init__(self, target: Path) -> None:
        self._target = str(target)
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self.passing = True
        self._ended = False
        self._pairs: dict[socket.socket, socket.socket] = {}
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self) -> None:
        with selectors.DefaultSelector() as selector:
            selector.register(self._listener, selectors.EVENT_READ)
            while not self._ended:
                if not self.passing:
                    threading.Event().wait(0.02)
                    continue
                for key, _ in selector.select(0.05):
                    if not self.passing:
                        break
                    one = key.fileobj
                    assert isinstance(one, socket.socket)
                    if one is self._listener:
                        self._accept(selector)
                    elif one in self._pairs:
                        self._pass_on(selector, one)

    def _accept(self, selector: selectors.BaseSelector) -> None:
        near, _ = self._listener.accept()
        far = socket.socket(socket.AF_UNIX)
        try:
            far.connect(self._target)
        except OSError:
            near.close()
            far.close()
            return
        self._pairs[near], self._pairs[far] = far, near
        selector.register(near, selectors.EVENT_READ)
        selector.register(far, selectors.EVENT_READ)

    def _pass_on(self, selector: selectors.BaseSelector, one: socket.socket) -> None:
        other = self._pairs[one]
        try:
            data = one.recv(1 << 16)
            if data:
                other.sendall(data)
                return
        except OSError:
            pass
        for end in (one, other):
            with suppress(KeyError):
                selector.unregister(end)
            del self._pairs[end]
            end.close()

    def close(self) -> None:
        self._ended = True
        self._thread.join(10)
        for end in self._pairs:
            end.close()
        self._listener.close()
