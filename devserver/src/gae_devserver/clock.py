"""The server's clock: real time plus an offset that a test can advance."""

import time


class Clock:
    """Seconds since the epoch, as the task queue and memcache see them.

    The app keeps the real time. So what it sends (a task's ETA) has the offset added
    on arrival, and what goes back to it has the offset taken off.
    """

    def __init__(self, offset: float = 0.0) -> None:
        self.offset = offset
        """Seconds that this clock is ahead of real time, never negative."""

    def now(self) -> float:
        """Return the current time in seconds since the epoch."""
        return time.time() + self.offset

    def move_to(self, moment: float) -> None:
        """Advance to `moment` (seconds since the epoch); never goes back."""
        self.offset += max(0.0, moment - self.now())

    def reset(self) -> None:
        """Return to real time."""
        self.offset = 0.0
