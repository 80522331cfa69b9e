"""Tells the server what is printed, logged and raised."""

from __future__ import annotations

import contextvars
import logging
import os
import sys
from typing import Any

from . import requests, streams
from .channel import Channel
from .failures import Folder, describe

_MAX_EXCEPTIONS = 50
"""Exceptions of a request that are told; further ones appear as text."""
_MAX_UNFINISHED = 2**15
_HEAD = "Traceback (most recent call last):"
# the loggers of servers, and the packages that these come from
_SERVERS = {"gunicorn.error": "gunicorn", "uvicorn.error": "uvicorn"}
# attributes of exceptions
_MARK = "_gae_devserver_told"
_PRINTED = "_gae_devserver_printed"

LogCall = Any


class Emission:
    """A log record while its handlers run."""

    __slots__ = ("exception", "hidden", "minor", "own", "quiet", "record")

    def __init__(self, record: logging.LogRecord) -> None:
        """Begin with nothing known."""
        self.record = record
        self.exception: int | None = None
        """The number of the told exception that it is about."""
        self.own = True
        """Whether the app's own code has logged it."""
        self.quiet = False
        """Whether it is one of the lines in which a server says what it does."""
        self.minor = False
        """Whether its traceback is for those who look for an error of a library.

        Django logs some for each of its error pages, with a thousand lines.
        """
        self.hidden = False
        """Whether its text is nothing but a traceback that was told."""

    def traceback(self) -> str | None:
        """Return how the text of the record ends, if the server shows that itself."""
        # the formatter keeps it there
        shown = self.record.exc_text
        if not shown or not (self.minor or self.exception is not None):
            return None
        # stderr escapes half of a character
        shown = shown.encode(errors="backslashreplace").decode()
        return f"\n{shown}"


class Teller:
    """Takes what the streams write and what the loggers get."""

    def __init__(self, channel: Channel, folder: Folder, pipe: str) -> None:
        """Send messages over a channel. `pipe` says where the streams write to."""
        self._channel = channel
        self._folder = folder
        self._pipe = pipe
        self._has_terminal = pipe.startswith(streams.TERMINAL)
        self._emission: contextvars.ContextVar[Emission | None] = (
            contextvars.ContextVar("gae_devserver_emission", default=None)
        )

    def tell(self, request: requests.Request, error: BaseException) -> int | None:
        """Tell an exception, once in a request; return its number there."""
        marks = vars(error)
        mark = marks.get(_MARK)
        if isinstance(mark, tuple) and mark[0] == request.ticket:
            return mark[1]
        if request.exceptions >= _MAX_EXCEPTIONS:
            return None
        number = request.exceptions + 1
        message = describe(error, self._folder)
        message["ticket"] = request.ticket
        message["exception"] = number
        message["printed"] = marks.get(_PRINTED) == request.ticket
        self.flush(request)
        if not self._channel.send(message):
            return None
        request.exceptions = number
        marks[_MARK] = (request.ticket, number)
        return number

    def tell_end(self, error: BaseException) -> bool:
        """Tell an exception that ends the process, and print the app's part of it.

        The result is False if it has no such part. But gunicorn's own exception only
        repeats that the workers have ended.
        """
        message = describe(error, self._folder)
        if type(error).__module__ == "gunicorn.errors":
            quiet = {"quiet": True, "own": False}
            return not self._channel.send_text(quiet, str(message["full_traceback"]))
        if not message["file"]:
            return False
        told = {**message, "ticket": "", "exception": 0, "printed": True}
        if not self._channel.send(told):
            return False
        print(message["traceback"], end="", file=sys.stderr, flush=True)
        return True

    def flush(self, request: requests.Request) -> None:
        """Send lines that have no end yet."""
        while request.unfinished:
            descriptor, (text, emission) = request.unfinished.popitem()
            self._send(request, emission, text, descriptor)

    def call_handlers(self, record: logging.LogRecord, call: LogCall) -> None:
        """Have the handlers of a log record called."""
        try:
            emission = self._emission_of(record)
        except Exception:  # noqa: BLE001 - the app must go on
            emission = None
        if emission is None:
            call()
            return
        token = self._emission.set(emission)
        try:
            call()
        finally:
            self._emission.reset(token)

    def _emission_of(self, record: logging.LogRecord) -> Emission | None:
        emission = Emission(record)
        request = requests.running()
        if request is None:
            error = record.exc_info[1] if record.exc_info else None
            if record.levelno >= logging.WARNING and error is None:
                return None
            if not _is_of_server(record):
                return None
            if error is not None:  # a worker of gunicorn cannot start
                if not self.tell_end(error):
                    return None
                emission.exception = 0
            emission.quiet = True
            return emission
        file = os.path.abspath(record.pathname)  # noqa: PTH100
        emission.own = self._folder.relative(file) is not None
        error = record.exc_info[1] if record.exc_info else None
        if error is None and _is_traceback_of_sdk(record):
            error = sys.exc_info()[1]
            emission.hidden = True
        if error is not None:
            emission.minor = record.levelno < logging.WARNING and not emission.own
            if not emission.minor:
                emission.exception = self.tell(request, error)
            emission.hidden &= emission.exception is not None
        return emission

    def take(self, descriptor: int, data: bytes) -> bool:
        """Take what is written to a stream in a request; return whether it was."""
        request, emission = requests.running(), self._emission.get()
        if request is None and (emission is None or not emission.quiet):
            return False
        if not streams.is_pipe(descriptor, self._pipe):
            return False  # it was redirected
        if emission is not None and emission.hidden:
            return True
        text = whole = data.decode("utf-8", "surrogateescape")
        traceback = None if emission is None else emission.traceback()
        if traceback is not None:
            text = text.replace(traceback, "", 1)
        # the server decides whether to show what a framework logs about an exception
        is_own = emission is None or emission.own or emission.exception is None
        if self._has_terminal and request is not None and is_own:
            if text == whole:
                return False
            _write(descriptor, text.encode("utf-8", "surrogateescape"))
            return True
        if request is None:
            self._send(None, emission, text, descriptor)
            return True
        if _HEAD in text:
            self._note_printed(request, emission)
        before, of = request.unfinished.pop(descriptor, ("", emission))
        if of is not emission:
            self._send(request, of, before, descriptor)
            before = ""
        lines, end, rest = (before + text).rpartition("\n")
        if end:
            self._send(request, emission, lines + end, descriptor)
        if len(rest) > _MAX_UNFINISHED:
            self._send(request, emission, rest, descriptor)
        elif rest:
            request.unfinished[descriptor] = (rest, emission)
        if emission is not None and emission.minor and text != whole:
            emission.quiet = True
            self._send(request, emission, f"{traceback}\n".lstrip("\n"), descriptor)
            emission.quiet = False
        return True

    def _note_printed(
        self, request: requests.Request, emission: Emission | None
    ) -> None:
        error = sys.exc_info()[1]
        if emission is not None and emission.record.exc_info:
            error = emission.record.exc_info[1]
        if error is not None:
            vars(error)[_PRINTED] = request.ticket

    def _send(
        self,
        request: requests.Request | None,
        emission: Emission | None,
        text: str,
        descriptor: int,
    ) -> None:
        message: dict[str, object] = {}
        if request is not None:
            message["ticket"] = request.ticket
        if emission is not None:
            message["level"] = emission.record.levelname
            message["logger"] = emission.record.name
            message["quiet"] = emission.quiet
            message["own"] = emission.own
            if emission.exception is not None:
                message["about"] = emission.exception
        rest = self._channel.send_text(message, text)
        if rest:
            _write(descriptor, rest.encode("utf-8", "surrogateescape"))


def _is_of_server(record: logging.LogRecord) -> bool:
    """Return whether the code of a server, not of the app, has logged a record."""
    package = _SERVERS.get(record.name)
    frame = sys._getframe()
    here = os.path.dirname(__file__)  # noqa: PTH120
    # gunicorn's logger has methods of its own
    skipped = (here, os.path.dirname(logging.__file__))  # noqa: PTH120
    while package is not None and frame.f_back is not None:
        frame = frame.f_back
        file = frame.f_code.co_filename
        if not file.startswith(skipped) and not file.endswith("glogging.py"):
            return f"{os.sep}{package}{os.sep}" in file
    return False


def _is_traceback_of_sdk(record: logging.LogRecord) -> bool:
    """Return whether the SDK logs a traceback as a text."""
    return record.funcName == "ErrorLoggingMiddleware" and record.pathname.endswith(
        os.path.join("google", "appengine", "runtime", "middlewares.py")  # noqa: PTH118
    )


def _write(descriptor: int, data: bytes) -> None:
    while data:
        data = data[os.write(descriptor, data) :]
