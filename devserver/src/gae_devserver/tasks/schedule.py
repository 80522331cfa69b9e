"""Decides which task may start next."""

import heapq
import itertools
from collections.abc import Collection, Iterator, Sequence
from typing import Any

from gae_devserver.tasks.attempts import is_for_app
from gae_devserver.tasks.queues import Queue
from gae_devserver.tasks.stub import TaskQueue

MAX_RUNNING = 16
"""Tasks that run at once over all queues.

A worker with twice as many threads always has some that no task holds, for visitors and
for tasks that fetch a page of their own app.
"""


class _Order:
    """Queues in the order of a number, the least first; of equals, the first added."""

    def __init__(self, serial: Iterator[int]) -> None:
        """Make it empty; `serial` numbers the entries of all orders."""
        self._serial = serial
        self._entries: dict[Queue, tuple[float, int, Queue]] = {}
        # an entry stays in the heap after its queue got another one, or none
        self._heap: list[tuple[float, int, Queue]] = []

    def put(self, queue: Queue, number: float) -> None:
        """Add a queue, or give it another number."""
        self._entries[queue] = entry = (number, next(self._serial), queue)
        heapq.heappush(self._heap, entry)
        if len(self._heap) > 2 * len(self._entries) + 64:
            self._heap = sorted(self._entries.values())

    def discard(self, queue: Queue) -> None:
        """Remove a queue, if it is there."""
        self._entries.pop(queue, None)

    def first(self) -> tuple[float, int, Queue] | None:
        """Return the first number with its queue, or None."""
        heap = self._heap
        while heap and self._entries.get(heap[0][2]) is not heap[0]:
            heapq.heappop(heap)
        return heap[0] if heap else None


class Schedule:
    """The order of the tasks of all push queues.

    It looks only at the queues that have changed or have become due, so an app may have
    any number of others.
    """

    def __init__(
        self, taskqueue: TaskQueue, other_queues: Collection[Queue], max_running: int
    ) -> None:
        """Let at most `max_running` tasks for the app run at once.

        As many with an HTTP target may run beside them: a slow one holds up no task for
        the app, and the other way round. The app does not see `other_queues`.
        """
        self._taskqueue = taskqueue
        self._other_queues = other_queues
        self._max_running = max_running
        serial = itertools.count()
        self._waiting = _Order(serial)
        """By the moment from which their next task may start."""
        # first the queue that runs the fewest tasks, so that a long queue does not hold
        # up the others
        self._due = {True: _Order(serial), False: _Order(serial)}
        """By how many tasks they run; for whether the next task is one for the app."""
        self._orders: dict[Queue, _Order] = {}
        """In which of these three a queue is."""
        self._now = 0.0

    def next_due(self, now: float) -> float | None:
        """Return when the next task may start (seconds since the epoch), or None.

        A held queue does not count: time alone does not start its tasks.
        """
        self._look(now)
        if any(order.first() for order in self._due.values()):
            return now
        return self._next_moment()

    def choose(
        self, now: float, running: Sequence[bool]
    ) -> tuple[tuple[Queue, Any] | None, float | None]:
        """Take the task that is to start at `now`; or return when to look again.

        `running` says of each task that runs whether it is one for the app. The end of
        one is another reason to look again.
        """
        self._look(now)
        first = [
            entry
            for for_app, order in self._due.items()
            if (entry := order.first()) and running.count(for_app) < self._max_running
        ]
        if not first:
            return None, self._next_moment()
        queue = min(first)[-1]
        if queue.bucket is not None:
            queue.bucket.take(now)
        return (queue, queue.next_task()), None

    def _next_moment(self) -> float | None:
        entry = self._waiting.first()
        return None if entry is None else entry[0]

    def _look(self, now: float) -> None:
        """Place the queues that have changed, or are due by now."""
        changed = self._taskqueue.changed.take()
        if now < self._now:
            # the clock was reset
            changed = [*self._orders, *changed]
        self._now = now
        for queue in changed:
            self._place(queue, now)
        while (entry := self._waiting.first()) and entry[0] <= now:
            self._place(entry[-1], now)

    def _place(self, queue: Queue, now: float) -> None:
        if queue in self._orders:
            self._orders.pop(queue).discard(queue)
        task = queue.next_task() if self._runs(queue) else None
        if task is None:
            return
        moment = task.eta_usec / 1e6
        if queue.bucket is not None and not queue.bucket.is_ready(now):
            moment = max(moment, queue.bucket.next_token(now))
        if moment > now:
            order, number = self._waiting, moment
        else:
            order, number = self._due[is_for_app(task)], len(queue.running)
        order.put(queue, number)
        self._orders[queue] = order

    def _runs(self, queue: Queue) -> bool:
        """Return whether a queue may start a task before another one of it ends."""
        limit = queue.config.max_concurrent_requests or self._max_running
        if not queue.is_push or queue.held or len(queue.running) >= limit:
            return False
        known = self._taskqueue.queues().get(queue.queue_name)
        return known is queue or queue in self._other_queues
