"""A program that ends when this process ends, even by SIGKILL."""

import contextlib
import os
import signal
import socket
import subprocess
import sys
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
        output: int | IO[bytes] | None,
        private_folder: Path | None = None,
        open_files: int | None = None,
    ) -> None:
        """Start the command in a folder; stdout and stderr go to `output`.

        None: it has the standard streams of this process. It can read the terminal,
        because that does not control another session.

        When the command has ended, the watchdog removes `private_folder`. `open_files`
        is the command's soft limit, if it is not the one of this process.

        Raises:
            OSError: the process cannot be started.
        """
        self._held_end, watched_end = socket.socketpair()
        number = str(watched_end.fileno())
        watchdog = [sys.executable, "-I", "-S", str(_WATCHDOG), number]
        try:
            self.process = subprocess.Popen(
                [
                    *watchdog,
                    str(stop_seconds),
                    str(private_folder or ""),
                    "" if open_files is None else str(open_files),
                    command,
                ],
                stdin=None if output is None else subprocess.DEVNULL,
                stdout=output,
                stderr=None if output is None else subprocess.STDOUT,
                cwd=str(folder),
                env=environment,
                pass_fds=(watched_end.fileno(),),
                start_new_session=True,
            )
        except OSError:
            self._held_end.close()
            raise
        finally:
            watched_end.close()

    def stop(self) -> None:
        """Begin to end the command: SIGTERM, and SIGKILL after `stop_seconds`."""
        with contextlib.suppress(OSError):  # it has ended
            self._held_end.shutdown(socket.SHUT_WR)

    def wait(self, timeout: float | None = None) -> int:
        """Wait for the command; return its exit status as a shell does.

        Raises:
            subprocess.TimeoutExpired: it has not ended within `timeout` seconds.
        """
        status = self.process.wait(timeout)
        with self._held_end:
            if status < 0:  # the watchdog was killed, so it could not end the command
                with contextlib.suppress(OSError, ValueError):
                    group = int(self._held_end.recv(32, socket.MSG_DONTWAIT))
                    os.killpg(group, signal.SIGKILL)
        return status if status >= 0 else 128 - status
