"""A program that ends when this process ends, even by SIGKILL."""

import os
import subprocess
import sys
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import IO

_WATCHDOG = Path(__file__).with_name("watchdog.py")


class Watched:
    """A shell command under a watchdog, in a session of its own.

    A Ctrl-C in the terminal does not reach it: this process decides when to end it.
    """

    def __init__(
        self,
        command: str,
        *,
        folder: Path,
        environment: Mapping[str, str],
        stop_seconds: float,
        output: int | IO[bytes],
        private_folder: Path | None = None,
    ) -> None:
        """Start the command in a folder; stdout and stderr go to `output`.

        When the command has ended, the watchdog removes `private_folder`.

        Raises:
            OSError: the process cannot be started.
        """
        self._lock = threading.Lock()
        watched_end, self._held_end = os.pipe()
        watchdog = [sys.executable, "-I", "-S", str(_WATCHDOG), str(watched_end)]
        try:
            self.process = subprocess.Popen(
                [*watchdog, str(stop_seconds), str(private_folder or ""), command],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                cwd=str(folder),
                env=environment,
                pass_fds=(watched_end,),
                start_new_session=True,
            )
        except OSError:
            self.stop()
            raise
        finally:
            os.close(watched_end)

    def stop(self) -> None:
        """Begin to end the command: SIGTERM, and SIGKILL after `stop_seconds`."""
        with self._lock:
            if self._held_end >= 0:
                os.close(self._held_end)
                self._held_end = -1
