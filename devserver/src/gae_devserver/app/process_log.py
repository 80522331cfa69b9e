"""The log of one process of the app: its last lines, and advice on them."""

from collections import deque
from collections.abc import Callable
from pathlib import Path
from typing import Protocol

from gae_devserver.activity.records import Failure
from gae_devserver.app.advice.running import RunningAdvice
from gae_devserver.app.channel import Channels, Raised, Text

# a traceback through gunicorn and the SDK has about 60 lines
_TAIL_LINES = 100


class Log(Protocol):
    """The log of all processes."""

    channels: Channels

    def take(self, process: "ProcessLog", message: Text | Raised) -> None:
        """Take what a process has told."""

    def print(self, process: "ProcessLog", text: Text, *, begins: bool) -> None:
        """Show lines that a process has printed outside of a request."""

    def flush(self) -> None:
        """Show everything that waits."""

    def in_loop(self, call: Callable[[], object]) -> None:
        """Call a function in the thread of the event loop."""


class ProcessLog:
    """The log of one process of the app."""

    def __init__(
        self,
        log: Log,
        folder: Path,
        service: str,
        label: str,
        *,
        debugs: bool = False,
    ) -> None:
        """Put `label` before each line; `debugs`: the app has the terminal."""
        self.service = service
        self.label = label
        self._log = log
        self._tail: deque[bytes] = deque(maxlen=_TAIL_LINES)
        self._end: Failure | None = None
        self._advice = RunningAdvice(folder, label, debugs=debugs)
        self._close: Callable[[], None] = lambda: None

    def listen(self, path: Path) -> None:
        """Take what the process tells over a new socket.

        Raises:
            OSError: the socket cannot be made.
        """
        self._close = self._log.channels.listen(path, self._take)

    def print(self, line: bytes, *, begins: bool = True) -> None:
        """Take a line that the process has printed outside of a request.

        `begins` says whether it is not the rest of a long line.
        """
        self.keep(line)
        text = line.decode("utf-8", "surrogateescape")
        self._log.print(self, Text(text), begins=begins)

    def keep(self, line: bytes) -> None:
        """Keep a line for the end of the process, and give advice."""
        self._tail.append(line)
        self._advice.see(line)

    def end_with(self, failure: Failure) -> None:
        """Keep the exception that ends the process, and give advice."""
        self._end = failure
        self.explain(failure.full_traceback)

    def explain(self, traceback: str) -> None:
        """Give advice on an exception."""
        self._advice.see_traceback(traceback)

    def tail(self) -> str:
        """Return the last lines, with all of the traceback that ended the process."""
        self._log.channels.read()
        lines = b"".join(self._tail.copy()).decode("utf-8", "replace")
        if self._end is None:
            return lines
        return lines.replace(self._end.traceback, "") + self._end.full_traceback

    def start_advice(self) -> None:
        """Log what to do about errors from now on."""
        self._advice.start()

    def stop_advice(self) -> None:
        """Log no more advice."""
        self._advice.stop()

    def flush(self) -> None:
        """Show everything that waits."""
        self._log.flush()

    def close(self) -> None:
        """End with the process, whose last lines are read first; from any thread."""
        self._log.in_loop(self._close_socket)

    def _close_socket(self) -> None:
        self._log.channels.read()
        self._close()

    def _take(self, message: Text | Raised) -> None:
        self._log.take(self, message)
