"""Decides which task may start next."""

import itertools
from collections.abc import Collection, Sequence
from typing import Any

from sortedcontainers import SortedList

from gae_devserver.tasks.attempts import is_for_app
from gae_devserver.tasks.queues import Queue
from gae_devserver.tasks.stub import TaskQueue

MAX_RUNNING = 16
"""Tasks that run at once over all queues.

A worker with twice as many threads always has some that no task holds, for visitors and
for tasks that fetch a page of their own app.
"""

_Entries = SortedList[tuple[float, int, Queue]]
"""Queues in an order, those with the same place by a number, in order of arrival."""


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
        self._waiting: _Entries = SortedList()
        """By the moment from which their next task may start."""
        # first the queue that runs the fewest tasks, so that a long queue does not hold
        # up the others
        self._due: dict[bool, _Entries] = {True: SortedList(), False: SortedList()}
        """By how many tasks they run; for whether the next task is one for the app."""
        self._places: dict[Queue, tuple[_Entries, tuple[float, int, Queue]]] = {}
        self._numbers = itertools.count()
        self._now = 0.0

    def next_due(self, now: float) -> float | None:
        """Return when the next task may start (seconds since the epoch), or None.

        A held queue does not count: time alone does not start its tasks.
        """
        self._look(now)
        if any(self._due.values()):
            return now
        return self._waiting[0][0] if self._waiting else None

    def choose(
        self, now: float, running: Sequence[bool]
    ) -> tuple[tuple[Queue, Any] | None, float | None]:
        """Take the task that is to start at `now`; or return when to look again.

        `running` says of each task that runs whether it is one for the app. The end of
        one is another reason to look again.
        """
        self._look(now)
        first = [
            entries[0]
            for for_app, entries in self._due.items()
            if entries and running.count(for_app) < self._max_running
        ]
        if not first:
            return None, self._waiting[0][0] if self._waiting else None
        _, _, queue = min(first)
        if queue.bucket is not None:
            queue.bucket.take(now)
        return (queue, queue.next_task()), None

    def _look(self, now: float) -> None:
        """Place the queues that have changed, or are due by now."""
        changed = self._taskqueue.changed.take()
        if now < self._now:
            # the clock was reset
            changed = [*self._places, *changed]
        self._now = now
        for queue in changed:
            self._place(queue, now)
        while self._waiting and self._waiting[0][0] <= now:
            self._place(self._waiting[0][2], now)

    def _place(self, queue: Queue, now: float) -> None:
        if queue in self._places:
            entries, entry = self._places.pop(queue)
            entries.remove(entry)
        task = queue.next_task() if self._runs(queue) else None
        if task is None:
            return
        moment = task.eta_usec / 1e6
        if queue.bucket is not None and not queue.bucket.is_ready(now):
            moment = max(moment, queue.bucket.next_token(now))
        if moment > now:
            entries, place = self._waiting, moment
        else:
            entries, place = self._due[is_for_app(task)], len(queue.running)
        entry = (place, next(self._numbers), queue)
        entries.add(entry)
        self._places[queue] = entries, entry

    def _runs(self, queue: Queue) -> bool:
        """Return whether a queue may start a task before another one of it ends."""
        limit = queue.config.max_concurrent_requests or self._max_running
        if not queue.is_push or queue.held or len(queue.running) >= limit:
            return False
        known = self._taskqueue.queues().get(queue.queue_name)
        return known is queue or queue in self._other_queues
