"""Tells open pages what has changed, by server-sent events."""

import asyncio
import json
import time
from collections.abc import Callable, Hashable, Mapping, Sequence

from aiohttp import web

from gae_devserver.http.connection import Connection

Revisions = Callable[[], Mapping[str, Hashable]]
"""Returns a value for each subject, which is another one after a change."""


class Live:
    """Serves the events.

    An event holds the state of every subject. A page knows the state that it shows, and
    gets itself again if that is another one. So nothing is missed between an answer and
    the first event, or while the connection is away.
    """

    def __init__(
        self,
        sources: Sequence[Revisions],
        *,
        poll_seconds: float = 0.2,
        keep_alive_seconds: float = 15.0,
        max_clients: int = 30,
    ) -> None:
        """Watch `sources` every `poll_seconds`, but only while a page is open."""
        self._sources = sources
        self._poll_seconds = poll_seconds
        self._keep_alive_seconds = keep_alive_seconds
        self._max_clients = max_clients
        self._clients = 0
        self._stopped = asyncio.Event()
        self._polled: tuple[float, dict[str, str]] = (-1.0, {})

    def routes(self) -> list[web.RouteDef]:
        """Return the route."""
        return [web.get("/events", self._events)]

    def stop(self) -> None:
        """End all connections: the server must not wait for them."""
        self._stopped.set()

    def state(self) -> dict[str, str]:
        """Return the state of each subject, as the pages compare it."""
        return {
            name: f"{hash((name, revision)) & 0xFFFFFFFFFFFFFFFF:x}"
            for source in self._sources
            for name, revision in source().items()
        }

    def _poll(self) -> dict[str, str]:
        """Return the state, which all clients share for a moment."""
        at, state = self._polled
        if time.monotonic() - at >= self._poll_seconds * 0.9:
            state = self.state()
            self._polled = (time.monotonic(), state)
        return state

    async def _events(self, request: web.Request) -> web.StreamResponse:
        if self._clients >= self._max_clients:
            raise web.HTTPServiceUnavailable(
                text=f"{self._max_clients} pages are open. Close some of them."
            )
        self._clients += 1
        try:
            return await self._send_events(request)
        finally:
            self._clients -= 1

    async def _send_events(self, request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Cache-Control": "no-store"})
        response.content_type = "text/event-stream"
        await response.prepare(request)
        sent: dict[str, str] | None = None
        sent_at = time.monotonic()
        while not self._stopped.is_set():
            if _is_gone(request):
                break
            state = self._poll()
            message = ""
            if state != sent:
                message = f"data: {json.dumps(state)}\n\n"
            elif time.monotonic() - sent_at >= self._keep_alive_seconds:
                # proxies and sleeping laptops drop a connection that is silent
                message = ": still there\n\n"
            if message:
                try:
                    await response.write(message.encode())
                except ConnectionError:
                    break
                sent, sent_at = state, time.monotonic()
            try:
                async with asyncio.timeout(self._poll_seconds):
                    await self._stopped.wait()
            except TimeoutError:
                continue
        return response


def _is_gone(request: web.Request) -> bool:
    """Return whether the client has closed the connection."""
    connection, transport = request.protocol, request.transport
    assert isinstance(connection, Connection)
    return transport is None or transport.is_closing() or connection.is_last
