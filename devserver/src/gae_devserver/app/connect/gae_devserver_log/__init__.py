"""Tells the dev server what the app prints, logs and raises in which request.

It runs in the app's process, on Python 3.7 or later, and imports only the standard
library. The app must go on as without it, so it ignores all its own errors.
"""

from __future__ import annotations

import functools
import logging
import os
import sys
from collections.abc import Mapping
from typing import Any

from . import streams
from .channel import Channel
from .failures import Folder, name_as_part_of_logging
from .hooks import Hooks
from .requests import Wrapper
from .telling import Teller


def start(pipe: str, socket: str, folder: str, environ: Mapping[str, str]) -> Hooks:
    """Begin to tell what is printed and logged; return what changes modules."""
    teller = Teller(Channel(socket), Folder(folder), pipe)
    streams.replace(pipe, teller.take)
    call_handlers = logging.Logger.callHandlers

    @functools.wraps(call_handlers)
    def call(self: Any, record: logging.LogRecord) -> None:
        teller.call_handlers(record, functools.partial(call_handlers, self, record))

    # the stack that logging shows of a mistake in a call ends at that call
    for function in (call, Teller.call_handlers):
        name_as_part_of_logging(function)
    logging.Logger.callHandlers = call  # type: ignore[method-assign]
    show = sys.excepthook

    def tell_or_show(kind: Any, error: Any, trace: Any) -> None:
        try:
            told = isinstance(error, Exception) and teller.tell_end(error)
        except Exception:  # noqa: BLE001 - the app's own code
            told = False
        if not told:
            show(kind, error, trace)

    sys.excepthook = tell_or_show
    wrapper = Wrapper(teller.tell, teller.flush)
    return Hooks(wrapper, os.path.dirname(socket), environ)  # noqa: PTH120
