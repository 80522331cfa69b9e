"""The task queue's API: the SDK's stub with its bugs fixed.

The stub keeps queues, tasks, names and tombstones. `gae_devserver.tasks.runner` decides
which task runs when; the stub's own scheduler thread is never started.
"""

import dataclasses
import datetime
import logging
from collections.abc import Callable, Sequence
from typing import Any

from google.appengine.api.taskqueue import taskqueue_service_bytes_pb2 as pb
from google.appengine.api.taskqueue import taskqueue_stub

from gae_devserver.clock import Clock
from gae_devserver.config.queue_yaml import QueueConfig
from gae_devserver.http.routing import Routing
from gae_devserver.storage.storage import Storage
from gae_devserver.tasks.app_calls import AppCalls
from gae_devserver.tasks.changes import Changes
from gae_devserver.tasks.group import Group
from gae_devserver.tasks.queues import OnAdd, Queue
from gae_devserver.tasks.targets import ServiceIn, Targets

logger = logging.getLogger("gae_devserver.task")

_ERRORS = pb.TaskQueueServiceError

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
        routing: Routing,
        config_of: ConfigOf,
        service_in: ServiceIn,
        storage: Storage | None = None,
        on_add: OnAdd = lambda queue, name, what: None,
    ) -> None:
        """Make the queues of queue.yaml, and load the tasks that `storage` holds.

        `routing` finds the services of tasks. `default_hostname` is "host:port", the
        end of a Host header. For tasks and queues that the API of Cloud Tasks made,
        `config_of` reads the stored settings of a queue, and `service_in` the service
        of a task. `on_add` is called with each task that is added.
        """
        super().__init__(
            request_data=request_data,
            default_http_server=default_hostname,
            gettime=clock.now,
        )
        self._clock = clock
        self._storage = storage
        self._on_add = on_add
        self.changed = Changes[Queue]()
        """Tells the runner when a task may start at another time."""
        targets = Targets(routing, service_in)
        self._service_of = targets.service_of
        self._only_service = routing.only_service
        self._group = Group(self._new_queue, clock)
        self._calls = AppCalls(
            self._group,
            clock,
            app_id=app_id,
            default_hostname=default_hostname,
            routing=routing,
            targets=targets,
        )
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
            stored: dict[str, list[tuple[str, bytes | None, float]]] = {}
            for name, task_name, encoded, changed in storage.tasks():
                stored.setdefault(name, []).append((task_name, encoded, changed))
            for name, tasks in stored.items():
                self._make_queue(name).load(tasks)

    def _new_queue(self, name: str) -> Queue:
        return Queue(
            name,
            gettime=self._clock.now,
            storage=self._storage,
            changed=self.changed,
            service_of=self._service_of,
            only_service=self._only_service,
            on_add=self._on_add,
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

    def route_again(self) -> None:
        """Look again which service gets each task: dispatch.yaml has changed."""
        for queue in [*self.queues().values(), *self._set_aside.values()]:
            queue.route_again()

    def accept(self, method: str, request: Any, service: str) -> None:
        """Check and adapt what a service sends, before the stub gets it.

        Raises:
            ApplicationError: the request names another app, an unknown service or
                queue, or a name or URL that no task may have.
        """
        self._calls.accept(method, request, service)

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
