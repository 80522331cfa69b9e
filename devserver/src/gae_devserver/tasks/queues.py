"""One queue: the SDK's class with its bugs fixed."""

import datetime
import logging
import secrets
from collections import Counter
from collections.abc import Callable, Iterable
from typing import Any

from google.appengine.api import queueinfo
from google.appengine.api.taskqueue import taskqueue_service_bytes_pb2 as pb
from google.appengine.api.taskqueue import taskqueue_stub
from google.appengine.runtime.apiproxy_errors import ApplicationError

from gae_devserver.config.queue_yaml import QueueConfig
from gae_devserver.http.routing import UnknownServiceError
from gae_devserver.storage.storage import TOMBSTONE_SECONDS, Storage
from gae_devserver.tasks.attempts import has_answer, is_for_app
from gae_devserver.tasks.changes import Changes
from gae_devserver.tasks.function_names import function_name
from gae_devserver.tasks.sorted_queue import SortedQueue
from gae_devserver.tasks.targets import ServiceOf
from gae_devserver.tasks.task_log import short_name
from gae_devserver.tasks.token_bucket import TokenBucket
from gae_devserver.tasks.tombstones import Tombstones
from gae_devserver.terminal import printable

logger = logging.getLogger("gae_devserver.task")

_ERRORS = pb.TaskQueueServiceError

OnAdd = Callable[[str, str, str], None]
"""Gets the queue and the name of a new task, and its function or its URL."""

CRON_QUEUE = "__cron"
"""The queue of cron jobs; an app's queue cannot have this name."""


class _NotKept(dict[bytes, Any]):
    """Keeps none of the requests to add a task, which only the SDK's own tests read.

    With 100,000 tasks, they take 100 MB, and freeing them half of the time of a purge.
    """

    def __setitem__(self, name: bytes, request: Any) -> None:
        """Do nothing."""


class Queue(SortedQueue):
    """One queue: its tasks, and its settings in queue.yaml."""

    def __init__(
        self,
        name: str,
        *,
        gettime: Callable[[], float],
        storage: Storage | None,
        changed: "Changes[Queue]",
        service_of: ServiceOf,
        only_service: str | None = None,
        on_add: OnAdd = lambda queue, name, what: None,
    ) -> None:
        """Make an empty queue with the default settings.

        It stores its changes in `storage`, and notes in `changed` that its next task
        may be another one. With `only_service`, no other one runs; otherwise the log
        names the service of each task. `on_add` is called with each new task.
        """
        self._changed = changed
        self.revision = 0
        """Grows with each change of the queue and its tasks."""
        self._find_service = service_of
        self._only_service = only_service
        self._on_add = on_add
        super().__init__(name, gettime, self._waits_for)
        self.task_add_request_pbs = _NotKept()
        self.task_name_archive = Tombstones(self._tombstone_seconds, gettime)
        self.purged: float | None = None
        """When it was last purged, in seconds since the epoch."""
        self._storage = storage
        self.running: dict[str, str] = {}
        """The services of the tasks that run, by their names; see `begin` and `end`."""
        self._broken: set[str] = set()
        self._finished = Counter[int]()  # executions by the second of their end
        self.dropped = 0
        """How many tasks have failed for the last time, in this run of the server."""
        self._configure(QueueConfig(name))

    def apply(self, config: QueueConfig) -> None:
        """Use other settings; they fill the bucket."""
        if config != self.config:
            before = self.config
            self._configure(config)
            if (config.target, config.mode) != (before.target, before.mode):
                self.route_again()

    def _configure(self, config: QueueConfig) -> None:
        modes = taskqueue_stub.QUEUE_MODE
        self.config = config
        self.bucket = (
            TokenBucket(config.rate, config.bucket_size, self.gettime())
            if config.rate
            else None
        )
        self._broken.clear()
        self._note_change()
        self.queue_mode = modes.PULL if config.mode == "pull" else modes.PUSH
        self.bucket_capacity = config.bucket_size
        self.bucket_refill_per_second = config.rate or 0.0
        self.user_specified_rate = config.rate_text
        self.max_concurrent_requests = config.max_concurrent_requests
        self.retry_parameters = (
            queueinfo.TranslateRetryParameters(config.retry_parameters)
            if config.retry_parameters is not None
            else None
        )

    def _note_change(self) -> None:
        self.revision += 1
        self._changed.add(self)

    def _tombstone_seconds(self) -> float:
        # documented in CreateTaskRequest of Cloud Tasks: a day, but nine days for the
        # queues of queue.yaml
        return 86400.0 if self.config.made_by_api else TOMBSTONE_SECONDS

    def clear(self) -> None:
        """Forget tasks, tombstones and statistics; end a pause; fill the bucket.

        The caller clears the storage.
        """
        self._empty()
        self.task_name_archive.clear()
        self._finished.clear()
        self.dropped = 0
        self.paused = False
        self.purged = None
        self._configure(self.config)

    def load(self, stored: Iterable[tuple[str, bytes | None, float]]) -> None:
        """Add what a storage has of this queue, which is empty until then.

        Each item has a name, the task or None for a tombstone, and when it changed.
        """
        tasks = []
        for name, encoded, changed in stored:
            if encoded is None:
                self.task_name_archive.add(name, changed)
                continue
            task = pb.TaskQueueQueryTasksResponse.Task.FromString(encoded)
            if task.task_name != name.encode() or not task.IsInitialized():
                raise ValueError(f"the record of {name!r} does not hold that task")
            tasks.append(task)
        self._insert_all(tasks)
        self._note_change()

    @property
    def is_push(self) -> bool:
        """Whether the server sends this queue's tasks to the app."""
        return self.config.mode == "push"

    @property
    def held(self) -> bool:
        """Whether no task of this queue may start: it is paused, or its rate is 0."""
        return self.paused or self.config.rate == 0

    @property
    def paused(self) -> bool:
        """Whether the queue is on hold."""
        return self._paused

    @paused.setter
    def paused(self, paused: bool) -> None:
        self._paused = paused
        self._note_change()

    def set_paused(self, paused: bool) -> None:
        """Hold the tasks of this queue, or release them."""
        self.paused = paused
        self.store_settings()
        self._changed.wake()

    def store_settings(self) -> None:
        """Store the queue's state, and the settings of one that an API made."""
        if self._storage is not None:
            settings = self.config.settings if self.config.made_by_api else None
            self._storage.put_queue(self.queue_name, settings, self.paused)

    def add(self, task: Any) -> None:
        """Add a task, which is a QueryTasksResponse.Task.

        Raises:
            ApplicationError: another task has the name, or had it.
        """
        name = task.task_name.decode()
        if self.find(name) is not None:
            raise ApplicationError(_ERRORS.TASK_ALREADY_EXISTS)
        if name in self.task_name_archive:
            raise ApplicationError(_ERRORS.TOMBSTONED_TASK)
        self._InsertTask(task)

    def service_of(self, task: Any) -> str:
        """Return the service that gets a task.

        "": an HTTP target or a lease gets it, or the service does not run here.
        """
        try:
            return self.required_service(task)
        except UnknownServiceError:
            return ""

    def _waits_for(self, task: Any) -> str:
        """Return the service that a task waits for, as `service_of` does.

        If there is only one, this is quick: it reads no target. A task for another one
        fails when it is sent.
        """
        if self._only_service is None:
            return self.service_of(task)
        return self._only_service if self.is_push and is_for_app(task) else ""

    def required_service(self, task: Any) -> str:
        """Return the service that gets a task; "": an HTTP target or a lease gets it.

        Raises:
            UnknownServiceError: the service does not run here.
        """
        return self._find_service(self.config.target, task) if self.is_push else ""

    def route_again(self) -> None:
        """Look again which service gets each task: a rule for it has changed."""
        self._route_again()
        self._note_change()
        self._changed.wake()

    def next_task(self, service: str) -> Any:
        """Return the task of a service that is to start next, due or not, or None."""
        for _, name, task in self._by_service[service]:
            if name not in self.running and name not in self._broken:
                return task
        return None

    def begin(self, name: str, service: str) -> None:
        """Note that a task runs; until its end, it does not start again."""
        self.running[name] = service
        self._note_change()

    def end(self, name: str) -> None:
        """Note that a task no longer runs."""
        self.running.pop(name, None)
        self._note_change()

    def count_running(self, service: str) -> int:
        """Return how many tasks of a service run."""
        if len(self.services) == 1:
            return len(self.running)
        return list(self.running.values()).count(service)

    def pass_over(self, name: str) -> None:
        """Start a task only after it gets another ETA."""
        self._broken.add(name)
        self._note_change()

    def count_finished(self, now: float) -> None:
        """Count one execution, for the queue's statistics."""
        self._finished[int(now)] += 1
        while (oldest := next(iter(self._finished))) < now - 3600:
            del self._finished[oldest]

    def drop(self, name: str) -> None:
        """Delete a task that has failed for the last time."""
        self.dropped += 1
        self.Delete(name)

    def finished_since(self, moment: float) -> int:
        """Return how many executions ended after `moment`, an hour back at most."""
        seconds = self._finished.items()
        return sum(count for second, count in seconds if second >= moment)

    def RunTaskNow(self, task: Any) -> None:
        """Make a task due now (the SDK sets 1970, which the app would get as ETA)."""
        if task.task_name.decode() not in self.running:
            now_usec = int(self.gettime() * 1e6)
            with self._lock:
                self._PostponeTaskNoAcquireLock(
                    task, min(task.eta_usec, now_usec), increase_retries=False
                )

    def PurgeQueue(self) -> None:
        """Delete all tasks; their names stay tombstones."""
        with self._lock:
            names = [name for name, _ in self._sorted_by_name]
            self.task_name_archive.add_all(names)
            for name in names:
                self._store(name, None)
            self.purged = self.gettime()
            self._empty()

    def _empty(self) -> None:
        self._forget_all()
        self._broken.clear()
        self._note_change()

    # called by the SDK's methods

    def Add(self, request: Any, now: datetime.datetime) -> None:
        """Add the task that a TaskQueueAddRequest describes."""
        # Cloud Tasks keeps its own tasks there; the SDK sends nothing in it
        request.ClearField("description")
        super().Add(request, now)

    def _InsertTask(self, task: Any) -> None:
        self._insert(task)
        name = task.task_name.decode()
        self._store(name, task)
        url = printable(task.url.decode(errors="replace"))
        what = function_name(task.body) or url
        self._on_add(self.queue_name, name, what)
        if self.is_push and logger.isEnabledFor(logging.INFO):
            wait = task.eta_usec / 1e6 - self.gettime()
            due = f"due in {wait:.0f} s" if wait >= 0.5 else "due now"
            where = self.queue_name
            if self._only_service is None and (service := self.service_of(task)):
                where += f" for {service}"
            shown = short_name(name)
            logger.info("task %s on %s: %s, %s", shown, where, what, due)

    def _PostponeTaskInsertOnly(self, task: Any, new_eta_usec: int) -> None:
        try:
            task.eta_usec = new_eta_usec
        finally:
            # without this, a backoff beyond the field's range would lose the task
            self._order(task)
        self._store(task.task_name.decode(), task)

    def _DeleteNoAcquireLock(self, name: bytes | str) -> Any:
        text = name.decode() if isinstance(name, bytes) else name
        result = super()._DeleteNoAcquireLock(text)
        self._broken.discard(text)
        self._note_change()
        if result == _ERRORS.OK:
            self.task_name_archive.add(text)
            self._store(text, None)
        return result

    def _IncRetryCount(self, task: Any) -> None:
        executions = task.execution_count
        super()._IncRetryCount(task)
        if not has_answer(task):
            # documented as the number of answers; the SDK counts other attempts too
            task.execution_count = executions

    def _order(self, task: Any) -> None:
        super()._order(task)
        self._broken.discard(task.task_name.decode())
        self._note_change()
        self._changed.wake()

    def _store(self, name: str, task: Any) -> None:
        if self._storage is not None:
            encoded = None if task is None else task.SerializeToString()
            self._storage.put_task(self.queue_name, name, encoded)


def random_task_name() -> str:
    """Return a name for a task that has none, as long as in production."""
    return str(secrets.randbelow(9 * 10**19) + 10**19)
