"""What a developer sees: the banner and the log lines."""

import contextlib
import logging
import os
import sys
import time
from collections.abc import Sequence
from typing import TextIO

from gae_devserver.config.app_yaml import AppConfig

logger = logging.getLogger("gae_devserver")

_COLOURS = {logging.WARNING: "33", logging.ERROR: "31", logging.CRITICAL: "31"}
_DIM = "2"


class _Formatter(logging.Formatter):
    """Time and text; the level only where it is a warning or worse."""

    def __init__(self, colour: bool) -> None:
        super().__init__()
        self._colour = colour

    def format(self, record: logging.LogRecord) -> str:
        text = record.getMessage()
        if record.exc_info:
            text = f"{text}\n{self.formatException(record.exc_info)}"
        stamp = time.strftime("%H:%M:%S", time.localtime(record.created))
        if record.levelno >= logging.WARNING:
            text = f"{record.levelname.lower()}: {text}"
        if not self._colour:
            return f"{stamp} {text}"
        if code := _COLOURS.get(record.levelno):
            text = f"\x1b[{code}m{text}\x1b[0m"
        return f"\x1b[{_DIM}m{stamp}\x1b[0m {text}"


def uses_colour(stream: TextIO) -> bool:
    """Say whether to colour: only on a terminal, and never under NO_COLOR."""
    return stream.isatty() and not os.environ.get("NO_COLOR")


def set_up_logging(level: str, stream: TextIO | None = None) -> None:
    """Send the server's own log lines, and other packages' warnings, to stderr."""
    stream = stream or sys.stderr
    handler = logging.StreamHandler(stream)
    handler.setFormatter(_Formatter(uses_colour(stream)))
    logging.getLogger("gae_devserver").setLevel(level.upper())
    root = logging.getLogger()
    root.setLevel(max(logging.WARNING, logging.getLogger("gae_devserver").level))
    root.addHandler(handler)
    # a terminal that was closed must not add tracebacks
    logging.raiseExceptions = False


def printable(text: str) -> str:
    """Return text from outside so that it can do nothing to a terminal."""
    if text.isascii() and text.isprintable():
        return text
    return "".join(
        c if c.isprintable() else ascii(c)[1:-1]
        for c in text.encode("utf-8", "surrogateescape").decode("utf-8", "replace")
    )


def log_warnings(config: AppConfig) -> None:
    """Say what the configuration asks for and does not get."""
    for warning in config.warnings:
        logger.warning("%s", warning)


def show_banner(
    config: AppConfig,
    app_url: str,
    state_url: str,
    token: str,
    datastore: str,
    storage: str,
    other_urls: Sequence[str] = (),
) -> None:
    """Print where everything is. Whoever reads it may rely on the app to answer."""
    name = config.folder.resolve().name
    queues = ", ".join(queue.name for queue in config.queues)
    lines = (
        f"Development server for {name} (service {config.service}, {config.runtime})",
        f"  App        {app_url}",
        *(f"             {url}" for url in other_urls),
        f"  State API  {state_url}",
        f"  Token      {token}",
        f"  Datastore  DATASTORE_EMULATOR_HOST={datastore}",
        f"  Queues     {queues}",
        f"  Storage    {storage}",
        "Press Ctrl-C to stop. For development only: do not expose this server.",
    )
    # nobody may be reading any more
    with contextlib.suppress(OSError):
        print(*lines, sep="\n", flush=True)
