"""A terminal in which a test types."""

import os
import pty
import re
import select
import sys
import termios
import time
from collections.abc import Sequence

import pytest

from tests.helpers.command import PATIENCE


class Terminal:
    """A program that has a terminal of its own, as from a shell."""

    def __init__(self, command: Sequence[str]) -> None:
        """Start the program."""
        self.pid, self._end = pty.fork()
        if self.pid == 0:
            try:
                os.execv(command[0], list(command))
            finally:
                os._exit(127)
        self._shown = ""

    @property
    def echoes(self) -> bool:
        """Whether the terminal shows what is typed, as in a shell."""
        return bool(termios.tcgetattr(self._end)[3] & termios.ECHO)

    def type(self, text: str) -> None:
        """Type some text."""
        os.write(self._end, text.encode())

    def wait_for(self, pattern: str) -> re.Match[str]:
        """Wait until this is shown, after what was waited for before."""
        deadline = time.monotonic() + PATIENCE
        while not (found := re.search(pattern, self._shown)):
            left = max(0.0, deadline - time.monotonic())
            ready, _, _ = select.select([self._end], [], [], left)
            if not ready or not (read := self._read()):
                pytest.fail(f"{pattern} is not in {self._shown}")
            self._shown += read
        self._shown = self._shown[found.end() :]
        return found

    def status(self) -> int:
        """Wait for the end of the program; return its status."""
        while self._read():
            pass
        _, status = os.waitpid(self.pid, 0)
        self.pid = 0
        return os.waitstatus_to_exitcode(status)

    def _read(self) -> str:
        try:
            return os.read(self._end, 65536).decode("utf-8", "replace")
        except OSError:  # the program has ended; on macOS, this is an empty text
            return ""

    def close(self) -> None:
        """Close the terminal, which ends a program that still runs."""
        os.close(self._end)
        if self.pid:
            os.waitpid(self.pid, 0)


def server_command(*arguments: str) -> list[str]:
    """Return the command of a server that runs in a terminal."""
    own = ("--port=0", "--console-port=0", f"--python={sys.executable}")
    return [sys.executable, "-m", "gae_devserver", *arguments, *own]
