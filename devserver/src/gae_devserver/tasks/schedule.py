"""Decides which task may start next."""

from collections.abc import Collection, Sequence
from typing import Any

from gae_devserver.tasks.attempts import is_for_app
from gae_devserver.tasks.queues import Queue
from gae_devserver.tasks.stub import TaskQueue

MAX_RUNNING = 16
"""Tasks that run at once over all queues.

A worker with twice as many threads always has some that no task holds, for visitors and
for tasks that fetch a page of their own app.
"""


class Schedule:
    """The order of the tasks of all push queues."""

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

    def _queues(self) -> list[Queue]:
        queues = [*self._taskqueue.queues().values(), *self._other_queues]
        return [queue for queue in queues if queue.is_push and not queue.held]

    def next_due(self, now: float) -> float | None:
        """Return when the next task may start (seconds since the epoch), or None.

        A held queue does not count: time alone does not start its tasks.
        """
        moments = []
        for queue in self._queues():
            if (task := queue.next_task()) is not None:
                token = queue.bucket.next_token(now) if queue.bucket else now
                moments.append(max(task.eta_usec / 1e6, token))
        return min(moments, default=None)

    def choose(
        self, now: float, running: Sequence[bool]
    ) -> tuple[tuple[Queue, Any] | None, float | None]:
        """Take the task that is to start at `now`; or return when to look again.

        `running` says of each task that runs whether it is one for the app. The end of
        one is another reason to look again.
        """
        moments = []
        # first the queue that runs the fewest tasks, so that a long queue does not hold
        # up the others
        for queue in sorted(self._queues(), key=lambda queue: len(queue.running)):
            task, moment = self._take_first(queue, now, running)
            if task is not None:
                return (queue, task), None
            moments.append(moment)
        return None, min((m for m in moments if m is not None), default=None)

    def _take_first(
        self, queue: Queue, now: float, running: Sequence[bool]
    ) -> tuple[Any, float | None]:
        """Take the first task of a queue; or return when it may start."""
        task = queue.next_task()
        if task is None:
            return None, None
        due = task.eta_usec / 1e6
        if due > now:
            return None, due
        limit = queue.config.max_concurrent_requests or self._max_running
        beside = running.count(is_for_app(task))
        if len(queue.running) >= limit or beside >= self._max_running:
            return None, None
        if queue.bucket is not None and not queue.bucket.take(now):
            return None, queue.bucket.next_token(now)
        return task, None
