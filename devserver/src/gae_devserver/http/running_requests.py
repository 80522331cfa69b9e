"""Tickets of the requests that the app is handling."""

import secrets
from collections.abc import Callable


class RunningRequests:
    """Gives every request a ticket, which ends with the request.

    The app hands the ticket back with each API call (the SDK takes it from
    X-Appengine-Api-Ticket), so the server knows for which request a call is made.
    """

    def __init__(self) -> None:
        self._urls: dict[str, str] = {}
        self._listeners: list[Callable[[str], None]] = []

    def begin(self, url: str) -> str:
        """Return a new ticket, which cannot be guessed."""
        ticket = secrets.token_hex(16)
        self._urls[ticket] = url
        return ticket

    def end(self, ticket: str) -> None:
        """End a ticket and tell every listener; an unknown ticket is ignored."""
        if self._urls.pop(ticket, None) is None:
            return
        for listener in self._listeners:
            listener(ticket)

    def url(self, ticket: str | None) -> str | None:
        """Return the URL of a running request, or None."""
        return None if ticket is None else self._urls.get(ticket)

    def on_end(self, listener: Callable[[str], None]) -> None:
        """Call `listener` with the ticket of every request that ends."""
        self._listeners.append(listener)

    def __contains__(self, ticket: object) -> bool:
        return ticket in self._urls

    def __len__(self) -> int:
        return len(self._urls)
