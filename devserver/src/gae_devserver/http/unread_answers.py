"""Cuts the connection of a client that does not read its answer."""

import asyncio
import math

from gae_devserver.http.log import http_logger


class UnreadAnswer:
    """Watches whether a client reads any of the bytes that wait for it."""

    def __init__(self, transport: asyncio.WriteTransport, seconds: float) -> None:
        """Abort the connection if the client reads nothing for `seconds`."""
        self._transport = transport
        self._seconds = seconds
        self._timer: asyncio.TimerHandle | None = None

    def watch(self) -> None:
        """Watch from now on."""
        self.stop()
        self._look()

    def watch_if_closing(self) -> None:
        """Watch what is left of an answer when the server closes the connection.

        asyncio does not report that bytes are waiting if they are few.
        """
        closing = self._transport.is_closing()
        if closing and self._timer is None and self._transport.get_write_buffer_size():
            self._look()

    def stop(self) -> None:
        """Stop watching."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _look(self, before: float = math.inf) -> None:
        waiting = self._transport.get_write_buffer_size()
        if waiting < before:
            loop = asyncio.get_running_loop()
            self._timer = loop.call_later(self._seconds, self._look, waiting)
        else:
            http_logger().info(
                "closed the connection of a client that stopped reading its answer"
            )
            self._transport.abort()
