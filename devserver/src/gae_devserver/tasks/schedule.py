"""When the tasks of one queue may start: ETA, rate and bucket size."""

import heapq
from dataclasses import dataclass, field
from typing import Any

from gae_devserver.tasks.queues import Queue


class TokenBucket:
    """The rate and bucket size of a queue: `size` tasks at once, then `rate` a second.

    Source: https://cloud.google.com/appengine/docs/standard/python3/reference/queueyaml
    """

    def __init__(self, rate: float, size: int, now: float) -> None:
        self._rate = rate
        # a bucket without room for one token would hold the queue for ever
        self._size = float(max(1, size))
        self._tokens = self._size
        self._filled = now

    def _fill(self, now: float) -> None:
        gained = max(0.0, now - self._filled) * self._rate
        self._tokens = min(self._size, self._tokens + gained)
        # also back, when the clock was reset: nothing would be gained until then
        self._filled = now

    def take(self, now: float) -> bool:
        """Take one token, if there is one."""
        self._fill(now)
        # a token that is due to the microsecond must not be missed for rounding
        if self._tokens < 1.0 - 1e-6:
            return False
        self._tokens -= 1.0
        return True

    def next_token(self, now: float) -> float:
        """Return when the next token is there, in seconds since the epoch."""
        self._fill(now)
        return now + max(0.0, 1.0 - self._tokens) / self._rate


@dataclass
class Schedule:
    """The tasks of one queue in the order in which they are due.

    Entries are not removed when a task moves or goes: an entry that no longer says
    what the queue says is dropped when its turn comes.
    """

    queue: Queue
    bucket: TokenBucket | None
    config: Any
    entries: list[tuple[int, int, str]] = field(default_factory=list)

    def first(self) -> tuple[float, Any] | None:
        """Return when the first task is due (seconds) and the task itself."""
        while self.entries:
            eta_usec, _, name = self.entries[0]
            task = self.queue.find(name)
            if (
                task is not None
                and task.eta_usec == eta_usec
                and name not in self.queue.running
            ):
                return eta_usec / 1e6, task
            heapq.heappop(self.entries)
        return None
