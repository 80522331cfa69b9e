"""Run a server's command in a process group that ends with the tests."""

import os
import pathlib
import subprocess
import sys
from collections.abc import Sequence

from tests.servers.staging import REPOSITORY
from tools import leash


class Leashed:
    """A command that runs until `stop`, or until the tests end in any way."""

    def __init__(
        self,
        command: Sequence[str],
        log_file: pathlib.Path,
        **variables: str,
    ) -> None:
        """Start the command at the root of the repository, with more `variables`."""
        self._log_file = log_file
        with log_file.open("wb") as log:
            self._process = subprocess.Popen(
                [sys.executable, leash.__file__, *command],
                stdin=subprocess.PIPE,
                stdout=log,
                stderr=subprocess.STDOUT,
                cwd=REPOSITORY,
                env={**os.environ, **variables},
                # at Ctrl-C, the tests stop the server themselves
                start_new_session=True,
            )

    @property
    def pid(self) -> int:
        """The process of the leash, which the command descends from."""
        return self._process.pid

    def log(self) -> str:
        """Return what the command has printed."""
        return self._log_file.read_text(errors="replace")

    def check(self) -> None:
        """Raise RuntimeError, with the end of the log, if the command has ended."""
        if self._process.poll() is not None:
            raise RuntimeError(f"{self._log_file.stem} ended:\n{self.log()[-3000:]}")

    def stop(self) -> None:
        """Close the leash, which stops the whole process group."""
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait(4 * leash.PATIENCE)
