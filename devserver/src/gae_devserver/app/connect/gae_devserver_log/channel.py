"""Sends messages to the dev server, without ever failing or waiting for long."""

from __future__ import annotations

# The module `socket` may have been replaced by gevent, whose sockets switch to another
# request while they wait.
import _socket
import _thread
import json
import os
import time
from collections.abc import Mapping

_TIMEOUT = 1.0
"""Seconds to wait for a server that does not read."""
_RETRY = 1.0
"""Seconds without a server after a failure."""
_MAX_TEXT = 2**15
"""Characters of one message; the server refuses very long ones."""


class Channel:
    """A connection of this process; a fork of it gets its own."""

    def __init__(self, path: str) -> None:
        """Connect to a Unix socket when the first message is sent."""
        self._path = path
        self._reset()
        os.register_at_fork(after_in_child=self._reset)

    def _reset(self) -> None:
        self._socket: _socket.socket | None = None
        self._lock = _thread.allocate_lock()
        self._pause_ends = 0.0

    def send(self, message: Mapping[str, object]) -> bool:
        """Send a message; return whether the server will get it."""
        data = json.dumps(message).encode() + b"\n"
        lock = self._lock
        # it is not free if a signal handler has interrupted this function
        if not lock.acquire(timeout=_TIMEOUT):
            return False
        try:
            return self._send(data)
        finally:
            lock.release()

    def send_text(self, message: Mapping[str, object], text: str) -> str:
        """Send a text in pieces; return what the server will not get."""
        for begin in range(0, len(text), _MAX_TEXT):
            if not self.send({**message, "text": text[begin : begin + _MAX_TEXT]}):
                return text[begin:]
        return ""

    def _send(self, data: bytes) -> bool:
        if self._socket is None and time.monotonic() < self._pause_ends:
            return False
        try:
            if self._socket is None:
                self._socket = _socket.socket(_socket.AF_UNIX, _socket.SOCK_STREAM)
                self._socket.settimeout(_TIMEOUT)
                self._socket.connect(self._path)
            self._socket.sendall(data)
        except OSError:
            # the server drops a message without an end
            if self._socket is not None:
                self._socket.close()
            self._socket = None
            self._pause_ends = time.monotonic() + _RETRY
            return False
        return True
