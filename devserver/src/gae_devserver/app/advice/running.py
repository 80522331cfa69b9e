"""Logs what to do about errors that the app prints while it runs."""

import logging
import threading
from collections import deque
from pathlib import Path

from gae_devserver.app.advice import meanings, tracebacks

logger = logging.getLogger("gae_devserver.app")

# Limits for what is kept. A traceback through gunicorn, the SDK and a framework has up
# to 200 lines.
_MAX_LINES = 300
_MAX_LINE = 2000
_NO_APP = b"*** no app loaded. going in full dynamic mode ***"


class RunningAdvice:
    """Looks at each line; logs one line for each kind of error, once.

    While the app starts, advice waits: if the app ends, that is in the reason.
    """

    def __init__(self, folder: Path, label: str = "", *, debugs: bool = False) -> None:
        """Explain errors of the app in this folder; `label` is put before each line.

        `debugs`: the app has the terminal, so who leaves a debugger needs no advice.
        """
        self._folder = folder
        self._label = label
        self._lines: deque[bytes] = deque(maxlen=_MAX_LINES)
        self._indented = False
        """Whether the line before was indented, as in a traceback."""
        self._kinds = {meanings.DEBUGGER} if debugs else set[str]()
        self._lock = threading.Lock()
        self._waiting: list[str] | None = []

    def see(self, line: bytes) -> None:
        """Look at the next line that the app has printed; never fail."""
        line = line[:_MAX_LINE].rstrip()
        self._lines.append(line)
        try:
            if line.startswith((b" ", b"\t")):
                self._indented = True
            elif self._indented or line == _NO_APP:
                self._indented = False
                self._explain(line)
        except Exception:
            # the app would block if its output were not copied
            logger.debug("cannot explain what the app printed", exc_info=True)

    def see_traceback(self, text: str) -> None:
        """Look at the traceback of an exception; never fail."""
        try:
            # notes may follow the error
            self._explain_error(tracebacks.last(text))
        except Exception:
            logger.debug("cannot explain an exception", exc_info=True)

    def start(self) -> None:
        """Log the advice that waits; from now on, log advice at once."""
        with self._lock:
            waiting, self._waiting = self._waiting or [], None
        for text in waiting:
            logger.warning("%s%s", self._label, text)

    def stop(self) -> None:
        """Log no more, because the server ends the app, which may cause errors."""
        with self._lock:
            self._waiting = []

    def _explain(self, line: bytes) -> None:
        if line == _NO_APP:
            self._log("no app", "uWSGI found no app. Its lines above have the reason.")
            return
        self._explain_traceback(b"\n".join(self._lines).decode("utf-8", "replace"))

    def _explain_traceback(self, printed: str) -> None:
        traceback = tracebacks.last(printed)
        if traceback is not None and printed.endswith(f"\n{traceback.error}"):
            self._explain_error(traceback)

    def _explain_error(self, traceback: tracebacks.Traceback | None) -> None:
        if traceback and (meaning := meanings.of(traceback, self._folder)):
            summary = traceback.summary(self._folder)
            self._log(meaning.kind, f"{summary} {meaning.text}")

    def _log(self, kind: str, text: str) -> None:
        with self._lock:
            if kind in self._kinds:
                return
            self._kinds.add(kind)
            if self._waiting is not None:
                self._waiting.append(text)
                return
        logger.warning("%s%s", self._label, text)
