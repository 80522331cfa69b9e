"""Carries out the RPCs of google.cloud.tasks on the queues of the task queue's API."""

import re
import secrets
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

from google.appengine.api.taskqueue import taskqueue_service_bytes_pb2 as pb
from google.appengine.runtime.apiproxy_errors import ApplicationError

from gae_devserver.app.supervisor import AppUnavailable
from gae_devserver.clock import Clock
from gae_devserver.cloud_tasks import messages, queues, tasks
from gae_devserver.cloud_tasks.names import Names
from gae_devserver.cloud_tasks.operations import Operations
from gae_devserver.cloud_tasks.paging import page, start_of
from gae_devserver.cloud_tasks.routing import Routing
from gae_devserver.cloud_tasks.validation import check_task
from gae_devserver.rpc.errors import (
    AlreadyExistsError,
    FailedPreconditionError,
    NotFoundError,
    RpcError,
    UnavailableError,
    UnimplementedError,
    check,
)
from gae_devserver.tasks.queues import Queue
from gae_devserver.tasks.stub import TaskQueue

RunNow = Callable[[Queue, str], Awaitable[Any]]
"""Starts a task of a queue by its name, as `TaskRunner.run_now` does."""

_MAX_TASKS_PAGE = 1000
_MAX_QUEUES_PAGE = 9800
_MAX_CREATED = 100
_MAX_DELETED = 1000

_ERRORS = pb.TaskQueueServiceError
_STATE = re.compile(r'\s*state\s*[:=]\s*"?([A-Z]+)"?\s*')


class CloudTasks:
    """The RPCs, as version 2 of the API has them."""

    def __init__(
        self, taskqueue: TaskQueue, clock: Clock, routing: Routing, run_now: RunNow
    ) -> None:
        """Serve the queues of one project and app."""
        self._taskqueue = taskqueue
        self._clock = clock
        self._routing = routing
        self._run_now = run_now
        self._names = Names(routing.project)
        self.operations = Operations()

    # --- tasks

    async def create_task(self, request: Any, response: Any) -> None:
        """CreateTask."""
        queue, parent = self._queue_to_fill(request.parent)
        task = self._add(queue, parent, request.task)
        self._describe(task, response, queue, parent, request.response_view)

    async def batch_create_tasks(
        self, request: Any
    ) -> tuple[list[Any], dict[int, RpcError]]:
        """Create tasks; return them, and the errors by the index of their request."""
        queue, parent = self._queue_to_fill(request.parent)
        _check_count("requests", request.requests, _MAX_CREATED)
        created: list[Any] = []
        failed: dict[int, RpcError] = {}
        for index, one in enumerate(request.requests):
            check(
                one.parent in ("", request.parent),
                f"requests[{index}].parent is {one.parent!r}, but the parent of the "
                f"batch is {request.parent!r}.",
            )
        for index, one in enumerate(request.requests):
            try:
                task = self._add(queue, parent, one.task)
            except RpcError as error:
                failed[index] = error
            else:
                described = messages.Task()
                self._describe(task, described, queue, parent, one.response_view)
                created.append(described)
        return created, failed

    async def get_task(self, request: Any, response: Any) -> None:
        """GetTask."""
        queue, parent, task = self._task(request.name)
        self._describe(task, response, queue, parent, request.response_view)

    async def list_tasks(self, request: Any, response: Any) -> None:
        """ListTasks, in the order of their names."""
        queue, parent = self._queue(request.parent, "parent")
        size, first = page(request, _MAX_TASKS_PAGE)
        found = queue.tasks_from(first, size + 1)
        for task in found[:size]:
            into = response.tasks.add()
            self._describe(task, into, queue, parent, request.response_view)
        if len(found) > size:
            response.next_page_token = start_of(found[size].task_name.decode())

    async def delete_task(self, request: Any, response: Any) -> None:
        """DeleteTask: it does not start any more; if it is running, it goes on."""
        queue, _, task = self._task(request.name)
        queue.Delete(task.task_name)

    async def batch_delete_tasks(self, request: Any) -> dict[int, RpcError]:
        """Delete tasks; return the errors by the index of their name."""
        queue, parent = self._queue(request.parent, "parent")
        _check_count("names", request.names, _MAX_DELETED)
        # check all names first, so that a refused batch deletes nothing
        task_ids = [
            self._task_id(name, f"names[{index}]", parent)
            for index, name in enumerate(request.names)
        ]
        failed: dict[int, RpcError] = {}
        for index, task_id in enumerate(task_ids):
            try:
                task = self._find(queue, task_id, request.names[index])
                queue.Delete(task.task_name)
            except RpcError as error:
                failed[index] = error
        return failed

    async def run_task(self, request: Any, response: Any) -> None:
        """RunTask: once, even if the queue is paused; one that runs goes on."""
        queue, parent, task = self._task(request.name)
        _check_push(queue, parent)
        try:
            task = await self._run_now(queue, task.task_name.decode())
        except AppUnavailable as error:
            raise UnavailableError(str(error)) from None
        if task is None:
            raise NotFoundError(f"The task {request.name} does not exist.")
        self._describe(task, response, queue, parent, request.response_view)

    # --- queues

    async def create_queue(self, request: Any, response: Any) -> None:
        """CreateQueue."""
        parent = self._names.location(request.parent, "parent")
        location, identifier = self._names.queue(request.queue.name, "queue.name")
        check(
            location == parent,
            f"queue.name is {request.queue.name!r}, which is not in the location "
            f"{parent.name!r}.",
        )
        if self._find_queue(identifier) is not None:
            raise AlreadyExistsError(f"The queue {request.queue.name} exists.")
        queue = self._create_queue(identifier, request.queue)
        self._describe_queue(queue, response, request.queue.name)

    def _create_queue(self, identifier: str, asked: Any) -> Queue:
        settings = queues.settings_of(asked)
        return self._taskqueue.create(queues.config_of(identifier, settings))

    async def get_queue(self, request: Any, response: Any) -> None:
        """GetQueue."""
        queue, name = self._queue(request.name, "name")
        self._describe_queue(queue, response, name)

    async def list_queues(self, request: Any, response: Any) -> None:
        """ListQueues, in the order of their names."""
        parent = self._names.location(request.parent, "parent")
        size, first = page(request, _MAX_QUEUES_PAGE)
        state = _state_in(request.filter)
        every = self._taskqueue.queues() | self._taskqueue.disabled_queues()
        names = sorted(
            name for name, queue in every.items() if name >= first and queue.is_push
        )
        for name in names[:size]:
            described = messages.Queue()
            self._describe_queue(every[name], described, parent.queue(name))
            if state in (None, described.state):
                response.queues.add().CopyFrom(described)
        if len(names) > size:
            response.next_page_token = start_of(names[size])

    async def update_queue(self, request: Any, response: Any) -> None:
        """UpdateQueue, which creates a queue that is missing."""
        name = request.queue.name
        _, identifier = self._names.queue(name, "queue.name")
        queue = self._find_queue(identifier)
        if queue is None:
            asked = queues.merge(messages.Queue(), request.queue, request.update_mask)
            queue = self._create_queue(identifier, asked)
        else:
            _check_push(queue, name)
            current = messages.Queue()
            self._describe_queue(queue, current, name)
            merged = queues.merge(current, request.queue, request.update_mask)
            settings = queues.settings_of(merged)
            if queue.held:
                # the API has no rate of 0, so the queue would run after the update
                queue.set_paused(True)
            self._taskqueue.change(queue, queues.config_of(identifier, settings))
        self._describe_queue(queue, response, name)

    async def delete_queue(self, request: Any, response: Any) -> None:
        """DeleteQueue, with its tasks."""
        queue, _ = self._queue(request.name, "name")
        _check_push(queue, request.name)
        self._taskqueue.delete(queue.queue_name)

    async def purge_queue(self, request: Any, response: Any) -> None:
        """PurgeQueue."""
        queue, name = self._queue(request.name, "name")
        queue.PurgeQueue()
        self._describe_queue(queue, response, name)

    async def pause_queue(self, request: Any, response: Any) -> None:
        """PauseQueue."""
        queue, name = self._queue(request.name, "name")
        queue.set_paused(True)
        self._describe_queue(queue, response, name)

    async def resume_queue(self, request: Any, response: Any) -> None:
        """ResumeQueue, which enables a disabled queue too."""
        queue, name = self._queue(request.name, "name")
        queue = self._taskqueue.resume(queue.queue_name)
        self._describe_queue(queue, response, name)

    def fill_statistics(self, queue: Queue, into: Any) -> None:
        """Fill the QueueStats of a queue."""
        clock = self._clock
        into.tasks_count = queue.Count()
        if (oldest := queue.OldestTask()) is not None:
            usec = oldest.eta_usec - int(clock.offset * 1e6)
            into.oldest_estimated_arrival_time.FromMicroseconds(usec)
        into.executed_last_minute_count = queue.finished_since(clock.now() - 60)
        into.concurrent_dispatches_count = len(queue.running)
        into.effective_execution_rate = queue.config.rate or 0.0

    def clear(self) -> None:
        """Forget the operations."""
        self.operations.clear()

    # --- helpers

    def find_queue(self, name: str) -> Queue:
        """Return the queue that a request names.

        Raises:
            RpcError: there is none.
        """
        return self._queue(name, "name")[0]

    def _find_queue(self, identifier: str) -> Queue | None:
        found = self._taskqueue.queues().get(identifier)
        return found or self._taskqueue.disabled_queues().get(identifier)

    def _queue(self, name: str, field: str) -> tuple[Queue, str]:
        """Return the queue that a field names, and its name."""
        _, identifier = self._names.queue(name, field)
        queue = self._find_queue(identifier)
        if queue is None:
            raise NotFoundError(
                f"The queue {name} does not exist. Create it, or add it to queue.yaml "
                "(ExecutorServiceError::UNKNOWN_QUEUE)."
            )
        return queue, name

    def _queue_to_fill(self, name: str) -> tuple[Queue, str]:
        queue, name = self._queue(name, "parent")
        _check_push(queue, name)
        return queue, name

    def _task(self, name: str) -> tuple[Queue, str, Any]:
        """Return the queue and its name, and the task that a request names."""
        location, queue_id, task_id = self._names.task(name, "name")
        queue, parent = self._queue(location.queue(queue_id), "name")
        return queue, parent, self._find(queue, task_id, name)

    def _task_id(self, name: str, field: str, parent: str) -> str:
        """Return the id of the task that a field names, in the queue `parent`."""
        location, queue_id, task_id = self._names.task(name, field)
        check(
            location.queue(queue_id) == parent,
            f"{field} is {name!r}, which is not in the queue {parent!r}.",
        )
        return task_id

    def _find(self, queue: Queue, task_id: str, name: str) -> Any:
        task = queue.find(task_id)
        if task is None:
            was = task_id in queue.task_name_archive
            code = "TOMBSTONED_TASK" if was else "UNKNOWN_TASK"
            raise NotFoundError(
                f"The task {name} {'no longer exists' if was else 'does not exist'} "
                f"(ExecutorServiceError::{code})."
            )
        return task

    def _add(self, queue: Queue, parent: str, task: Any) -> Any:
        """Add a task to a queue; return it as the queue keeps it."""
        clock = self._clock
        check_task(task, clock.now() - clock.offset)
        if task.name:
            task_id = self._task_id(task.name, "task.name", parent)
        else:
            task_id = str(secrets.randbelow(9 * 10**19) + 10**19)
        self._routing.check(task, queue.config.target)
        stored = tasks.stub_task(task, task_id, clock.now(), clock.offset, queue)
        try:
            queue.add(stored)
        except ApplicationError as error:
            code = _ERRORS.ErrorCode.Name(error.application_error)
            why = (
                "because a task with this name exists"
                if code == "TASK_ALREADY_EXISTS"
                else "because a task with this name existed too recently"
            )
            raise AlreadyExistsError(
                f"The task {parent}/tasks/{task_id} cannot be created {why} "
                f"(ExecutorServiceError::{code})."
            ) from None
        return stored

    def _describe(
        self, task: Any, into: Any, queue: Queue, parent: str, view: int
    ) -> None:
        tasks.describe(
            task,
            into,
            queue,
            parent=parent,
            view=view,
            offset=self._clock.offset,
            at=self._routing.hostname,
        )

    def _describe_queue(self, queue: Queue, into: Any, name: str) -> None:
        disabled = self._taskqueue.disabled_queues()
        queues.describe(
            queue,
            into,
            name=name,
            is_disabled=disabled.get(queue.queue_name) is queue,
            offset=self._clock.offset,
        )


def _check_push(queue: Queue, name: str) -> None:
    if not queue.is_push:
        raise FailedPreconditionError(
            f"The queue {name} is a pull queue, which Cloud Tasks does not have "
            "(ExecutorServiceError::INVALID_QUEUE_MODE)."
        )


def _check_count(field: str, found: Sequence[Any], most: int) -> None:
    check(
        0 < len(found) <= most,
        f"{field} has {len(found)} entries, but it must have 1 to {most}.",
    )


def _state_in(text: str) -> int | None:
    """Return the state that a filter of queues asks for; None: any."""
    if not text:
        return None
    match = _STATE.fullmatch(text)
    states = dict(messages.Queue.State.items())
    if match is None or match[1] not in states:
        raise UnimplementedError(
            f"the dev server does not implement the filter {text!r}. It knows filters "
            "such as 'state: PAUSED'."
        )
    return states[match[1]]
