"""Recognizes the requests that the app sends to itself with URL Fetch.

App Engine tells their receiver the project of the sender, in a header that no other
client can set:
https://cloud.google.com/appengine/docs/standard/services/appidentity
"""

import hmac
import secrets
import socket
from collections.abc import Iterable, Mapping

from aiohttp import web

# the ports forward no header of a client that begins like this
_SECRET_HEADER = "X-Appengine-Dev-Own-Fetch"
_NONE: Mapping[str, str] = {}
_ALL = {socket.AF_INET: "0.0.0.0", socket.AF_INET6: "::"}


class OwnFetches:
    """Adds a secret to fetches of this server, and checks it where they arrive."""

    def __init__(self, project: str, sockets: Iterable[socket.socket]) -> None:
        """Recognize the fetches that the app sends to these listening sockets."""
        self._secret = secrets.token_hex(16)
        self._addresses = frozenset(sock.getsockname()[:2] for sock in sockets)
        self._inbound_headers = {"X-Appengine-Inbound-Appid": project}

    def outbound_headers(self, connection: socket.socket) -> Mapping[str, str]:
        """Return what a fetch adds: the secret, if it is connected to this server.

        The name in its URL would not do: only the resolver knows what it means.
        """
        host, port = connection.getpeername()[:2]
        is_own = (host, port) in self._addresses or (
            (_ALL[connection.family], port) in self._addresses
            # a connection inside this machine
            and connection.getsockname()[0] == host
        )
        return {_SECRET_HEADER: self._secret} if is_own else _NONE

    def inbound_headers(self, request: web.BaseRequest) -> Mapping[str, str]:
        """Return what App Engine adds to a request: the project that has sent it."""
        received = request.headers.get(_SECRET_HEADER)
        if received is None:
            return _NONE
        # aiohttp decodes invalid UTF-8 to surrogates
        sent = received.encode(errors="surrogateescape")
        is_own = hmac.compare_digest(sent, self._secret.encode())
        return self._inbound_headers if is_own else _NONE
