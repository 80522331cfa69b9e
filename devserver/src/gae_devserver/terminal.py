"""What the server prints: the banner and the log lines."""

import contextlib
import datetime
import json
import logging
import os
import sys
import time
from collections.abc import Mapping, MutableMapping, Sequence
from typing import TYPE_CHECKING, Any, TextIO
from urllib.parse import quote

from gae_devserver.activity import activity
from gae_devserver.activity.records import Failure, Record
from gae_devserver.output import Output, encode

if TYPE_CHECKING:
    # needs a package, whose absence is an error that this module shows
    from gae_devserver.config.application import Application

logger = logging.getLogger("gae_devserver")

_COLORS = {logging.WARNING: "33", logging.ERROR: "31", logging.CRITICAL: "31"}
_DIM = "2"
_SHOWN_NAMES = 20
_MAX_MESSAGE = 200
# the severities of Cloud Logging; an app may have levels of its own
_SEVERITIES = {"DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL"}


class _Formatter(logging.Formatter):
    """Time and message; the level only of a warning or worse."""

    def __init__(self, color: bool) -> None:
        super().__init__()
        self._color = color

    def format(self, record: logging.LogRecord) -> str:
        text = record.getMessage()
        if record.exc_info:
            text = f"{text}\n{self.formatException(record.exc_info)}"
        stamp = time.strftime("%H:%M:%S", time.localtime(record.created))
        if record.levelno >= logging.WARNING:
            text = f"{record.levelname.lower()}: {text}"
        if not self._color:
            return f"{stamp} {text}"
        if code := _COLORS.get(record.levelno):
            text = f"\x1b[{code}m{text}\x1b[0m"
        return f"\x1b[{_DIM}m{stamp}\x1b[0m {text}"


class _JsonFormatter(logging.Formatter):
    """One JSON object, with the names that Cloud Logging gives to time and level.

    The code that logs may add fields: `extra={"fields": {...}}`.
    """

    def format(self, record: logging.LogRecord) -> str:
        fields: Mapping[str, object] = getattr(record, "fields", {})
        if record.exc_info:
            fields = {**fields, "traceback": self.formatException(record.exc_info)}
        name, text = record.name, record.getMessage()
        return json_line(text, record.levelname, name, at=record.created, **fields)


class _Handler(logging.Handler):
    """Writes log lines, each with those of the request during which it is logged."""

    def __init__(self, output: Output, level: int) -> None:
        super().__init__()
        self._output = output
        # not `self.level`: the last line of a request counts even if it is not shown
        self._least = level

    def emit(self, record: logging.LogRecord) -> None:
        """Write a line; `extra={"ends": True}` marks the last one of a request."""
        try:
            request, ends = activity.current.get(), getattr(record, "ends", False)
            if record.levelno >= self._least:
                text = self.format(record)
                text = text if text.endswith("\n") else f"{text}\n"
                number = None
                # what a request has started may go on after it
                if request is not None and (ends or request.seconds is None):
                    number = request.number
                self._output.write(text, number)
            if request is not None and ends:
                self._output.end(request.number)
        except Exception:  # noqa: BLE001
            self.handleError(record)


def json_line(
    message: str, level: str, logger: str, *, at: float | None = None, **fields: object
) -> str:
    """Return a log line as a JSON object, with more fields."""
    now = datetime.datetime.fromtimestamp(at or time.time(), datetime.UTC)
    line: dict[str, object] = {
        "time": now.isoformat(timespec="milliseconds").replace("+00:00", "Z"),
        "severity": level if level in _SEVERITIES else "DEFAULT",
        "message": message,
    }
    more = {"logger": logger, **fields}
    line |= {name: value for name, value in more.items() if value not in ("", None)}
    return f"{json.dumps(line)}\n"


def summary(failure: Failure) -> str:
    """Return an exception in one line, with the app's file and line."""
    name = failure.type.rpartition(".")[2]
    message = printable(failure.message.strip().partition("\n")[0])
    if len(message) > _MAX_MESSAGE:
        message = f"{message[:_MAX_MESSAGE]}…"
    where = f" ({printable(failure.file)}:{failure.line})" if failure.file else ""
    return f"{printable(name)}{': ' if message else ''}{message}{where}"


def request_fields(record: Record) -> dict[str, object]:
    """Return the fields of the last line of a request, or of a task."""
    fields: dict[str, object] = {
        "request": record.number,
        "service": record.service,
        "method": record.method,
        "path": record.target,
        "status": record.status,
        "ms": round((record.seconds or 0.0) * 1000, 1),
    }
    if (failure := record.failure) is not None:
        fields["exception"] = exception(failure)
    return fields


def exception(failure: Failure) -> dict[str, object]:
    """Return the fields of an exception."""
    names = ("type", "message", "function", "file", "line", "traceback")
    return {name: getattr(failure, name) for name in names}


def is_json() -> bool:
    """Return whether log lines are JSON objects."""
    handlers = logging.getLogger().handlers
    return any(isinstance(one.formatter, _JsonFormatter) for one in handlers)


class Labelled(logging.LoggerAdapter[logging.Logger]):
    """Puts a label before each message, which says of which service it is."""

    def __init__(self, logger: logging.Logger, label: str) -> None:
        """Log as `logger` does."""
        super().__init__(logger)
        self._label = label

    def process(
        self, msg: object, kwargs: MutableMapping[str, Any]
    ) -> tuple[object, MutableMapping[str, Any]]:
        """Return the message with the label."""
        return f"{self._label}{msg}", kwargs


def uses_color(stream: TextIO) -> bool:
    """Return whether to use color: only on a terminal, and never with NO_COLOR."""
    return stream.isatty() and not os.environ.get("NO_COLOR")


def set_up_logging(
    level: str, log_format: str = "text", stream: TextIO | None = None
) -> Output:
    """Send the server's own log lines, and other packages' warnings, to stderr.

    Return what writes them, for the lines of the app.
    """
    least = logging.getLevelNamesMapping()[level.upper()]
    output = Output(stream, as_json=log_format == "json")
    handler = _Handler(output, least)
    formatter = _Formatter(uses_color(stream or sys.stderr))
    handler.setFormatter(_JsonFormatter() if output.as_json else formatter)
    # the handler needs the last line of each request, which has INFO or more
    logging.getLogger("gae_devserver").setLevel(min(least, logging.INFO))
    root = logging.getLogger()
    root.setLevel(max(logging.WARNING, least))
    root.addHandler(handler)
    # no traceback if the terminal was closed
    logging.raiseExceptions = False
    return output


def printable(text: str) -> str:
    """Return text from outside with escapes for what could control a terminal."""
    if text.isascii() and text.isprintable():
        return text
    return "".join(
        c if c.isprintable() else ascii(c)[1:-1]
        for c in encode(text).decode("utf-8", "replace")
    )


def log_warnings(application: "Application") -> None:
    """Log what the configuration asks for without effect."""
    for warning in application.warnings:
        logger.warning("%s", warning)


def _some(names: Sequence[str]) -> str:
    """Return names on one line; App Engine allows a thousand queues."""
    shown = ", ".join(names[:_SHOWN_NAMES])
    more = len(names) - _SHOWN_NAMES
    return f"{shown} and {more} more" if more > 0 else shown


def show_banner(
    application: "Application",
    app_url: str,
    state_url: str,
    token: str,
    grpc: str,
    cloud_tasks: bool,
    storage: str,
    cron: bool = False,
    other_urls: Sequence[str] = (),
    services: Sequence[str] = (),
) -> None:
    """Print where everything is, when the app is ready: programs wait for this."""
    config = application.main
    name = config.folder.resolve().name
    queues = _some([queue.name for queue in application.queues])
    jobs = _some([job.url for job in application.cron_jobs])
    rules = _some([str(rule) for rule in application.dispatch])
    how = "" if cron else " (scheduled only with --cron)"
    what = f"service {config.service}, {config.runtime}"
    if len(application.services) > 1:
        what = f"{len(application.services)} services"
    heads = ("Services", *[""] * len(services))
    lines = (
        f"Development server for {name} ({what})",
        f"  App        {app_url}",
        *(f"             {url}" for url in other_urls),
        *(f"  {head:9}  {one}" for head, one in zip(heads, services, strict=False)),
        *((f"  Dispatch   {rules}",) if rules else ()),
        f"  Console    {state_url}/#{quote(token)}",
        f"  State API  {state_url}",
        f"  Token      {token}",
        f"  Datastore  DATASTORE_EMULATOR_HOST={grpc}",
        *([f"  Tasks      CLOUD_TASKS_EMULATOR_HOST={grpc}"] if cloud_tasks else ()),
        f"  Queues     {queues}",
        *((f"  Cron jobs  {jobs}{how}",) if jobs else ()),
        f"  Storage    {storage}",
        "Press Ctrl-C to stop. For development only: do not expose this server.",
    )
    # the reader of a pipe may be gone
    with contextlib.suppress(OSError):
        print(*lines, sep="\n", flush=True)
