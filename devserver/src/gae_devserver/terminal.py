"""What the server prints: the banner and the log lines."""

import contextlib
import logging
import os
import sys
import time
from collections.abc import MutableMapping, Sequence
from typing import Any, TextIO
from urllib.parse import quote

from gae_devserver.config.application import Application

logger = logging.getLogger("gae_devserver")

_COLORS = {logging.WARNING: "33", logging.ERROR: "31", logging.CRITICAL: "31"}
_DIM = "2"
_SHOWN_NAMES = 20


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


def set_up_logging(level: str, stream: TextIO | None = None) -> None:
    """Send the server's own log lines, and other packages' warnings, to stderr."""
    stream = stream or sys.stderr
    handler = logging.StreamHandler(stream)
    handler.setFormatter(_Formatter(uses_color(stream)))
    logging.getLogger("gae_devserver").setLevel(level.upper())
    root = logging.getLogger()
    root.setLevel(max(logging.WARNING, logging.getLogger("gae_devserver").level))
    root.addHandler(handler)
    # no traceback if the terminal was closed
    logging.raiseExceptions = False


def printable(text: str) -> str:
    """Return text from outside with escapes for what could control a terminal."""
    if text.isascii() and text.isprintable():
        return text
    return "".join(
        c if c.isprintable() else ascii(c)[1:-1]
        for c in text.encode("utf-8", "surrogateescape").decode("utf-8", "replace")
    )


def log_warnings(application: Application) -> None:
    """Log what the configuration asks for without effect."""
    for warning in application.warnings:
        logger.warning("%s", warning)


def _some(names: Sequence[str]) -> str:
    """Return names on one line; App Engine allows a thousand queues."""
    shown = ", ".join(names[:_SHOWN_NAMES])
    more = len(names) - _SHOWN_NAMES
    return f"{shown} and {more} more" if more > 0 else shown


def show_banner(
    application: Application,
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
