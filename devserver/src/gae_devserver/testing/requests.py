"""Send HTTP requests byte for byte, and keep the answers as they came."""

import http.client
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from urllib.parse import urlsplit

TIMEOUT = 60.0
"""Seconds that a request may take, even on a loaded machine."""

Headers = Mapping[str, str] | Iterable[tuple[str, str]]


@dataclass(frozen=True)
class Response:
    """An HTTP answer, as it came over the wire."""

    status: int
    headers: http.client.HTTPMessage
    body: bytes

    @property
    def text(self) -> str:
        """The body as text."""
        return self.body.decode()

    @property
    def content_type(self) -> str:
        """The media type alone, without its charset."""
        return self.headers.get_content_type()

    @property
    def allow(self) -> set[str]:
        """The methods that the Allow header names."""
        return {
            method.strip()
            for line in self.headers.get_all("Allow", [])
            for method in line.split(",")
        }


def send(
    url: str,
    method: str,
    target: str,
    headers: Headers = (),
    body: bytes | None = None,
    timeout: float = TIMEOUT,
) -> Response:
    """Send one request; `target` is sent byte for byte, dots and all.

    Raises:
        TypeError: the body is not bytes.
    """
    if body is not None and not isinstance(body, bytes | bytearray | memoryview):
        raise TypeError(f"the body must be bytes, but it is {type(body).__name__}")
    parts = urlsplit(url)
    secure = parts.scheme == "https"
    connect = http.client.HTTPSConnection if secure else http.client.HTTPConnection
    connection = connect(parts.hostname or "", parts.port, timeout=timeout)
    try:
        pairs = [*(headers.items() if isinstance(headers, Mapping) else headers)]
        connection.putrequest(
            method,
            target,
            skip_host=any(name.lower() == "host" for name, _ in pairs),
            skip_accept_encoding=True,
        )
        for name, value in pairs:
            connection.putheader(name, value)
        if body is not None:
            connection.putheader("Content-Length", str(len(body)))
        connection.endheaders(body)
        answer = connection.getresponse()
        return Response(answer.status, answer.headers, answer.read())
    finally:
        connection.close()


Send = Callable[[str, str, str, Headers, bytes | None], Response]
"""Sends a request: URL of the receiver, method, target, headers, body."""


class Receiver:
    """Gets requests at a URL."""

    url: str
    """Where it answers."""
    _send: Send

    def request(
        self,
        method: str,
        target: str,
        headers: Headers = (),
        body: bytes | None = None,
    ) -> Response:
        """Send a request to this URL.

        `target` is a path, or a URL of the server, such as an upload URL.

        Redirects are not followed, and cookies are not kept.

        Raises:
            ServerEndedError: the server has ended. The text shows what it printed.
            TimeoutError: no answer came within 60 s. The text shows the same.
        """
        return self._send(self.url, method, target, headers, body)

    def get(self, target: str, headers: Headers = ()) -> Response:
        """GET `target`."""
        return self.request("GET", target, headers)

    def post(self, target: str, body: bytes = b"", headers: Headers = ()) -> Response:
        """POST `body` to `target`."""
        return self.request("POST", target, headers, body)
