"""What processes of the app tell over Unix sockets, read without waiting."""

import contextlib
import dataclasses
import json
import selectors
import socket
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

from gae_devserver.activity.records import Failure
from gae_devserver.output import encode

_MAX_MESSAGE = 2**21
"""Bytes; the app sends shorter ones."""
_MAX_CONNECTIONS = 256
"""Of one process of the app and its forks."""
_MAX_READS = 16
"""How often `read` reads at most, so that an app cannot keep it from returning.

Two reads take all that a connection holds.
"""
_FAILURE = {field.name: field.type for field in dataclasses.fields(Failure)}


@dataclasses.dataclass(frozen=True, slots=True)
class Text:
    """What the app has printed: lines, the last of which may have no end yet."""

    text: str
    ticket: str = ""
    """The request; "": none."""
    level: str = ""
    """Of the log record; "": the app has printed it itself."""
    logger: str = ""
    quiet: bool = False
    """Whether only the level debug shows it."""
    about: int | None = None
    """The number of the exception in the request that it is about."""
    own: bool = True
    """Whether the app's own code has logged it."""


@dataclasses.dataclass(frozen=True, slots=True)
class Raised:
    """An exception."""

    ticket: str
    exception: int
    """Its number in the request."""
    failure: Failure
    printed: bool = False
    """Whether the app has printed the traceback itself."""


Take = Callable[[Text | Raised], None]


class Channels:
    """The sockets of all processes of the app."""

    def __init__(self) -> None:
        self._selector = selectors.DefaultSelector()
        self._lock = threading.RLock()

    def fileno(self) -> int:
        """Return a descriptor that is readable when a message has arrived."""
        # each selector of an operating system that has sockets of this kind has it
        return int(self._selector.fileno())

    def listen(self, path: Path, take: Take) -> Callable[[], None]:
        """Listen on a new socket; return a function that closes it.

        `take` gets each message.
        """
        listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            listener.bind(str(path))
            listener.listen(_MAX_CONNECTIONS)
            listener.setblocking(False)
        except OSError:
            listener.close()
            raise
        connections: set[socket.socket] = set()

        def accept() -> None:
            with contextlib.suppress(OSError):
                connection, _ = listener.accept()
                if len(connections) >= _MAX_CONNECTIONS:
                    connection.close()
                    return
                connection.setblocking(False)
                connections.add(connection)

                def end() -> None:
                    self._close(connection)
                    connections.discard(connection)

                self._register(connection, _Reader(connection, take, end).read)

        def close() -> None:
            with self._lock:
                for sock in (listener, *connections):
                    self._close(sock)
                connections.clear()

        with self._lock:
            self._register(listener, accept)
        return close

    def read(self) -> None:
        """Pass on what has arrived."""
        with self._lock:
            for _ in range(_MAX_READS):
                ready = self._selector.select(0)
                if not ready:
                    return
                for key, _ in ready:
                    key.data()

    def _register(self, sock: socket.socket, read: Callable[[], object]) -> None:
        self._selector.register(sock, selectors.EVENT_READ, read)

    def _close(self, sock: socket.socket) -> None:
        with contextlib.suppress(KeyError, ValueError):
            self._selector.unregister(sock)
        sock.close()


class _Reader:
    """The messages of one connection: a JSON object on each line."""

    def __init__(
        self, connection: socket.socket, take: Take, end: Callable[[], object]
    ) -> None:
        self._connection = connection
        self._take = take
        self._end = end
        self._rest = b""

    def read(self) -> None:
        """Read once; call `end` if the connection is of no more use."""
        try:
            data = self._connection.recv(2**18)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        *lines, self._rest = (self._rest + data).split(b"\n")
        for line in lines:
            if (message := parse(line)) is not None:
                self._take(message)
        if not data or len(self._rest) > _MAX_MESSAGE:
            self._end()


def parse(line: bytes) -> Text | Raised | None:
    """Return the message; None: it is not one, as the app can send anything."""
    try:
        sent = {name: _valid(name, value) for name, value in json.loads(line).items()}
        if "exception" in sent:
            failure = Failure(**{name: sent.pop(name) for name in _FAILURE})
            if not all(
                type(getattr(failure, name)) is kind for name, kind in _FAILURE.items()
            ):
                return None
            message: Text | Raised = Raised(failure=failure, **sent)
        else:
            message = Text(**sent)
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
        return None
    return message if _has_types(message) else None


def _valid(name: str, value: Any) -> Any:
    """Return a value whose text can be encoded: the app's may have half a character.

    What is printed may also be broken UTF-8, which reaches the terminal as it is.
    """
    if not isinstance(value, str) or value.isascii():
        return value
    return encode(value).decode(
        "utf-8", "surrogateescape" if name == "text" else "replace"
    )


def _has_types(message: Text | Raised) -> bool:
    for field in dataclasses.fields(message):
        value = getattr(message, field.name)
        if not isinstance(value, field.type):  # type: ignore[arg-type]
            return False
    return True
