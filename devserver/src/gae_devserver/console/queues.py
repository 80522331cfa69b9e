"""The routes of the State API for queues and their tasks."""

from functools import partial
from typing import Any

from aiohttp import web
from google.appengine.api.taskqueue import taskqueue_service_bytes_pb2 as pb

from gae_devserver.clock import Clock
from gae_devserver.console import as_json, bodies
from gae_devserver.tasks.queues import Queue
from gae_devserver.tasks.runner import TaskRunner
from gae_devserver.tasks.stub import TaskQueue

MAX_TASKS = 1000
"""Tasks in one answer: more would hold up the app's calls."""
_PAGE_BYTES = 2**20
"""A page ends with the task whose payload reaches this size."""


class QueueRoutes:
    """Shows, pauses and purges queues; shows, runs and deletes tasks."""

    def __init__(self, taskqueue: TaskQueue, runner: TaskRunner, clock: Clock) -> None:
        self._taskqueue = taskqueue
        self._runner = runner
        self._clock = clock

    def routes(self) -> list[web.RouteDef]:
        """Return the routes."""
        queue, task = "/queues/{queue}", "/queues/{queue}/tasks/{task}"
        return [
            web.get("/queues", self._get_queues),
            web.post(queue + "/pause", partial(self._set_paused, paused=True)),
            web.post(queue + "/resume", partial(self._set_paused, paused=False)),
            web.post(queue + "/purge", self._purge),
            web.get(queue + "/tasks", self._get_tasks),
            web.get(task, self._get_task),
            web.post(task + "/run", self._run_task),
            web.delete(task, self._delete_task),
            web.post("/run_next_task", self._run_next_task),
        ]

    def _queue(self, request: web.Request) -> Queue:
        name = request.match_info["queue"]
        queue = self._taskqueue.queues().get(name)
        if queue is None:
            raise web.HTTPNotFound(text=f"There is no queue {name!r}.")
        return queue

    def _queue_and_task(self, request: web.Request) -> tuple[Queue, Any]:
        queue = self._queue(request)
        name = request.match_info["task"]
        task = queue.find(name)
        if task is None:
            raise web.HTTPNotFound(
                text=f"There is no task {name!r} in the queue {queue.queue_name!r}."
            )
        return queue, task

    async def _get_queues(self, request: web.Request) -> web.Response:
        described = []
        left = MAX_TASKS
        for queue in self._taskqueue.queues().values():
            described.append(as_json.describe_queue(queue, self._clock, left))
            left -= len(described[-1]["tasks"])
        return web.json_response({"queues": described})

    async def _set_paused(self, request: web.Request, *, paused: bool) -> web.Response:
        self._queue(request).set_paused(paused)
        return web.json_response({"paused": paused})

    async def _purge(self, request: web.Request) -> web.Response:
        queue = self._queue(request)
        purged = queue.Count()
        queue.PurgeQueue()
        return web.json_response({"purged": purged})

    async def _get_tasks(self, request: web.Request) -> web.Response:
        queue = self._queue(request)
        limit = bodies.limit_in(request.query, MAX_TASKS)
        eta, arrival = bodies.cursor_in(request.query, "0-0")
        found = queue.tasks_by_eta(limit + 1, after=(eta, arrival))
        page: list[Any] = []
        size = 0
        while found[len(page) : limit] and size < _PAGE_BYTES:
            page.append(found[len(page)])
            size += len(page[-1].body)
        cursor = None
        if len(found) > len(page):
            eta, arrival = queue.place(page[-1])
            cursor = f"{eta}-{arrival}"
        described = [self._describe(queue, task) for task in page]
        return web.json_response({"tasks": described, "cursor": cursor})

    def _describe(self, queue: Queue, task: Any) -> dict[str, Any]:
        described = as_json.describe_task(queue, task, self._clock)
        return described | as_json.describe_contents(task)

    async def _get_task(self, request: web.Request) -> web.Response:
        queue, task = self._queue_and_task(request)
        return web.json_response(self._describe(queue, task))

    async def _run_task(self, request: web.Request) -> web.Response:
        queue, task = self._queue_and_task(request)
        queue.RunTaskNow(task)
        return web.json_response({"due_in": 0.0})

    async def _delete_task(self, request: web.Request) -> web.Response:
        queue, task = self._queue_and_task(request)
        result = queue.Delete(task.task_name)
        return web.json_response({"deleted": result == pb.TaskQueueServiceError.OK})

    async def _run_next_task(self, request: web.Request) -> web.Response:
        run = await self._runner.run_next()
        described = None if run is None else as_json.describe_run(run, self._clock)
        return web.json_response({"task": described})
