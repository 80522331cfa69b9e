"""HTTP requests to the app's process: sent unchanged, and only once."""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Awaitable, Callable

import aiohttp

from gae_devserver.app.connections import (
    Connections,
    NotConnectedError,
    Reply,
    Request,
)
from gae_devserver.app.process import AppProcess

__all__ = ["AppClient", "FindProcess", "Reply", "Request"]

FindProcess = Callable[[], Awaitable[AppProcess]]
"""Returns the process of the app to ask, or raises AppUnavailable."""

# a process that refuses connections for longer than this has not just ended
_REFUSED_SECONDS = 5.0


class AppClient:
    """Sends requests to the app, over connections that it keeps."""

    def __init__(self) -> None:
        self._process: AppProcess | None = None
        self._connections: Connections | None = None

    @contextlib.asynccontextmanager
    async def send(
        self,
        find: FindProcess,
        request: Request,
        *,
        deadline: float | None = None,
    ) -> AsyncIterator[Reply]:
        """Send a request to the process that `find` returns.

        It is asked again if that process has just ended. The deadline is in seconds
        from sending to the end of the context, in which the answer has to be read.

        Raises:
            AppUnavailable: the app is not running; nothing was sent.
            aiohttp.ClientError: the connection broke; the app may have run the request.
            TimeoutError: `deadline` is over.
            ValueError: the request cannot be written as HTTP.
        """
        began = time.monotonic()
        while True:
            connections = self._connections_to(await find())
            try:
                async with (
                    _within(deadline),
                    connections.send(request) as reply,
                ):
                    yield reply
                return
            except NotConnectedError as error:
                # the process has just ended, and the supervisor will notice
                if time.monotonic() - began > _REFUSED_SECONDS:
                    cause = error.__cause__
                    assert isinstance(cause, OSError)
                    raise aiohttp.ClientOSError(*cause.args) from cause
                await asyncio.sleep(0.02)

    async def close(self) -> None:
        """Close the connections to the app."""
        if self._connections is not None:
            self._connections.close()

    def _connections_to(self, process: AppProcess) -> Connections:
        if self._connections is not None and self._process is process:
            return self._connections
        connections = Connections(process.port, process.socket_path)
        # only then: the old process may still be answering when the next one is ready
        loop = asyncio.get_running_loop()
        process.when_exited(lambda: loop.call_soon_threadsafe(connections.close))
        self._process, self._connections = process, connections
        return connections


def _within(deadline: float | None) -> contextlib.AbstractAsyncContextManager[object]:
    # asyncio.timeout(None) costs as much as one that has a limit
    return contextlib.nullcontext() if deadline is None else asyncio.timeout(deadline)
