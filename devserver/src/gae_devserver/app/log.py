"""What the app prints, logs and raises: on the terminal, and in the records."""

import contextlib
import dataclasses
import functools
import logging
import time
from collections.abc import Callable
from typing import TYPE_CHECKING

from gae_devserver.activity.activity import Activity
from gae_devserver.activity.records import Failure, LogLine, Record
from gae_devserver.app.channel import Channels, Raised, Text
from gae_devserver.app.process_log import ProcessLog
from gae_devserver.output import Output
from gae_devserver.terminal import exception, json_line, summary

if TYPE_CHECKING:  # the app starts before the server imports this
    from asyncio import AbstractEventLoop

logger = logging.getLogger("gae_devserver.app")

_HOLD_SECONDS = 1.0
_MAX_UNFINISHED = 2**16


@dataclasses.dataclass
class _Request:
    """What a request has told that is not shown yet."""

    process: ProcessLog
    record: Record
    unfinished: Text | None = None
    """A line that has no end yet."""
    raised: Raised | None = None
    """The last exception, whose traceback is not shown yet."""
    about: list[Text] = dataclasses.field(default_factory=list)
    """What a framework, the SDK or a server has logged about it."""
    shown: Failure | None = None
    """The last exception whose traceback is shown."""


class AppLog:
    """The log of all processes of the app."""

    def __init__(self, output: Output | None = None) -> None:
        """Write to `output`."""
        self.output = output or Output()
        self.channels = Channels()
        self._activity: Activity | None = None
        self._requests: dict[str, _Request] = {}
        self._is_running: Callable[[str], bool] = lambda ticket: False
        self._loop: AbstractEventLoop | None = None
        self._ending = ""
        """The ticket of the request that ends now."""

    def attach(
        self,
        activity: Activity,
        is_running: Callable[[str], bool],
        loop: "AbstractEventLoop",
    ) -> None:
        """Keep lines and exceptions in records; the event loop shows them at once.

        `is_running` says whether a ticket is that of a request that runs.
        """
        self._activity = activity
        self._is_running = is_running
        self._loop = loop
        self._loop.add_reader(self.channels.fileno(), self.channels.read)

    def in_loop(self, call: Callable[[], object]) -> None:
        """Call a function in the thread of the event loop, if there is one yet."""
        if self._loop is None:
            call()
        else:
            # a loop that is closed needs nothing to be closed
            with contextlib.suppress(RuntimeError):
                self._loop.call_soon_threadsafe(call)

    def flush(self) -> None:
        """Show everything, as the server ends."""
        self.channels.read()
        self.output.flush()

    def take(self, process: ProcessLog, message: Text | Raised) -> None:
        """Take what a process has told."""
        request = self._request(process, message.ticket)
        if isinstance(message, Raised):
            if message.ticket:
                process.explain(message.failure.full_traceback)
            else:
                process.end_with(message.failure)
            if request is not None:
                self._take_exception(request, message)
            elif not message.printed or (not message.ticket and _shows_all()):
                self._print_failure(
                    process, message.failure, self._record(message.ticket)
                )
            return
        for line in message.text.encode("utf-8", "surrogateescape").splitlines(True):
            process.keep(line)
        if message.quiet and not _shows_all():
            return
        if request is not None:
            self._take_text(request, message)
        elif _shows_all() or not _is_of_framework(message):
            self.print(process, message, self._record(message.ticket))

    def print(
        self,
        process: ProcessLog,
        text: Text,
        record: Record | None = None,
        *,
        begins: bool = True,
        failure: Failure | None = None,
    ) -> None:
        """Show lines of a process, and keep them in the record of their request.

        They may be the traceback of a failure.
        """
        lines = text.text.removesuffix("\n").split("\n")
        number = None if record is None else record.number
        if self.output.as_json:
            line_of = functools.partial(
                json_line,
                level=text.level,
                logger=text.logger,
                source="app",
                service=process.service,
                request=number,
            )
            shown = "".join(map(line_of, lines))
            if failure is not None:
                shown = line_of(summary(failure), exception=exception(failure))
        else:
            label = process.label
            shown = (label if begins else "") + f"\n{label}".join(lines)
            if record is not None or text.text.endswith("\n"):
                shown += "\n"
        ended = record is None or record.seconds is not None
        self.output.write(shown, None if ended else number)
        if record is not None and self._activity is not None:
            now = time.time()
            for line in lines:
                data = line.encode("utf-8", "surrogateescape")
                clean = data.decode("utf-8", "replace")
                of = LogLine(now, text.level, text.logger, clean)
                self._activity.add_line(record, of)

    def end(self, ticket: str) -> None:
        """Show what a request that has just ended has told."""
        self._ending = ticket
        self.channels.read()
        self._ending = ""
        if (request := self._requests.pop(ticket, None)) is not None:
            self._end(request)
            if request.record.kind == "server":  # no line says that it has ended
                self.output.end(request.record.number)

    def _end(self, request: _Request) -> None:
        self._finish_line(request)
        failure = request.raised.failure if request.raised else request.shown
        record, activity = request.record, self._activity
        if failure is None or activity is None:
            return
        succeeded = 200 <= record.status < 400
        if succeeded and not failure.is_permanent:
            self._show_exception(request)  # the app has gone on
            return
        raised, request.raised = request.raised, None
        if succeeded:
            # the SDK's words for a task that it drops
            for words in request.about:
                self.print(request.process, words, record)
        activity.set_failure(record, failure)
        if raised is None or raised.printed or self.output.as_json:
            return
        if _shows_all() or not _is_repeated(activity, record, failure):
            text = _traceback(failure, request.process.label)
            self.output.write_after(text, record.number)

    def _request(self, process: ProcessLog, ticket: str) -> _Request | None:
        """Return what is known of a request that runs; None: it does not."""
        if (found := self._requests.get(ticket)) is not None:
            return found
        record = self._record(ticket)
        if record is None or not (ticket == self._ending or self._is_running(ticket)):
            return None
        made = self._requests[ticket] = _Request(process, record)
        return made

    def _record(self, ticket: str) -> Record | None:
        """Return the record of a request, also after its end."""
        return self._activity.of(ticket) if ticket and self._activity else None

    def _take_text(self, request: _Request, text: Text) -> None:
        before = request.unfinished
        if before is not None:
            if dataclasses.replace(before, text=text.text) == text:
                text = dataclasses.replace(text, text=before.text + text.text)
                request.unfinished = None
            else:
                self._finish_line(request)
        lines, end, rest = text.text.rpartition("\n")
        if end:
            self._show(request, dataclasses.replace(text, text=lines + end))
        if len(rest) > _MAX_UNFINISHED:
            self._show(request, dataclasses.replace(text, text=rest))
        elif rest:
            request.unfinished = dataclasses.replace(text, text=rest)

    def _finish_line(self, request: _Request) -> None:
        if (text := request.unfinished) is not None:
            request.unfinished = None
            self._show(request, text)

    def _show(self, request: _Request, text: Text) -> None:
        raised = request.raised
        if raised is not None and text.about == raised.exception:
            if not text.own and not _shows_all():
                request.about.append(text)  # the line of the request says it too
                return
        elif text.own:
            self._show_exception(request)  # the app goes on
        self.print(request.process, text, request.record)

    def _take_exception(self, request: _Request, raised: Raised) -> None:
        self._finish_line(request)
        self._show_exception(request)
        request.raised = raised
        if self._loop is not None:
            self._loop.call_later(_HOLD_SECONDS, self._show_exception, request, raised)

    def _show_exception(self, request: _Request, raised: Raised | None = None) -> None:
        """Show the last exception, or this one if it is that, unless it was shown."""
        if request.raised is None or raised not in (None, request.raised):
            return
        raised, request.raised = request.raised, None
        about, request.about = request.about, []
        for text in about:
            self.print(request.process, text, request.record)
        request.shown = raised.failure
        if not raised.printed:
            self._print_failure(request.process, raised.failure, request.record)

    def _print_failure(
        self, process: ProcessLog, failure: Failure, record: Record | None
    ) -> None:
        text = Text(_traceback(failure), level="ERROR")
        self.print(process, text, record, failure=failure)


def _is_repeated(activity: Activity, record: Record, failure: Failure) -> bool:
    """Return whether the attempt before has failed with the same traceback."""
    attempt = record.attempt
    if attempt is None or attempt.number == 1:
        return False
    for one in reversed(activity.attempts):
        before = one.attempt
        if one is record or before is None or before.name != attempt.name:
            continue
        if before.queue == attempt.queue:
            return one.failure is not None and (
                one.failure.traceback == failure.traceback
            )
    return False


def _traceback(failure: Failure, label: str = "") -> str:
    text = failure.full_traceback if _shows_all() else failure.traceback
    return "".join(f"{label}{line}\n" for line in text.removesuffix("\n").split("\n"))


def _is_of_framework(text: Text) -> bool:
    """Return whether it says of an exception what the line of the request says."""
    return text.about is not None and not text.own


def _shows_all() -> bool:
    return logger.isEnabledFor(logging.DEBUG)
