"""The process of a dev server, and what it prints."""

import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from os import PathLike
from pathlib import Path

from gae_devserver.testing.waiting import wait_until

__tracebackhide__ = True  # see dev_server.py

_START_SECONDS = 60.0
# The first start installs the app's packages, and may have to compile some of them.
_INSTALL_SECONDS = 1200.0
# The server stops within 3 s unless the machine is loaded.
_STOP_SECONDS = 10.0
_SHOWN_CHARACTERS = 3000


class ServerEndedError(RuntimeError):
    """The dev server has ended. The text shows what it printed."""


class ServerProcess:
    """`gae-devserver` in a process of its own, whose output goes to a file."""

    def __init__(
        self, arguments: Sequence[str], log_file: str | PathLike[str] | None
    ) -> None:
        """Start it; without a log file, one is made, which `stop` deletes."""
        self._is_temporary = log_file is None
        if log_file is None:
            descriptor, log_file = tempfile.mkstemp(".log", "gae-devserver-")
            os.close(descriptor)
        self.log_file = Path(log_file)
        self._deleted: bytes | None = None
        self._section = 0
        with self.log_file.open("wb") as output:
            self._process = subprocess.Popen(
                # -P: no module in the current folder can hide one of Python's
                [sys.executable, "-P", "-m", "gae_devserver", *arguments],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,  # Ctrl-C reaches only the tests, which stop it
            )

    @property
    def pid(self) -> int:
        """Its process ID."""
        return self._process.pid

    def stop(self) -> None:
        """Stop it, and delete its log file if that is temporary."""
        self._process.terminate()
        try:
            self._process.wait(_STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self.kill()
        if self._is_temporary and self._deleted is None:
            self._deleted = self._printed()
            self.log_file.unlink(missing_ok=True)

    def kill(self) -> None:
        """Kill it with SIGKILL."""
        self._process.kill()
        self._process.wait()

    def ended(self, within: float = 0.0) -> ServerEndedError | None:
        """Return an error if the server has ended, or ends within some seconds."""
        try:
            status = self._process.wait(within)
        except subprocess.TimeoutExpired:
            return None
        fault = f"the dev server has ended with status {status}"
        return ServerEndedError(self.explain(fault))

    def _printed(self, since: int = 0) -> bytes:
        if self._deleted is not None:
            return self._deleted[since:]
        # Only the rest: the tests before have printed much of it.
        with self.log_file.open("rb") as log:
            log.seek(since)
            return log.read()

    def explain(self, fault: str) -> str:
        """Return the text of an error: the fault, and what was printed before it."""
        printed = self._printed().decode(errors="replace")[-_SHOWN_CHARACTERS:].rstrip()
        return f"{fault}. It printed:\n{printed}"

    def begin_section(self) -> None:
        """Begin a new section: `log` and `wait_for_log` leave out what is above."""
        kept = self._deleted
        self._section = self.log_file.stat().st_size if kept is None else len(kept)

    def log(self) -> str:
        """Return what was printed in this section of the log."""
        return self._printed(self._section).decode(errors="replace")

    def wait_for_log(self, pattern: str, seconds: float) -> re.Match[str]:
        """Wait for a match in this section of the log; ^ and $ match at each line.

        Raises:
            ServerEndedError: the server ended before.
            TimeoutError: nothing matched in time. The text shows what was printed.
        """

        def look() -> re.Match[str] | None:
            ended = self.ended()
            found = re.search(pattern, self.log(), re.MULTILINE)
            if found is None and ended:
                raise ended
            return found

        try:
            return wait_until(look, f"the server prints {pattern}", seconds)
        except TimeoutError as error:
            raise TimeoutError(self.explain(str(error))) from None

    def wait_for_start(self) -> None:
        """Wait until the app is ready; the last line of the banner says so.

        Raises:
            ServerEndedError: the server ended before.
            TimeoutError: the app was not ready in time.
        """
        found = self.wait_for_log(r"^Press Ctrl-C| installing ", _START_SECONDS)
        if "installing" in found[0]:
            self.wait_for_log(r"^Press Ctrl-C", _INSTALL_SECONDS)
