"""Tickets of the requests that the app is handling."""

import asyncio
import contextlib
import secrets
from collections.abc import Callable, Iterator

from gae_devserver.activity.activity import Activity


class RunningRequests:
    """Gives every request a ticket, which ends with the request.

    The app hands the ticket back with each API call (the SDK takes it from
    X-Appengine-Api-Ticket), so the server knows for which request a call is made.
    """

    def __init__(self, main: str = "default", activity: Activity | None = None) -> None:
        """Begin without requests; `main` makes the calls that no request makes."""
        self._main = main
        self.activity = activity or Activity()
        """What is known of these requests, and of earlier ones."""
        self._requests: dict[str, tuple[str, str]] = {}
        """The URL and the service of each ticket."""
        self._listeners: list[Callable[[str], None]] = []
        self._ended = asyncio.Event()
        self._open = asyncio.Event()
        self._open.set()

    def begin(self, url: str, service: str | None = None) -> str:
        """Return a new ticket, which cannot be guessed.

        `service` gets the request; None: the main one.
        """
        ticket = secrets.token_hex(16)
        self._requests[ticket] = (url, service or self._main)
        return ticket

    def end(self, ticket: str) -> None:
        """End a ticket and tell every listener; an unknown ticket is ignored."""
        if self._requests.pop(ticket, None) is None:
            return
        for listener in self._listeners:
            listener(ticket)
        self._ended.set()

    def end_all(self) -> None:
        """End all tickets: the requests can make no more calls."""
        for ticket in list(self._requests):
            self.end(ticket)

    @contextlib.contextmanager
    def closed(self) -> Iterator[None]:
        """Let requests wait in `admitted` meanwhile."""
        self._open.clear()
        try:
            yield
        finally:
            self._open.set()

    async def admitted(self) -> None:
        """Wait until a request from outside may begin."""
        while not self._open.is_set():
            await self._open.wait()

    async def idle(self) -> None:
        """Wait until no request is running."""
        while self._requests:
            self._ended.clear()
            await self._ended.wait()

    def urls(self) -> list[str]:
        """Return the URL of each running request, the oldest first."""
        return [url for url, _ in self._requests.values()]

    def services(self) -> set[str]:
        """Return the services that have running requests."""
        return {service for _, service in self._requests.values()}

    def url(self, ticket: str | None) -> str | None:
        """Return the URL of a running request, or None."""
        return None if ticket not in self._requests else self._requests[ticket][0]

    def service(self, ticket: str | None) -> str:
        """Return the service that got a request; the main one for no ticket."""
        return self._requests[ticket][1] if ticket in self._requests else self._main

    def on_end(self, listener: Callable[[str], None]) -> None:
        """Call `listener` with the ticket of every request that ends."""
        self._listeners.append(listener)

    def __contains__(self, ticket: object) -> bool:
        return ticket in self._requests

    def __len__(self) -> int:
        return len(self._requests)
