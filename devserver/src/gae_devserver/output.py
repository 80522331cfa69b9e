"""Writes lines to stderr, so that those of one request stand together."""

import contextlib
import sys
import threading
import time
from typing import TextIO


def encode(text: str) -> bytes:
    """Encode any text: what was broken UTF-8 becomes so again.

    Other halves of surrogate pairs, which a str may have, are escaped.
    """
    try:
        return text.encode("utf-8", "surrogateescape")
    except UnicodeEncodeError:
        return text.encode("utf-8", "backslashreplace")


class Output:
    """Lines from several threads.

    The first request that prints has the terminal until it ends, and its lines appear
    at once. The lines of other requests wait until then, or for a moment.
    """

    def __init__(
        self,
        stream: TextIO | None = None,
        *,
        as_json: bool = False,
        hold_seconds: float = 1.0,
    ) -> None:
        """Write to a stream, or to what sys.stderr is then.

        `as_json` says whether each line is a JSON object. No line waits for longer
        than `hold_seconds`.
        """
        self.as_json = as_json
        self._stream = stream
        self._hold_seconds = hold_seconds
        self._owner: int | None = None
        """The request that has the terminal."""
        self._last = 0.0
        """When it has printed its last line."""
        self._held: dict[int, list[str]] = {}
        """The lines of other requests, by the number of the request."""
        self._ended: set[int] = set()
        """Those of them that have ended."""
        self._after: dict[int, str] = {}
        """What follows the last line of a request."""
        self._changed = threading.Condition()
        self._thread: threading.Thread | None = None

    def write(self, text: str, request: int | None = None) -> None:
        """Write whole lines, of the request with this number or of none."""
        with self._changed:
            if request is None:
                self._print(text)
                return
            if self._owner is None:
                self._owner = request
            if self._owner == request:
                self._last = time.monotonic()
                self._print(text)
            else:
                self._held.setdefault(request, []).append(text)
                self._watch()

    def write_after(self, text: str, request: int) -> None:
        """Write lines when `end` is called for a request, after all others."""
        with self._changed:
            self._after[request] = self._after.get(request, "") + text
            self._watch()

    def end(self, request: int) -> None:
        """Let the lines of other requests follow those of this one."""
        with self._changed:
            if after := self._after.pop(request, ""):
                self.write(after, request)
            if self._owner == request:
                self._owner = None
                self._release()
            elif request in self._held:
                self._ended.add(request)

    def flush(self) -> None:
        """Write everything that waits."""
        with self._changed:
            for request in [*self._after]:
                self._held.setdefault(request, []).append(self._after.pop(request))
            for lines in self._held.values():
                self._print("".join(lines))
            self._held.clear()
            self._ended.clear()

    def _release(self) -> None:
        """Write the lines of requests that have ended, and of the next that runs."""
        for request in [one for one in self._held if one in self._ended]:
            self._print("".join(self._held.pop(request)))
        self._ended.clear()
        for request in [*self._held][:1]:
            self._owner, self._last = request, time.monotonic()
            self._print("".join(self._held.pop(request)))

    def _watch(self) -> None:
        """Have a thread write what waits for too long."""
        if self._thread is None:
            self._thread = threading.Thread(target=self._flush_in_time, daemon=True)
            self._thread.start()
        self._changed.notify()

    def _flush_in_time(self) -> None:
        with self._changed:
            while True:
                self._changed.wait_for(lambda: self._held or self._after)
                waiting = {*self._held, *self._after}
                deadline = time.monotonic() + self._hold_seconds
                while (left := deadline - time.monotonic()) > 0:
                    self._changed.wait(left)
                if not waiting.isdisjoint([*self._held, *self._after]):
                    self.flush()
                    if time.monotonic() - self._last > self._hold_seconds:
                        self._owner = None

    def _print(self, text: str) -> None:
        stream = self._stream or sys.stderr
        data = encode(text)
        # the reader may be gone; this must not end what the app's output is read by
        with contextlib.suppress(OSError, ValueError):
            if buffer := getattr(stream, "buffer", None):
                buffer.write(data)
            else:
                stream.write(data.decode("utf-8", "replace"))
            stream.flush()
