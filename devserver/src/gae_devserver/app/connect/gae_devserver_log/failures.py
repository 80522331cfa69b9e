"""Describes an exception: its traceback, and where the app has caused it."""

from __future__ import annotations

import logging
import os
import sys
import traceback
from collections.abc import Iterator
from typing import Any

_HERE = os.path.dirname(__file__)  # noqa: PTH120 - pathlib takes time to import
# beside the files of logging, so that it takes a frame for one of its own
_IN_LOGGING = os.path.join(  # noqa: PTH118
    os.path.dirname(logging.__file__),  # noqa: PTH120
    "gae_devserver.py",
)
_NEVER_SHOWN = (_HERE, _IN_LOGGING)
_NOT_SHOWN = (
    os.path.join("google", "appengine", ""),  # noqa: PTH118
    os.path.join("site-packages", "gunicorn", ""),  # noqa: PTH118
    "<frozen importlib",
)
_PACKAGES = ("/site-packages/", "/dist-packages/")
_MAX_MESSAGE = 2000
_MAX_SHORT = 20_000
_MAX_FULL = 100_000


class Folder:
    """The app's folder, which says what is the app's own code."""

    def __init__(self, path: str) -> None:
        """Take the path as the dev server knows it."""
        self._roots = [os.path.join(path, "")]  # noqa: PTH118
        real = os.path.join(os.path.realpath(path), "")  # noqa: PTH118
        if real not in self._roots:
            self._roots.append(real)
        # an environment in the app's folder is not the app
        prefix = os.path.join(sys.prefix, "")  # noqa: PTH118
        self._environment = prefix if self._relative(prefix) else None

    def relative(self, file: str) -> str | None:
        """Return the path of the app's own file in the folder; None: it is another."""
        relative = self._relative(file)
        if relative is None or any(name in file for name in _PACKAGES):
            return None
        if self._environment is not None and file.startswith(self._environment):
            return None
        return relative

    def _relative(self, file: str) -> str | None:
        for root in self._roots:
            if file.startswith(root):
                return file[len(root) :]
        return None


def name_as_part_of_logging(function: Any) -> None:
    """Have logging leave a function out of the stacks that it shows."""
    code = function.__code__
    if hasattr(code, "replace"):  # since Python 3.8
        function.__code__ = code.replace(co_filename=_IN_LOGGING)


def describe(error: BaseException, folder: Folder) -> dict[str, object]:
    """Return what the dev server shows of an exception."""
    kind = type(error)
    name = kind.__qualname__
    if kind.__module__ not in ("builtins", "__main__"):
        name = f"{kind.__module__}.{name}"
    try:
        message = str(error)
    except BaseException:  # noqa: BLE001 - the app's own code
        message = "<exception str() failed>"
    function, file, line = _origin(error, folder) or ("", "", 0)
    try:
        short, full = _tracebacks(error, folder)
    except Exception:  # noqa: BLE001 - for example a chain that is too long
        short = full = f"{name}: {message}\n"
    return {
        "type": _shortened(name, 200),
        "message": _shortened(message, _MAX_MESSAGE),
        "function": _shortened(function, 200),
        "file": _shortened(file, 1000),
        "line": line,
        "traceback": _shortened(short, _MAX_SHORT),
        "full_traceback": _shortened(full, _MAX_FULL),
        "is_permanent": any(map(_is_permanent, kind.__mro__)),
    }


def _is_permanent(kind: type) -> bool:
    return kind.__name__ == "PermanentTaskFailure" and kind.__module__.startswith(
        "google.appengine.ext.deferred"
    )


def _origin(error: BaseException, folder: Folder) -> tuple[str, str, int] | None:
    """Return the innermost function of the app, its file and line.

    It may have caused another exception, which led to this one.
    """
    for one in _chain(error):
        if isinstance(one, SyntaxError) and one.filename:
            file = folder.relative(os.path.abspath(one.filename))  # noqa: PTH100
            if file is not None:
                return "", file, one.lineno or 0
        found = None
        for frame, line in traceback.walk_tb(one.__traceback__):
            code = frame.f_code
            file = folder.relative(code.co_filename)
            if file is not None:
                # since Python 3.11 with the class
                found = getattr(code, "co_qualname", code.co_name), file, line
        if found is not None:
            return found
    return None


def _chain(error: BaseException) -> Iterator[BaseException]:
    current: BaseException | None = error
    seen: set[int] = set()
    while current is not None and id(current) not in seen:
        yield current
        seen.add(id(current))
        cause, context = current.__cause__, current.__context__
        current = (
            context if cause is None and not current.__suppress_context__ else cause
        )


def _tracebacks(error: BaseException, folder: Folder) -> tuple[str, str]:
    whole = traceback.TracebackException(type(error), error, error.__traceback__)
    for one in _parts(whole):
        kept = [
            frame for frame in one.stack if not frame.filename.startswith(_NEVER_SHOWN)
        ]
        # what the web server calls may not be a WSGI app at all
        one.stack[:] = kept or one.stack[-1:]
    full = "".join(whole.format())
    for one in _parts(whole):
        _shorten(one, folder)
    return "".join(whole.format()), full


def _parts(
    whole: traceback.TracebackException,
) -> Iterator[traceback.TracebackException]:
    """Return those of the causes, and of the exceptions of a group, too."""
    waiting, seen = [whole], set()
    while waiting:
        one = waiting.pop()
        if id(one) in seen:
            continue
        seen.add(id(one))
        yield one
        others = [
            one.__cause__,
            one.__context__,
            *(getattr(one, "exceptions", None) or ()),
        ]
        waiting.extend(other for other in others if other is not None)


def _shorten(one: traceback.TracebackException, folder: Folder) -> None:
    """Leave out what is not the app's: the web server, the SDK, and what called it."""
    stack = one.stack
    own = [folder.relative(frame.filename) is not None for frame in stack]
    broken = getattr(one, "filename", None)  # of a SyntaxError
    if broken and True not in own and folder.relative(broken) is not None:
        stack[:] = []  # it has no frame, only those that import it
        return
    begin = own.index(True) if True in own else 0
    kept = [
        frame
        for index, frame in enumerate(stack)
        if index >= begin
        and (own[index] or not any(part in frame.filename for part in _NOT_SHOWN))
    ]
    stack[:] = kept or [
        frame for frame in stack[-1:] if not frame.filename.startswith(_NEVER_SHOWN)
    ]


def _shortened(text: str, limit: int) -> str:
    if len(text) <= limit:
        return text
    half = limit // 2
    left_out = len(text) - 2 * half
    return f"{text[:half]}\n... {left_out} characters are left out ...\n{text[-half:]}"
