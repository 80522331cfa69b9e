"""A clock that stands still until a test moves it."""

import time

from gae_devserver.clock import Clock


class StoppedClock(Clock):
    """A clock that only `offset` moves, so that tests can compare times exactly."""

    def __init__(self) -> None:
        super().__init__()
        self.start = float(int(time.time()))

    def now(self) -> float:
        """Return the start plus what was advanced."""
        return self.start + self.offset

    def elapsed(self) -> float:
        """Return the seconds since the start, to the millisecond."""
        return round(self.now() - self.start, 3)
