"""What tests use of a server: HTTP, and of a dev server queues, clock and log."""

from __future__ import annotations

import abc
import pathlib
from collections.abc import Iterable
from typing import ClassVar

from gae_devserver.testing import Response, Task
from gae_devserver.testing.requests import send


class Site:
    """An app that answers at an address, wherever it runs."""

    def __init__(self, url: str) -> None:
        """Choose the address, such as http://127.0.0.1:8080."""
        self.url = url

    def request(
        self,
        method: str,
        target: str,
        headers: Iterable[tuple[str, str]] = (),
        body: bytes | None = None,
    ) -> Response:
        """Send a request to the app; on a dev server, through its public port."""
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
    def reset(self) -> None:
        """Drop entities, tasks, tombstones and memcache, and set the clock back."""

    @abc.abstractmethod
    def stop(self) -> None:
        """Stop the server and the app; return once no process is left."""

    @property
    @abc.abstractmethod
    def pid(self) -> int:
        """The process that all others descend from."""

    @property
    @abc.abstractmethod
    def log_file(self) -> pathlib.Path:
        """The file that contains what the server and the app have printed."""

    def log(self) -> str:
        """Return what the server and the app have printed since the start."""
        return self.log_file.read_text(errors="replace")
