"""Notes which queues have changed, and wakes the task runner."""

import asyncio
from typing import Generic, TypeVar

Q = TypeVar("Q")


class Changes(Generic[Q]):
    """The queues that the schedule has to look at again, however many others exist."""

    def __init__(self) -> None:
        self._queues: dict[Q, None] = {}
        self._event = asyncio.Event()

    def add(self, queue: Q) -> None:
        """Note that the next task of a queue may be another one."""
        self._queues[queue] = None

    def take(self) -> list[Q]:
        """Return the queues that were noted since the last call."""
        noted = list(self._queues)
        self._queues.clear()
        return noted

    def wake(self) -> None:
        """Make `wait` return: a task may start at another time."""
        self._event.set()

    async def wait(self) -> None:
        """Wait for `wake`; return at once if it was called since the last wait."""
        await self._event.wait()
        self._event.clear()
