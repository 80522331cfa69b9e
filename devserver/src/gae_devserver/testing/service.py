"""One service of the app on a dev server: requests to its own port."""

from gae_devserver.testing.requests import Receiver, Send

__tracebackhide__ = True  # see dev_server.py


class Service(Receiver):
    """A service of the app. Requests reach it whatever dispatch.yaml says."""

    name: str
    """Its name, GAE_SERVICE."""
    version: str
    """Its version, GAE_VERSION."""

    def __init__(self, name: str, version: str, url: str, send: Send) -> None:
        """Send requests with `send`, which fails as `DevServer.request` does."""
        self.name, self.version, self.url = name, version, url
        self._send = send
