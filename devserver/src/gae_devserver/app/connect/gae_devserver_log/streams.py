"""Standard streams that know in which request, and for which log record, they write."""

from __future__ import annotations

import io
import os
import sys
from collections.abc import Callable
from typing import Any

TERMINAL = "tty,"
"""Before the streams of the server, which the app has for a debugger."""


class Output(io.FileIO):
    """The raw layer of a standard stream."""

    def __init__(self, descriptor: int, take: Callable[[int, bytes], bool]) -> None:
        """Write what `take` does not take, which gets the descriptor and the bytes."""
        super().__init__(descriptor, "wb", closefd=False)
        self._take = take

    def write(self, data: Any) -> int | None:  # type: ignore[override] # Python 3.7
        """Write some bytes."""
        try:
            taken = self._take(self.fileno(), bytes(data))
        except Exception:  # noqa: BLE001 - the app must go on
            taken = False
        return memoryview(data).nbytes if taken else super().write(data)


def replace(pipe: str, take: Callable[[int, bytes], bool]) -> None:
    """Replace stdout and stderr, as far as they write to where the dev server says."""
    for name in ("stdout", "stderr"):
        old = getattr(sys, name)
        if isinstance(old, io.TextIOWrapper) and is_pipe(old.fileno(), pipe):
            old.flush()
            raw = Output(old.fileno(), take)
            raw.name = f"<{name}>"
            new = io.TextIOWrapper(
                raw,  # as with `python -u`
                encoding=old.encoding,
                errors=old.errors,
                newline="\n",
                line_buffering=old.line_buffering,
                write_through=True,
            )
            new.mode = "w"  # type: ignore[misc]
            setattr(sys, name, new)
            if getattr(sys, f"__{name}__") is old:
                setattr(sys, f"__{name}__", new)


def is_pipe(descriptor: int, pipe: str) -> bool:
    """Return whether it has one of these inode numbers."""
    return str(os.fstat(descriptor).st_ino) in pipe.split(",")
