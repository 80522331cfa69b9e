"""One HTTP port without routes: a handler and a listening socket."""

import asyncio
import socket
from collections.abc import Awaitable, Callable
from typing import Any

from aiohttp import web

MAX_BODY = 32 * 2**20
"""Bytes that a request's body may have (App Engine's limit)."""

# an open keep-alive connection must not delay the end of the server
_SHUTDOWN_SECONDS = 0.2

Handler = Callable[[web.BaseRequest], Awaitable[web.StreamResponse]]


class HttpServer:
    """aiohttp's server without its router: each port here has but one handler."""

    def __init__(self, handler: Handler) -> None:
        self._runner = web.ServerRunner(
            web.Server(handler, request_factory=_make_request, access_log=None),
            shutdown_timeout=_SHUTDOWN_SECONDS,
        )

    async def start(self, *sockets: socket.socket) -> None:
        """Serve on listening sockets."""
        await self._runner.setup()
        for sock in sockets:
            await web.SockSite(self._runner, sock).start()

    async def stop(self) -> None:
        """Close the port and its connections."""
        await self._runner.cleanup()


def _make_request(
    message: Any,
    payload: Any,
    protocol: Any,
    writer: Any,
    task: "asyncio.Task[None]",
) -> web.BaseRequest:
    loop = asyncio.get_running_loop()
    return web.BaseRequest(
        message, payload, protocol, writer, task, loop, client_max_size=MAX_BODY
    )
