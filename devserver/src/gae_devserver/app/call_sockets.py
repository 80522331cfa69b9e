"""The Unix sockets over which the app's processes make API calls.

A process of the app starts before the server has imported what answers the calls. What
the process sends until then waits in its socket.
"""

import socket
import threading
from collections.abc import Callable
from pathlib import Path

NAME = "api.sock"
"""Of the socket, in the private folder of a process."""
_BACKLOG = 128

Close = Callable[[], object]
Serve = Callable[[socket.socket], Close]
"""Serves a listening socket, from any thread; the result ends that."""


class CallSockets:
    """One socket for each process of the app."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._serve: Serve | None = None
        self._closing: dict[socket.socket, Close] = {}

    def listen(self, path: Path) -> Close:
        """Listen on a new socket; return a function that closes it.

        Raises:
            OSError: the socket cannot be made.
        """
        listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            listener.bind(str(path))
            listener.listen(_BACKLOG)
            listener.setblocking(False)
        except OSError:
            listener.close()
            raise
        with self._lock:
            serve = self._serve
            self._closing[listener] = (
                listener.close if serve is None else serve(listener)
            )
        return lambda: self._close(listener)

    def attach(self, serve: Serve) -> None:
        """Have all sockets served, also those that are made later."""
        with self._lock:
            self._serve = serve
            for listener in self._closing:
                self._closing[listener] = serve(listener)

    def _close(self, listener: socket.socket) -> None:
        with self._lock:
            close = self._closing.pop(listener, None)
        if close is not None:
            close()
