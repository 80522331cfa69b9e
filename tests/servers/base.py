"""What a test may ask of a server: HTTP; of a dev server, queues, clock and log."""

from __future__ import annotations

import abc
import http.client
import pathlib
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import ClassVar
from urllib.parse import urlsplit

TIMEOUT = 60.0
"""Seconds that a request may take: more than any, less than for ever."""


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


@dataclass(frozen=True)
class Task:
    """A task that waits in a queue.

    `due_in` is in seconds of the app's time, the virtual clock taken into account;
    `headers` have lower-case names.
    """

    queue: str
    name: str
    method: str
    url: str
    due_in: float
    retry_count: int
    headers: dict[str, str] = field(default_factory=dict)
    payload: bytes = b""


def send(
    url: str,
    method: str,
    target: str,
    headers: Iterable[tuple[str, str]] = (),
    body: bytes | None = None,
) -> Response:
    """Send one request; `target` goes out byte for byte, dots and all."""
    parts = urlsplit(url)
    secure = parts.scheme == "https"
    connect = http.client.HTTPSConnection if secure else http.client.HTTPConnection
    connection = connect(parts.hostname or "", parts.port, timeout=TIMEOUT)
    try:
        connection.putrequest(method, target, skip_accept_encoding=True)
        for name, value in headers:
            connection.putheader(name, value)
        if body is not None:
            connection.putheader("Content-Length", str(len(body)))
        connection.endheaders(body)
        answer = connection.getresponse()
        return Response(answer.status, answer.headers, answer.read())
    finally:
        connection.close()


class Site:
    """An app that answers at an address, wherever it runs."""

    url: str

    def request(
        self,
        method: str,
        target: str,
        headers: Iterable[tuple[str, str]] = (),
        body: bytes | None = None,
    ) -> Response:
        """Send a request to the app, a dev server's through its public port."""
        return send(self.url, method, target, headers, body)

    def get(self, target: str, headers: Iterable[tuple[str, str]] = ()) -> Response:
        """GET `target`."""
        return self.request("GET", target, headers)

    def post(
        self,
        target: str,
        body: bytes = b"",
        headers: Iterable[tuple[str, str]] = (),
    ) -> Response:
        """POST `body` to `target`."""
        return self.request("POST", target, headers, body)


class Server(Site, abc.ABC):
    """A running dev server with one app on it."""

    name: ClassVar[str]

    def run_due(self) -> None:
        """Return once every task that is due has run."""
        self.advance(0)

    def task(self, queue: str = "default") -> Task:
        """Return the one task that waits in `queue`."""
        (task,) = self.tasks(queue)
        return task

    @abc.abstractmethod
    def tasks(self, queue: str = "default") -> list[Task]:
        """Return the tasks that wait in `queue`, the next one to run first."""

    @abc.abstractmethod
    def advance(self, seconds: float) -> None:
        """Let `seconds` of the app's time pass; return once all due by then has run."""

    @abc.abstractmethod
    def purge(self, queue: str) -> None:
        """Drop every task of `queue`; their names stay taken."""

    @abc.abstractmethod
    def reset(self) -> None:
        """Drop entities, tasks, tombstones and memcache, and set the clock back."""

    @abc.abstractmethod
    def stop(self) -> None:
        """Stop the server and the app; return once no process is left."""

    @property
    @abc.abstractmethod
    def log_file(self) -> pathlib.Path:
        """The file that takes what the server and the app print."""

    def log(self) -> str:
        """Return what the server and the app have printed since the start."""
        return self.log_file.read_text(errors="replace")
