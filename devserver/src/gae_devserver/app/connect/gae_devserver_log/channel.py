"""Sends messages to the dev server, without ever failing or waiting for long."""

from __future__ import annotations

# The module `socket` may have been replaced by gevent, whose sockets switch to another
# request while they wait.
import _socket
import _thread
import json
import os
import struct
import time
from collections.abc import Mapping

_TIMEOUT = 1
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
        self._end: tuple[int, int] | None = None
        """The descriptor of the connection, and its inode."""
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
        if self._end is None and time.monotonic() < self._pause_ends:
            return False
        try:
            if self._end is None:
                self._end = self._connect()
            descriptor, inode = self._end
            if os.fstat(descriptor).st_ino != inode:
                raise OSError  # the app has closed it, and opened something else
            while data:
                data = data[os.write(descriptor, data) :]
        except OSError:
            # the server drops a message without an end
            self._disconnect()
            self._pause_ends = time.monotonic() + _RETRY
            return False
        return True

    def _connect(self) -> tuple[int, int]:
        connection = _socket.socket(_socket.AF_UNIX, _socket.SOCK_STREAM)
        limit = struct.pack("ll", _TIMEOUT, 0)
        connection.setsockopt(_socket.SOL_SOCKET, _socket.SO_SNDTIMEO, limit)
        connection.connect(self._path)
        # At its end, Python 3.7 crashes on a socket that is not closed.
        descriptor = connection.detach()
        return descriptor, os.fstat(descriptor).st_ino

    def _disconnect(self) -> None:
        if self._end is not None:
            descriptor, inode = self._end
            self._end = None
            try:
                if os.fstat(descriptor).st_ino == inode:
                    os.close(descriptor)
            except OSError:
                pass
