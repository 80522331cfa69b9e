"""The server's clock: real time plus an offset that a test can advance."""

import time

MAX_ADVANCE_SECONDS = 10 * 365 * 86400
"""How far one request can advance the clock."""


class Clock:
    """Seconds since the epoch, as the task queue and memcache see them.

    The app has real time. So the offset is added to each time that the app sends (a
    task's ETA), and subtracted from each time that goes back to it.
    """

    def __init__(self, offset: float = 0.0) -> None:
        self.offset = offset
        """Seconds that this clock is ahead of real time, never negative."""

    def now(self) -> float:
        """Return the current time in seconds since the epoch."""
        return time.time() + self.offset

    def move_to(self, moment: float) -> None:
        """Advance to `moment` (seconds since the epoch); never go back."""
        self.offset += max(0.0, moment - self.now())

    def reset(self) -> None:
        """Return to real time."""
        self.offset = 0.0
