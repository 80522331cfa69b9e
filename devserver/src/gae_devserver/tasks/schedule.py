"""Decides which task may start next."""

import heapq
import itertools
from collections.abc import Callable, Collection, Iterator, Sequence
from typing import Any

from gae_devserver.tasks.queues import Queue
from gae_devserver.tasks.stub import TaskQueue

MAX_RUNNING = 16
"""Tasks of one service that run at once over all queues.

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

    def queues(self) -> Collection[Queue]:
        """Return the queues."""
        return self._entries.keys()

    def first(self) -> tuple[float, int, Queue] | None:
        """Return the first number with its queue, or None."""
        heap = self._heap
        while heap and self._entries.get(heap[0][2]) is not heap[0]:
            heapq.heappop(heap)
        return heap[0] if heap else None


class _Orders:
    """The queues with tasks for one service."""

    def __init__(self, serial: Iterator[int]) -> None:
        self.waiting = _Order(serial)
        """By the moment from which their next task may start."""
        # first the queue that runs the fewest tasks, so that a long queue does not hold
        # up the others
        self.due = _Order(serial)
        """By how many of their tasks for this service run."""


class Schedule:
    """The order of the tasks of all push queues.

    It looks only at the queues that have changed or have become due, so an app may have
    any number of others. A queue has a place for each service that its tasks are for.
    """

    def __init__(
        self,
        taskqueue: TaskQueue,
        other_queues: Collection[Queue],
        max_running: int,
        is_ready: Callable[[str], bool],
    ) -> None:
        """Let at most `max_running` tasks for a service run at once.

        As many with an HTTP target may run beside them: a slow one holds up no task for
        the app, and the other way round. The app does not see `other_queues`.
        `is_ready` says whether a service can get tasks.
        """
        self._taskqueue = taskqueue
        self._other_queues = other_queues
        self._max_running = max_running
        self._is_ready = is_ready
        self._serial = itertools.count()
        self._services: dict[str, _Orders] = {}
        """By their names; "" is for HTTP targets."""
        self._places: dict[Queue, list[_Order]] = {}
        """In which of their orders a queue is."""
        self._now = 0.0

    def next_due(self, now: float) -> float | None:
        """Return when the next task may start (seconds since the epoch), or None.

        Time alone does not start the tasks of a held queue, nor those that are due for
        a service that is not ready, so these do not count.
        """
        self._look(now)
        for service, orders in self._services.items():
            if orders.due.first() and self._is_ready(service):
                return now
        return self._next_moment()

    def choose(
        self, now: float, running: Sequence[str]
    ) -> tuple[tuple[Queue, Any, str] | None, float | None]:
        """Take the task that is to start at `now`, with its service.

        Without one, return when to look again. The end of a task is another reason, and
        that a service is ready. `running` has the service of each task that runs.
        """
        self._look(now)
        first = None
        for service, orders in self._services.items():
            if (
                (entry := orders.due.first())
                and (first is None or entry < first)
                and running.count(service) < self._max_running
                and self._is_ready(service)
            ):
                first, name = entry, service
        if first is None:
            return None, self._next_moment()
        queue = first[-1]
        if queue.bucket is not None:
            queue.bucket.take(now)
        return (queue, queue.next_task(name), name), None

    def held_up(self, now: float) -> list[str]:
        """Return the services that are not ready, though tasks for them are due."""
        self._look(now)
        return [
            service
            for service, orders in self._services.items()
            if orders.due.first() and not self._is_ready(service)
        ]

    def count_due(self, service: str, now: float) -> int:
        """Return how many tasks wait that are due for a service."""
        self._look(now)
        queues = self._services[service].due.queues()
        return sum(queue.count_due(service, now) for queue in queues)

    def _next_moment(self) -> float | None:
        moment = None
        for orders in self._services.values():
            entry = orders.waiting.first()
            if entry and (moment is None or entry[0] < moment):
                moment = entry[0]
        return moment

    def _look(self, now: float) -> None:
        """Place the queues that have changed, or are due by now."""
        changed = self._taskqueue.changed.take()
        if now < self._now:
            # the clock was reset
            changed = [*self._places, *changed]
        self._now = now
        for queue in changed:
            self._place(queue, now)
        for orders in list(self._services.values()):
            while (entry := orders.waiting.first()) and entry[0] <= now:
                self._place(entry[-1], now)

    def _place(self, queue: Queue, now: float) -> None:
        for order in self._places.pop(queue, ()):
            order.discard(queue)
        if not self._runs(queue):
            return
        found = [
            (service, task)
            for service in queue.services
            if (task := queue.next_task(service)) is not None
        ]
        if len(found) > 1:
            # of equals, the first that is added gets the next token
            found.sort(key=lambda item: queue.place(item[1]))
        places = []
        for service, task in found:
            moment = task.eta_usec / 1e6
            if queue.bucket is not None and not queue.bucket.is_ready(now):
                moment = max(moment, queue.bucket.next_token(now))
            if (orders := self._services.get(service)) is None:
                orders = self._services[service] = _Orders(self._serial)
            if moment > now:
                order, number = orders.waiting, moment
            else:
                order, number = orders.due, queue.count_running(service)
            order.put(queue, number)
            places.append(order)
        if places:
            self._places[queue] = places

    def _runs(self, queue: Queue) -> bool:
        """Return whether a queue may start a task before another one of it ends."""
        limit = queue.config.max_concurrent_requests
        if not queue.is_push or queue.held or (limit and len(queue.running) >= limit):
            return False
        known = self._taskqueue.queues().get(queue.queue_name)
        return known is queue or queue in self._other_queues
