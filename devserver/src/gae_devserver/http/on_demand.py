"""A port whose server is made when the first client connects."""

import asyncio
import logging
import socket
from collections.abc import Callable

from gae_devserver.http.server import HttpServer

logger = logging.getLogger("gae_devserver")


class OnDemand:
    """A listening socket, and a server for it; what it needs is imported that late.

    The system accepts connections from the beginning. They wait in the socket's queue.
    """

    def __init__(self, listener: socket.socket, make: Callable[[], HttpServer]) -> None:
        """Wait with the server, which `make` imports and returns.

        It does so in the event loop: a thread that imports a package, while the loop
        imports a module of it for an API call, ends one of the two with a deadlock.
        """
        self._listener = listener
        self._make = make
        self._server: HttpServer | None = None
        self._starting: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Wait for the first client."""
        asyncio.get_running_loop().add_reader(self._listener, self._begin)

    def _begin(self) -> None:
        loop = asyncio.get_running_loop()
        loop.remove_reader(self._listener)
        self._starting = loop.create_task(self._serve())

    async def _serve(self) -> None:
        try:
            self._server = self._make()
            await self._server.start(self._listener)
        except Exception:
            # a client must not wait for an answer that never comes
            self._listener.close()
            logger.exception("the port of the State API and its console cannot be used")

    async def stop(self) -> None:
        """Close the port and its connections; harmless before `start`."""
        if self._starting is None:
            asyncio.get_running_loop().remove_reader(self._listener)
        else:
            self._starting.cancel()
            await asyncio.wait([self._starting])
        if self._server is not None:
            await self._server.stop()
        self._listener.close()
