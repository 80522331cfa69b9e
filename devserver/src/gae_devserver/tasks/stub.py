"""The task queue's API: the SDK's stub with its bugs fixed.

The stub keeps queues, tasks, names and tombstones. `gae_devserver.tasks.runner` decides
which task runs when; the stub's own scheduler thread is never started.
"""

import dataclasses
import datetime
import logging
import re
from collections.abc import Callable, Sequence
from typing import Any

from google.appengine.api.taskqueue import taskqueue_service_bytes_pb2 as pb
from google.appengine.api.taskqueue import taskqueue_stub
from google.appengine.runtime.apiproxy_errors import ApplicationError

from gae_devserver.clock import Clock
from gae_devserver.config.queue_yaml import QueueConfig
from gae_devserver.storage.storage import Storage
from gae_devserver.tasks.changes import Changes
from gae_devserver.tasks.group import Group
from gae_devserver.tasks.queues import Queue

logger = logging.getLogger("gae_devserver.task")

_ERRORS = pb.TaskQueueServiceError

# the rule of the SDK's client (google/appengine/api/taskqueue/taskqueue.py), which also
# accepts a line end behind a name
_TASK_NAME = re.compile(rb"[a-zA-Z0-9_-]{1,500}")


ConfigOf = Callable[[str, bytes], QueueConfig]
"""Reads the settings of a queue that the API of Cloud Tasks made: name, settings."""


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
        config_of: ConfigOf,
        storage: Storage | None = None,
    ) -> None:
        """Make the queues of queue.yaml, and load the tasks that `storage` holds.

        A task may have the service or the version as its target. `default_hostname` is
        "host:port", the end of every task's Host header. `config_of` reads the stored
        settings of a queue that the API of Cloud Tasks made.
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
        self._storage = storage
        self.changed = Changes[Queue]()
        """Tells the runner when a task may start at another time."""
        self._group = Group(self._new_queue, clock)
        self._queues[None] = self._group
        self._set_aside: dict[str, Queue] = {}
        self._from_yaml: dict[str, QueueConfig] = {}
        if storage is not None:
            self._load(storage, config_of, {config.name for config in queues})
        self.update(queues)

    def _load(self, storage: Storage, config_of: ConfigOf, in_yaml: set[str]) -> None:
        for name, settings, paused in storage.queues():
            if settings is not None and name not in in_yaml:
                with storage.reading(f"the queue {name!r}"):
                    self._create(config_of(name, settings))
            queue = self._make_queue(name)
            queue.paused = paused
            if settings is not None and name in in_yaml:
                # queue.yaml has replaced these settings
                queue.store_settings()
        with storage.reading("a task"):
            for name, task_name, encoded, changed in storage.tasks():
                self._make_queue(name).load(task_name, encoded, changed)

    def _new_queue(self, name: str) -> Queue:
        return Queue(
            name,
            gettime=self._clock.now,
            storage=self._storage,
            changed=self.changed,
        )

    def _make_queue(self, name: str) -> Queue:
        queues = self.queues()
        if name not in queues:
            if name in self._set_aside:
                queues[name] = self._set_aside.pop(name)
                self.changed.add(queues[name])
            else:
                self._group._ConstructQueue(name)
        return queues[name]

    def queues(self) -> dict[str, Queue]:
        """Return the queues by name."""
        return self._group._queues

    def disabled_queues(self) -> dict[str, Queue]:
        """Return the queues that queue.yaml has no longer; their tasks wait."""
        return self._set_aside

    def update(self, configs: Sequence[QueueConfig]) -> None:
        """Take over queue.yaml; the tasks of a queue that stays are kept.

        What the API of Cloud Tasks has changed stays until queue.yaml changes too.
        """
        before, now = self._from_yaml, {config.name: config for config in configs}
        self._from_yaml = now
        for name, config in now.items():
            if config != before.get(name):
                queue = self._make_queue(name)
                was_made_by_api = queue.config.made_by_api
                queue.apply(config)
                if was_made_by_api:
                    queue.store_settings()
        for name in set(self.queues()) - set(now):
            if not self.queues()[name].config.made_by_api:
                self._put_aside(name)
        self.changed.wake()

    def create(self, config: QueueConfig) -> Queue:
        """Make a queue that is not in queue.yaml."""
        queue = self._create(config)
        queue.store_settings()
        return queue

    def _create(self, config: QueueConfig) -> Queue:
        self.queues()[config.name] = queue = self._new_queue(config.name)
        queue.apply(dataclasses.replace(config, made_by_api=True))
        return queue

    def change(self, queue: Queue, config: QueueConfig) -> None:
        """Give a queue the settings of the API of Cloud Tasks."""
        made_by_api = queue.config.made_by_api
        queue.apply(dataclasses.replace(config, made_by_api=made_by_api))
        queue.store_settings()
        self.changed.wake()

    def delete(self, name: str) -> None:
        """Delete a queue with its tasks; one of queue.yaml is back after a restart."""
        queue = self.queues().pop(name, None) or self._set_aside.pop(name)
        queue.PurgeQueue()  # so the schedule has no task of it
        if self._storage is not None:
            self._storage.drop_queue(name)

    def resume(self, name: str) -> Queue:
        """Let the tasks of a queue run that was paused or disabled."""
        queue = self._make_queue(name)
        queue.set_paused(False)
        return queue

    def _put_aside(self, name: str) -> None:
        self._set_aside[name] = gone = self.queues().pop(name)
        self.changed.add(gone)
        if gone.Count():
            logger.warning(
                "queue.yaml no longer has the queue %s. Its %d tasks wait until you "
                "add the queue again",
                name,
                gone.Count(),
            )

    def flush(self) -> None:
        """Write changes to the storage; call this before an answer is sent."""
        if self._storage is not None:
            self._storage.flush()

    def accept(self, method: str, request: Any) -> None:
        """Check and adapt what the app sends, before the stub gets it.

        Raises:
            ApplicationError: the request names another app, another
                service or an unknown queue, or a name or URL that no task may have.
        """
        adds = _adds(method, request)
        # the stub, too, looks only at the first one
        in_transaction = any(
            add.HasField("transaction") or add.HasField("datastore_transaction")
            for add in adds[:1]
        )
        for part in adds or [request]:
            self._check_app(part)
        for add in adds:
            _check_name(add, in_transaction)
            _check_url(add)
            self._check_queue(add)
            self._check_target(add)
            # the app computed the ETA with the real time
            add.eta_usec += int(self._clock.offset * 1e6)

    def _check_app(self, request: Any) -> None:
        if "app_id" not in request.DESCRIPTOR.fields_by_name:
            return
        if request.HasField("app_id"):
            if request.app_id.decode(errors="replace") != self._app_id:
                raise ApplicationError(
                    _ERRORS.PERMISSION_DENIED,
                    f"this server has only the queues of the app {self._app_id!r}",
                )
            # with an app id, the stub fails at random to test its callers
            request.ClearField("app_id")
            # only calls of the administration console require an app id
            if not request.IsInitialized():
                raise ApplicationError(
                    _ERRORS.PERMISSION_DENIED,
                    "queues can be changed only in queue.yaml",
                )

    def _check_queue(self, add: Any) -> None:
        """Refuse an unknown queue, or one of the other kind, also in a transaction.

        The stub's answer has no text, and at a commit, it drops the task silently.
        """
        name = add.queue_name.decode(errors="replace")
        if self._group._ValidateQueueName(name) == _ERRORS.UNKNOWN_QUEUE:
            raise ApplicationError(
                _ERRORS.UNKNOWN_QUEUE,
                f"there is no queue {name!r}. Add it to queue.yaml",
            )
        queue = self.queues().get(name)
        if queue is not None and queue.queue_mode != add.mode:
            kind = queue.config.mode
            raise ApplicationError(
                _ERRORS.INVALID_QUEUE_MODE,
                f"{name!r} is a {kind} queue, and takes only tasks with "
                + ("method='PULL'" if kind == "pull" else "another method than 'PULL'"),
            )

    def _check_target(self, add: Any) -> None:
        queue = self.queues().get(add.queue_name.decode(errors="replace"))
        target = queue.config.target if queue is not None else None
        for header in add.header:
            if header.key.lower() == b"host":
                host = header.value.decode(errors="replace")
                if host.endswith("." + self._default_hostname):
                    target = host.removesuffix("." + self._default_hostname)
        # in "version.service" and "instance.version.service", the service decides
        own = {self._service, self._version}
        if target and target.rsplit(".", 1)[-1] not in own:
            raise ApplicationError(
                _ERRORS.INVALID_REQUEST,
                f"the task's target is {target!r}, but this dev server runs only "
                f"the service {self._service!r}, in version {self._version!r}",
            )

    def _Dynamic_Add(self, request: Any, response: Any, request_id: str | None) -> None:
        """Add a task; the task of a commit is added even if its queue is gone.

        The SDK's LiveTxn.Commit adds its tasks outside of a request, when it can no
        longer fail, and drops those that are refused. They were checked before.
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
        """Make a task due now (for an unknown name, the stub takes the next task)."""
        queue = self.queues().get(request.queue_name.decode(errors="replace"))
        name = request.task_name.decode(errors="replace")
        if queue is not None and queue.find(name) is None:
            response.result = _ERRORS.UNKNOWN_TASK
        else:
            super()._Dynamic_ForceRun(request, response, request_id)

    def clear(self) -> None:
        """Forget all tasks, tombstones, and what the API of Cloud Tasks has changed."""
        for queue in [*self.queues().values(), *self._set_aside.values()]:
            queue.clear()
        self._set_aside.clear()
        for name in set(self.queues()) - set(self._from_yaml):
            del self.queues()[name]
        for name, config in self._from_yaml.items():
            self._make_queue(name).apply(config)


def _check_name(add: Any, in_transaction: bool) -> None:
    # the stub chooses a name for a task without one
    if not add.task_name:
        return
    if in_transaction:
        # at the commit, another task could have the name; the client refuses it too
        raise ApplicationError(
            _ERRORS.INVALID_TASK_NAME, "a task in a transaction cannot have a name"
        )
    if not _TASK_NAME.fullmatch(add.task_name):
        raise ApplicationError(
            _ERRORS.INVALID_TASK_NAME,
            "a task name must have 1 to 500 letters, digits, hyphens and underscores",
        )


def _check_url(add: Any) -> None:
    if add.mode == pb.TaskQueueMode.PUSH and not add.url.startswith(b"/"):
        # only Cloud Tasks has tasks for another server; the client refuses it too
        raise ApplicationError(
            _ERRORS.INVALID_URL,
            f"the task's URL is {add.url.decode(errors='replace')!r}, but it must "
            "start with /",
        )


def _adds(method: str, request: Any) -> Sequence[Any]:
    if method == "Add":
        return [request]
    return request.add_request if method == "BulkAdd" else []
