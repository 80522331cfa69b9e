"""One service of the app on a dev server: requests to its own port."""

from collections.abc import Callable

from gae_devserver.testing.requests import Headers, Receiver, Response

__tracebackhide__ = True  # see dev_server.py

Send = Callable[[str, str, str, Headers, bytes | None], Response]
"""Sends a request: URL of the server, method, target, headers, body."""


class Service(Receiver):
    """A service of the app. Requests reach it whatever dispatch.yaml says."""

    name: str
    """Its name, GAE_SERVICE."""
    version: str
    """Its version, GAE_VERSION."""
    url: str
    """Where it answers."""

    def __init__(self, name: str, version: str, url: str, send: Send) -> None:
        """Send requests with `send`, which fails as `DevServer.request` does."""
        self.name, self.version, self.url = name, version, url
        self._send = send

    def request(
        self,
        method: str,
        target: str,
        headers: Headers = (),
        body: bytes | None = None,
    ) -> Response:
        """Send a request to the service, as `DevServer.request` does to the app."""
        return self._send(self.url, method, target, headers, body)
