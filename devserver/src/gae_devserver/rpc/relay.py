"""Copies bytes between two connected sockets, at the lowest price for each call.

A call of gRPC passes here twice, so there are no streams or transports in between: what
is read from one socket is written to the other at once. If that one is full, the first
is not read, so that a large message waits at its sender and not in this process.
"""

import asyncio
import socket
from collections.abc import Callable


def new_buffer() -> memoryview:
    """Return a buffer for all relays of one event loop.

    Each read is written, or its rest copied, before the next. Another loop needs a
    buffer of its own: it runs in another thread, between a read and its write too.
    """
    return memoryview(bytearray(2**17))


async def relay(
    client: socket.socket, server: socket.socket, buffer: memoryview
) -> None:
    """Copy in both directions until one end is gone; the caller closes both sockets.

    A client that closes its half gets what the server still sends. The sockets do not
    block.
    """
    ended = asyncio.get_running_loop().create_future()

    def end() -> None:
        if not ended.done():
            ended.set_result(None)

    def end_requests() -> None:
        try:
            server.shutdown(socket.SHUT_WR)
        except OSError:  # the server is gone
            end()

    requests = _Flow(client, server, buffer, end_requests, end)
    answers = _Flow(server, client, buffer, end, end)
    try:
        await ended
    finally:
        requests.stop()
        answers.stop()


class _Flow:
    """One direction."""

    def __init__(
        self,
        source: socket.socket,
        target: socket.socket,
        buffer: memoryview,
        at_end: Callable[[], None],
        when_broken: Callable[[], None],
    ) -> None:
        self._loop = asyncio.get_running_loop()
        self._source = source
        self._target = target
        self._buffer = buffer
        self._at_end = at_end
        self._when_broken = when_broken
        self._rest = memoryview(b"")
        self._loop.add_reader(source, self._read)

    def stop(self) -> None:
        """Copy no more."""
        self._loop.remove_reader(self._source)
        self._loop.remove_writer(self._target)

    def _read(self) -> None:
        try:
            size = self._source.recv_into(self._buffer)
        except BlockingIOError:
            return
        except OSError:
            self._when_broken()
            return
        if not size:
            self._loop.remove_reader(self._source)
            self._at_end()
            return
        sent = self._send(self._buffer[:size])
        if sent < size:
            self._rest = memoryview(bytes(self._buffer[sent:size]))
            self._loop.remove_reader(self._source)
            self._loop.add_writer(self._target, self._send_rest)

    def _send_rest(self) -> None:
        self._rest = self._rest[self._send(self._rest) :]
        if not self._rest:
            self._loop.remove_writer(self._target)
            self._loop.add_reader(self._source, self._read)

    def _send(self, data: memoryview) -> int:
        """Return how many bytes the target has taken."""
        try:
            return self._target.send(data)
        except BlockingIOError:
            return 0
        except OSError:
            self._when_broken()
            # there is no use for the rest
            return len(data)
