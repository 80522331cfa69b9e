"""The terminal that --debug gives to the app."""

import contextlib
import os
import signal
import sys
import termios
import threading


class Terminal:
    """The settings of the terminal, which a killed app cannot restore.

    An app that waits at a prompt has switched off the echo.
    """

    def __init__(self) -> None:
        """Remember the settings, if standard input is a terminal."""
        self._input = sys.__stdin__.fileno() if sys.__stdin__ else -1
        self._lock = threading.Lock()
        self.is_there = self._input >= 0 and os.isatty(self._input)
        """Whether someone can type at a prompt."""
        self._settings = termios.tcgetattr(self._input) if self.is_there else None

    def restore(self) -> None:
        """Undo what an app has set that has ended."""
        if self._settings is None:
            return
        # otherwise this process stops if a shell runs it in the background
        blocked = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTTOU})
        try:
            # the terminal may be gone
            with self._lock, contextlib.suppress(termios.error):
                termios.tcsetattr(self._input, termios.TCSADRAIN, self._settings)
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, blocked)
