"""The log lines of aiohttp's server."""

import logging

from aiohttp.http_exceptions import HttpProcessingError

from gae_devserver.terminal import printable


def http_logger() -> logging.Logger:
    """Return a logger for aiohttp; a bad request is one line without a traceback."""

    def shorten(record: logging.LogRecord) -> bool:
        error = record.exc_info[1] if record.exc_info else None
        if isinstance(error, HttpProcessingError):
            first = printable(error.message.partition("\n")[0])
            record.msg, record.args = "400 bad request: %s", (first,)
            record.exc_info, record.levelno = None, logging.INFO
        return True

    logger = logging.getLogger("gae_devserver.request.http")
    if not logger.filters:
        logger.addFilter(shorten)
    return logger
