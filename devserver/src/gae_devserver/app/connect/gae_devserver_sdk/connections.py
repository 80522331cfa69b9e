"""Connections to the dev server, over which the SDK's API calls go without HTTP."""

from __future__ import annotations

import os
import socket
import struct

_GREETING = b"\1"
_LENGTH = struct.Struct("!I")
_MOST = 100
"""Connections of a process; the SDK makes no more calls at a time either."""
_READ = 2**16


class LostError(OSError):
    """The server has closed a connection."""


class Connections:
    """The connections of this process; a fork of it makes its own."""

    def __init__(self, path: str) -> None:
        """Connect to a Unix socket, when the first call is made."""
        self._path = path
        self._all: set[Connection] = set()
        self._idle: list[Connection] = []
        os.register_at_fork(after_in_child=self._forget)

    def idle(self) -> Connection | None:
        """Take a connection that nothing else uses, if there is one."""
        try:
            return self._idle.pop()
        except IndexError:
            return None

    def take(self, timeout: float) -> Connection | None:
        """Take a connection that nothing else uses; None: no further one can be made.

        Raises:
            socket.timeout: the server does not accept connections yet.
        """
        connection = self.idle()
        if connection is not None or len(self._all) >= _MOST:
            return connection
        try:
            connection = Connection(self._path, timeout, self)
        except socket.timeout:  # noqa: UP041 - for Python 3.9
            raise
        except OSError:
            return None
        self._all.add(connection)
        return connection

    def give_back(self, connection: Connection) -> None:
        """Return a connection whose call was answered."""
        if connection in self._all:  # not if this process is a fork
            self._idle.append(connection)

    def discard(self, connection: Connection) -> None:
        """Forget a connection that was closed."""
        self._all.discard(connection)

    def _forget(self) -> None:
        # the calls of other threads go on in the parent
        for connection in list(self._all):
            connection.close()
        self._idle.clear()


class Connection:
    """A connection that carries one call at a time."""

    def __init__(self, path: str, timeout: float, connections: Connections) -> None:
        """Connect to the server, and wait until it is there.

        Raises:
            OSError: there is none.
        """
        self._connections = connections
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            self._socket.settimeout(timeout)
            self._socket.connect(path)
            if self._socket.recv(1) != _GREETING:
                raise LostError("the server refuses the connection")
        except BaseException:
            self._socket.close()
            raise

    def send(self, call: bytes, timeout: float) -> None:
        """Send a call.

        Raises:
            OSError: the server does not get it.
        """
        try:
            self._socket.settimeout(timeout)
            self._socket.sendall(_LENGTH.pack(len(call)) + call)
        except BaseException:
            self.close()
            raise

    def has_answer(self) -> bool:
        """Return whether the answer has begun to arrive, or cannot arrive any more."""
        self._socket.settimeout(0)
        try:
            self._socket.recv(1, socket.MSG_PEEK)
        except BlockingIOError:
            return False
        except OSError:
            pass
        return True

    def receive(self, timeout: float) -> bytes:
        """Return the answer, and make the connection free for the next call.

        Raises:
            OSError: there is no answer. A time-out is a `socket.timeout`.
        """
        received, end = bytearray(), _LENGTH.size
        try:
            self._socket.settimeout(timeout)
            while len(received) < end:
                data = self._socket.recv(_READ)
                if not data:
                    raise LostError("the server has closed the connection")
                received += data
                if end == _LENGTH.size <= len(received):
                    end += _LENGTH.unpack_from(received)[0]
        except BaseException:  # also what ends a greenlet
            self.close()
            raise
        self._connections.give_back(self)
        return bytes(received[_LENGTH.size :])

    def close(self) -> None:
        """Close the connection; the server still carries out a call that it has."""
        self._connections.discard(self)
        self._socket.close()
