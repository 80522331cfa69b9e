"""Carries out the RPCs of tasks."""

from collections.abc import Awaitable, Callable, Sequence
from typing import Any

from google.appengine.api.taskqueue import taskqueue_service_bytes_pb2 as pb
from google.appengine.runtime.apiproxy_errors import ApplicationError

from gae_devserver.app.supervisor import AppUnavailable
from gae_devserver.clock import Clock
from gae_devserver.cloud_tasks import messages, tasks
from gae_devserver.cloud_tasks.directory import Directory
from gae_devserver.cloud_tasks.paging import page, start_of
from gae_devserver.cloud_tasks.validation import check_task
from gae_devserver.rpc.errors import (
    AlreadyExistsError,
    NotFoundError,
    RpcError,
    UnavailableError,
    check,
)
from gae_devserver.tasks.queues import Queue, random_task_name

RunNow = Callable[[Queue, str], Awaitable[Any]]
"""Starts a task of a queue by its name, as `TaskRunner.run_now` does."""

_MAX_PAGE = 1000
_MAX_CREATED = 100
_MAX_DELETED = 1000

_ERRORS = pb.TaskQueueServiceError


class TaskRpcs:
    """The RPCs of tasks, as version 2 of the API has them."""

    def __init__(self, directory: Directory, clock: Clock, run_now: RunNow) -> None:
        """Serve the tasks of the queues in the directory."""
        self._directory = directory
        self._clock = clock
        self._run_now = run_now

    async def create_task(self, request: Any, response: Any) -> None:
        """CreateTask."""
        parent = request.parent
        queue = self._directory.push_queue(parent, "parent")
        task = self._add(queue, parent, request.task)
        self._describe(task, response, queue, parent, request.response_view)

    async def batch_create_tasks(
        self, request: Any
    ) -> tuple[list[Any], dict[int, RpcError]]:
        """Create tasks; return them, and the errors by the index of their request."""
        parent = request.parent
        queue = self._directory.push_queue(parent, "parent")
        _check_count("requests", request.requests, _MAX_CREATED)
        created: list[Any] = []
        failed: dict[int, RpcError] = {}
        for index, one in enumerate(request.requests):
            check(
                one.parent in ("", parent),
                f"requests[{index}].parent is {one.parent!r}, but the parent of the "
                f"batch is {parent!r}.",
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
        parent = request.parent
        queue = self._directory.queue(parent, "parent")
        size, first = page(request, _MAX_PAGE)
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
        queue = self._directory.queue(request.parent, "parent")
        _check_count("names", request.names, _MAX_DELETED)
        # check all names first, so that a refused batch deletes nothing
        task_ids = [
            self._task_id(name, f"names[{index}]", request.parent)
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
        self._directory.push_queue(parent, "name")
        due = task.eta_usec
        try:
            task = await self._run_now(queue, task.task_name.decode())
        except AppUnavailable as error:
            raise UnavailableError(str(error)) from None
        if task is None:
            raise NotFoundError(f"The task {request.name} does not exist.")
        self._describe(task, response, queue, parent, request.response_view)
        # documented: only a failure of the task will change it
        tasks.set_time(response.schedule_time, due, self._clock.offset)

    def _task(self, name: str) -> tuple[Queue, str, Any]:
        """Return the queue and its name, and the task that a request names."""
        location, queue_id, task_id = self._directory.names.task(name, "name")
        parent = location.queue(queue_id)
        queue = self._directory.queue(parent, "name")
        return queue, parent, self._find(queue, task_id, name)

    def _task_id(self, name: str, field: str, parent: str) -> str:
        """Return the id of the task that a field names, in the queue `parent`."""
        location, queue_id, task_id = self._directory.names.task(name, field)
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
            task_id = random_task_name()
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
        )


def _check_count(field: str, found: Sequence[Any], most: int) -> None:
    check(
        0 < len(found) <= most,
        f"{field} has {len(found)} entries, but it must have 1 to {most}.",
    )
