"""The system service, with the background threads of this server."""

from collections.abc import Callable
from typing import Any

from google.appengine.api.system import system_stub

StartThread = Callable[[str], str]
"""Starts a background thread for the request with a ticket; returns its ID."""


class System(system_stub.SystemServiceStub):  # type: ignore[misc]
    """Answers as the SDK's stub does, except for background threads."""

    def __init__(self, start_thread: StartThread, request_data: Any) -> None:
        super().__init__(request_data=request_data)
        self._start_thread = start_thread

    def _Dynamic_StartBackgroundRequest(
        self, request: Any, response: Any, ticket: str
    ) -> None:
        response.request_id = self._start_thread(ticket)
