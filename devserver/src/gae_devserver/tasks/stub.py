"""The task queue: the SDK's stub as the store of tasks, with its bugs fixed.

The stub keeps queues, tasks, names and tombstones. Which task runs when is decided by
`gae_devserver.tasks.runner`; the stub's own scheduler thread is never started.
"""

import datetime
import logging
import re
from collections.abc import Sequence
from typing import Any

from google.appengine.api import queueinfo
from google.appengine.api.taskqueue import taskqueue_service_bytes_pb2 as pb
from google.appengine.api.taskqueue import taskqueue_stub
from google.appengine.runtime import apiproxy_errors

from gae_devserver.clock import Clock
from gae_devserver.config.queue_yaml import QueueConfig
from gae_devserver.storage.storage import Storage
from gae_devserver.tasks.queues import Group, Listener, Queue

logger = logging.getLogger("gae_devserver.task")

_ERRORS = pb.TaskQueueServiceError

# the rule of the SDK's client (google/appengine/api/taskqueue/taskqueue.py), which lets
# through a line end behind a name
_TASK_NAME = re.compile(rb"[a-zA-Z0-9_-]{1,500}")


class TaskQueue(taskqueue_stub.TaskQueueServiceStub):  # type: ignore[misc]
    """The SDK's task queue stub, for one event loop and with this server's clock."""

    def __init__(
        self,
        queues: Sequence[QueueConfig],
        clock: Clock,
        request_data: Any,
        *,
        app_id: str,
        default_hostname: str,
        service: str,
        version: str,
        storage: Storage | None = None,
    ) -> None:
        """Make the queues.

        Args:
            queues: what queue.yaml says; "default" is among them.
            clock: the time by which tasks are due.
            request_data: the stub's view of running requests.
            app_id: "dev~" and the project.
            default_hostname: "host:port", the end of every task's Host header.
            service: the service, and
            version: the version, which a task may have as its target.
            storage: what holds the tasks of earlier runs, and takes those of this.
        """
        super().__init__(
            request_data=request_data,
            default_http_server=default_hostname,
            gettime=clock.now,
        )
        self._clock = clock
        self._app_id = app_id
        self._default_hostname = default_hostname
        self._service = service
        self._version = version
        self._listener: Listener | None = None
        # without a parser the stub does not read queue.yaml again with every call
        self._queues[None] = Group(None, gettime=clock.now)
        self._storage = storage
        self._set_aside: dict[str, Queue] = {}
        if storage is not None:
            with storage.reading("a task"):
                for name, task_name, encoded in storage.tasks():
                    self._make_queue(name).load(task_name, encoded)
        self.update(queues)

    def _make_queue(self, name: str) -> Queue:
        if name not in self.queues():
            if name in self._set_aside:
                self.queues()[name] = self._set_aside.pop(name)
            else:
                self._queues[None]._ConstructQueue(name)
            self.queues()[name].storage = self._storage
        return self.queues()[name]

    def queues(self) -> dict[str, Queue]:
        """Return the queues by name."""
        group: dict[str, Queue] = self._queues[None]._queues
        return group

    def listen(self, listener: Listener) -> None:
        """Tell `listener` of every task, also of those that wait already."""
        self._listener = listener
        for queue in self.queues().values():
            self._connect(queue)

    def _connect(self, queue: Queue) -> None:
        queue.listener = self._listener
        for task in queue._GetTasks():
            queue._announce(task)

    def update(self, configs: Sequence[QueueConfig]) -> None:
        """Take over queue.yaml; tasks of a queue that stays are kept."""
        for config in configs:
            queue = self._make_queue(config.name)
            _configure(queue, config)
            self._connect(queue)
        for name in set(self.queues()) - {config.name for config in configs}:
            self._put_aside(name)

    def _put_aside(self, name: str) -> None:
        self._set_aside[name] = gone = self.queues().pop(name)
        if gone.Count():
            logger.warning(
                "queue.yaml no longer has the queue %s. Its %d tasks wait until you "
                "add the queue again",
                name,
                gone.Count(),
            )

    def flush(self) -> None:
        """Write what has changed to the storage; to be called before an answer."""
        if self._storage is not None:
            self._storage.flush()

    def accept(self, method: str, request: Any) -> None:
        """Check and adapt what the app sends, before the stub sees it.

        Raises:
            apiproxy_errors.ApplicationError: another app, another service, or no name
                that a task may have.
        """
        adds = _adds(method, request)
        # the stub goes by the first one, too
        in_transaction = any(map(_is_in_transaction, adds[:1]))
        for part in adds or [request]:
            self._check_app(part)
        for add in adds:
            _check_name(add, in_transaction)
            self._check_queue(add)
            self._check_target(add)
            # the app computed the ETA with the real time
            add.eta_usec += int(self._clock.offset * 1e6)

    def _check_app(self, request: Any) -> None:
        if "app_id" not in request.DESCRIPTOR.fields_by_name:
            return
        if request.HasField("app_id"):
            if request.app_id.decode(errors="replace") != self._app_id:
                raise apiproxy_errors.ApplicationError(
                    _ERRORS.PERMISSION_DENIED,
                    f"this server has only the queues of the app {self._app_id!r}",
                )
            # with an app id the stub fails at random, to test its callers
            request.ClearField("app_id")
            # the calls that need one are those of the administration console
            if not request.IsInitialized():
                raise apiproxy_errors.ApplicationError(
                    _ERRORS.PERMISSION_DENIED,
                    "queues can be changed only in queue.yaml",
                )

    def _check_queue(self, add: Any) -> None:
        """Say which queue is not there; the stub's own answer has no text."""
        name = add.queue_name.decode(errors="replace")
        if self._queues[None]._ValidateQueueName(name) == _ERRORS.UNKNOWN_QUEUE:
            raise apiproxy_errors.ApplicationError(
                _ERRORS.UNKNOWN_QUEUE,
                f"there is no queue {name!r}. Add it to queue.yaml",
            )

    def _check_target(self, add: Any) -> None:
        queue = self.queues().get(add.queue_name.decode(errors="replace"))
        target = queue.config.target if queue is not None else None
        for header in add.header:
            if header.key.lower() == b"host":
                host = header.value.decode(errors="replace")
                if host.endswith("." + self._default_hostname):
                    target = host.removesuffix("." + self._default_hostname)
        # "version.service", "instance.version.service": the service decides
        own = {self._service, self._version}
        if target and target.rsplit(".", 1)[-1] not in own:
            raise apiproxy_errors.ApplicationError(
                _ERRORS.INVALID_REQUEST,
                f"the task's target is {target!r}, but this dev server runs only "
                f"the service {self._service!r}, in version {self._version!r}",
            )

    def _Dynamic_Add(self, request: Any, response: Any, request_id: str | None) -> None:
        """Add a task. One that comes with a commit was checked, and is not refused.

        LiveTxn.Commit of the SDK adds its tasks when it cannot fail any more, outside
        of a request, and drops those that are refused. Their queue may be gone by then.
        """
        if request_id is not None:
            super()._Dynamic_Add(request, response, request_id)
            return
        name = request.queue_name.decode()
        is_gone = name not in self.queues()
        self._make_queue(name).Add(
            request, datetime.datetime.fromtimestamp(self._clock.now(), datetime.UTC)
        )
        if is_gone:
            self._put_aside(name)

    def _Dynamic_ForceRun(self, request: Any, response: Any, request_id: str) -> None:
        """Make a task due now (for an unknown name the stub takes the next task)."""
        queue = self.queues().get(request.queue_name.decode(errors="replace"))
        name = request.task_name.decode(errors="replace")
        if queue is not None and queue.find(name) is None:
            response.result = _ERRORS.UNKNOWN_TASK
        else:
            super()._Dynamic_ForceRun(request, response, request_id)

    def clear(self) -> None:
        """Drop all tasks, names and tombstones; the queues stay."""
        self._set_aside.clear()
        for queue in self.queues().values():
            queue.PurgeQueue()
            queue.task_name_archive.clear()
            queue._finished.clear()
            queue.paused = False


def _is_in_transaction(add: Any) -> bool:
    return any(map(add.HasField, ("transaction", "datastore_transaction")))


def _check_name(add: Any, in_transaction: bool) -> None:
    # without a name, the queue chooses one
    if not add.task_name:
        return
    if in_transaction:
        # another task could have the name by the time of the commit; the client, too,
        # refuses one
        raise apiproxy_errors.ApplicationError(
            _ERRORS.INVALID_TASK_NAME, "a task in a transaction cannot have a name"
        )
    if not _TASK_NAME.fullmatch(add.task_name):
        raise apiproxy_errors.ApplicationError(
            _ERRORS.INVALID_TASK_NAME,
            "a task name must have 1 to 500 letters, digits, hyphens and underscores",
        )


def _adds(method: str, request: Any) -> Sequence[Any]:
    match method:
        case "Add":
            return [request]
        case "BulkAdd":
            adds: Sequence[Any] = request.add_request
            return adds
    return []


def _configure(queue: Queue, config: QueueConfig) -> None:
    queue.config = config
    queue.queue_mode = (
        taskqueue_stub.QUEUE_MODE.PULL
        if config.mode == "pull"
        else taskqueue_stub.QUEUE_MODE.PUSH
    )
    queue.bucket_capacity = config.bucket_size
    queue.bucket_refill_per_second = config.rate or 0.0
    queue.user_specified_rate = config.rate_text
    queue.max_concurrent_requests = config.max_concurrent_requests
    queue.retry_parameters = (
        queueinfo.TranslateRetryParameters(config.retry_parameters)
        if config.retry_parameters is not None
        else None
    )
