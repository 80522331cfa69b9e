"""One queue and the group of all: the SDK's classes, with their bugs fixed."""

import logging
import secrets
from collections import deque
from typing import Any, Protocol

from google.appengine.api.taskqueue import taskqueue_service_bytes_pb2 as pb
from google.appengine.api.taskqueue import taskqueue_stub
from google.appengine.runtime import apiproxy_errors

from gae_devserver.config.queue_yaml import QueueConfig
from gae_devserver.storage.storage import Storage
from gae_devserver.tasks.function_names import function_name
from gae_devserver.tasks.indexed_queue import IndexedQueue
from gae_devserver.terminal import printable

logger = logging.getLogger("gae_devserver.task")

_ERRORS = pb.TaskQueueServiceError


class Listener(Protocol):
    """Hears of every change that makes a task due at another time."""

    def scheduled(self, queue: "Queue", name: str, eta_usec: int) -> None:
        """Note that a task of `queue` is due at `eta_usec` (virtual microseconds)."""


class Queue(IndexedQueue):
    """One queue, with what `queue.yaml` says about how fast it runs."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.config = QueueConfig(self.queue_name)
        self.running: set[str] = set()
        self._finished: deque[tuple[int, int]] = deque()
        self.listener: Listener | None = None
        self.storage: Storage | None = None

    def load(self, name: str, encoded: bytes | None) -> None:
        """Take a task, or a tombstone (None), out of the storage."""
        if encoded is None:
            self.task_name_archive.add(name)
            return
        with self._lock:
            task = pb.TaskQueueQueryTasksResponse.Task.FromString(encoded)
            if task.task_name != name.encode() or not task.IsInitialized():
                raise ValueError(f"the record of {name!r} does not hold that task")
            IndexedQueue._InsertTask(self, task)

    def _store(self, task: Any) -> None:
        if self.storage is not None:
            name = task.task_name.decode()
            self.storage.put_task(self.queue_name, name, task.SerializeToString())

    @property
    def is_push(self) -> bool:
        """Whether the server sends this queue's tasks to the app."""
        return bool(self.queue_mode == taskqueue_stub.QUEUE_MODE.PUSH)

    @property
    def held(self) -> bool:
        """Whether nothing of this queue may start: paused, or rate 0."""
        return bool(self.paused) or self.config.rate == 0

    def find(self, name: str) -> Any:
        """Return the task of that name (a QueryTasksResponse.Task), or None."""
        found = self.Lookup(1, name=name)
        if found and found[0].task_name == name.encode():
            return found[0]
        return None

    def count_finished(self, now: float) -> None:
        """Count one execution, for the queue's statistics."""
        second = int(now)
        if self._finished and self._finished[-1][0] == second:
            second, count = self._finished.pop()
            self._finished.append((second, count + 1))
        else:
            self._finished.append((second, 1))
        while self._finished[0][0] < now - 3600:
            self._finished.popleft()

    def finished_since(self, moment: float) -> int:
        """Return how many executions ended after `moment`, an hour back at most."""
        return sum(count for second, count in self._finished if second >= moment)

    def _announce(self, task: Any) -> None:
        if self.listener is not None:
            name = task.task_name.decode()
            self.listener.scheduled(self, name, task.eta_usec)

    def _InsertTask(self, task: Any) -> None:
        super()._InsertTask(task)
        self._store(task)
        if self.is_push and logger.isEnabledFor(logging.INFO):
            wait = task.eta_usec / 1e6 - self.gettime()
            due = f"due in {wait:.0f} s" if wait >= 0.5 else "due now"
            url = printable(task.url.decode(errors="replace"))
            what = function_name(task.body) or url
            name = task.task_name.decode()
            logger.info("task %s on %s: %s, %s", name, self.queue_name, what, due)
        self._announce(task)

    def _PostponeTaskInsertOnly(self, task: Any, new_eta_usec: int) -> None:
        super()._PostponeTaskInsertOnly(task, new_eta_usec)
        self._store(task)
        self._announce(task)

    def _DeleteNoAcquireLock(self, name: bytes | str) -> Any:
        # the stub keeps a copy of every request for ever
        self.task_add_request_pbs.pop(
            name.encode() if isinstance(name, str) else name, None
        )
        result = super()._DeleteNoAcquireLock(name)
        if self.storage is not None and result == _ERRORS.OK:
            text = name.decode() if isinstance(name, bytes) else name
            self.storage.put_task(self.queue_name, text, None)
        return result

    def PurgeQueue(self) -> None:
        """Drop all tasks; their names stay tombstones."""
        if self.storage is not None:
            for name, _ in self._sorted_by_name:
                self.storage.put_task(self.queue_name, name, None)
        super().PurgeQueue()
        self.task_add_request_pbs.clear()

    def RunTaskNow(self, task: Any) -> None:
        """Make a task due now (the stub says 1970, which the app would see as ETA)."""
        if task.task_name.decode() not in self.running:
            now_usec = int(self.gettime() * 1e6)
            with self._lock:
                self._PostponeTaskNoAcquireLock(
                    task, min(task.eta_usec, now_usec), increase_retries=False
                )


class Group(taskqueue_stub._Group):  # type: ignore[misc]
    """All queues of the app."""

    def _ConstructQueue(self, queue_name: str, *args: Any, **kwargs: Any) -> None:
        self._queues[queue_name] = Queue(
            queue_name, *args, gettime=self.gettime, **kwargs
        )

    def _ChooseTaskName(self) -> str:
        # as long and random as in production: the stub counts from task1 with every
        # start, and names that repeat would be mistaken for a second delivery
        return str(secrets.randbelow(9 * 10**19) + 10**19)

    def _TransactionalBulkAdd(self, request: Any) -> None:
        """Check what the commit could not refuse any more; then add to a transaction.

        The stub finds out at the commit, and drops the task.
        """
        for add in request.add_request:
            if self._queues[add.queue_name.decode()].queue_mode != add.mode:
                raise apiproxy_errors.ApplicationError(_ERRORS.INVALID_QUEUE_MODE)
        super()._TransactionalBulkAdd(request)

    def UpdateQueue_Rpc(self, request: Any, response: Any) -> None:
        """Refuse: queues come from queue.yaml alone."""
        raise apiproxy_errors.ApplicationError(
            _ERRORS.PERMISSION_DENIED, "queues can be changed only in queue.yaml"
        )

    def FetchQueueStats_Rpc(self, request: Any, response: Any) -> None:
        """Answer with what was counted (the stub draws random numbers)."""
        super().FetchQueueStats_Rpc(request, response)
        now = self.gettime()
        for name, stats in zip(request.queue_name, response.queuestats, strict=True):
            queue = self._queues.get(name.decode())
            if queue is None:
                continue
            info = stats.scanner_info
            info.executed_last_minute = queue.finished_since(now - 60)
            info.executed_last_hour = queue.finished_since(now - 3600)
            info.sampling_duration_seconds = 60.0
            info.requests_in_flight = len(queue.running)
            info.enforced_rate = queue.config.rate or 0.0
