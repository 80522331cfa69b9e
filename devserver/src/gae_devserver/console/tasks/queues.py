"""The routes of the State API for queues and their tasks, and the pages on them."""

from collections.abc import Hashable, Mapping
from functools import partial
from typing import Any

from aiohttp import web
from google.appengine.api.taskqueue import taskqueue_service_bytes_pb2 as pb

from gae_devserver.activity.activity import Activity
from gae_devserver.clock import Clock
from gae_devserver.console.frame import bodies
from gae_devserver.console.frame.answers import show, wants_html
from gae_devserver.console.frame.downloads import attachment
from gae_devserver.console.frame.turns import in_turns
from gae_devserver.console.tasks import as_json
from gae_devserver.console.tasks.attempt_json import describe_adder, describe_attempt
from gae_devserver.console.tasks.calls import Calls
from gae_devserver.console.tasks.payloads import describe_payload
from gae_devserver.tasks.queues import Queue
from gae_devserver.tasks.runner import TaskRunner
from gae_devserver.tasks.stub import TaskQueue

MAX_TASKS = 1000
"""Tasks in one answer: more would hold up the app's calls."""
_PAGE = 100
_PAGE_BYTES = 2**20
"""A page ends with the task whose payload reaches this size."""


class QueueRoutes:
    """Shows, pauses and purges queues; shows, runs and deletes tasks."""

    def __init__(
        self,
        taskqueue: TaskQueue,
        runner: TaskRunner,
        clock: Clock,
        activity: Activity,
        calls: Calls,
    ) -> None:
        self._taskqueue = taskqueue
        self._runner = runner
        self._clock = clock
        self._activity = activity
        self._calls = calls

    def routes(self) -> list[web.RouteDef]:
        """Return the routes."""
        queue, task = "/queues/{queue}", "/queues/{queue}/tasks/{task}"
        return [
            web.get("/queues", self._get_queues),
            web.get(queue, self._get_queue),
            web.post(queue + "/pause", partial(self._set_paused, paused=True)),
            web.post(queue + "/resume", partial(self._set_paused, paused=False)),
            web.post(queue + "/purge", self._purge),
            web.get(queue + "/tasks", self._get_tasks),
            web.get(task, self._get_task),
            web.get(task + "/payload", self._get_payload),
            web.post(task + "/run", self._run_task),
            web.delete(task, self._delete_task),
            web.post("/run_next_task", self._run_next_task),
        ]

    def revisions(self) -> Mapping[str, Hashable]:
        """Return what changes with the queues and their tasks."""
        known = (self._taskqueue.queues(), self._taskqueue.disabled_queues())
        state = (((q.queue_name, q.revision) for q in some.values()) for some in known)
        return {"queues": tuple(map(tuple, state))}

    def _queue(self, request: web.Request) -> Queue:
        name = request.match_info["queue"]
        queue = self._taskqueue.queues().get(name)
        if queue is None:
            # its tasks wait until queue.yaml has it again
            queue = self._taskqueue.disabled_queues().get(name)
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

    async def _get_queues(self, request: web.Request) -> web.StreamResponse:
        described = []
        # a page shows the tasks of one queue
        left = 0 if wants_html(request) else MAX_TASKS
        for queue in [*self._taskqueue.queues().values()]:
            tasks = [
                as_json.describe_task(queue, task, self._clock)
                async for task in in_turns(queue.tasks_by_eta(left))
            ]
            described.append(as_json.describe_queue(queue, self._clock, tasks))
            left -= len(tasks)
        data = {"queues": described}
        if wants_html(request):
            disabled = self._taskqueue.disabled_queues().values()
            data["disabled_queues"] = [
                as_json.describe_queue(queue, self._clock, []) for queue in disabled
            ]
        return show(request, data, "queues.html")

    async def _get_queue(self, request: web.Request) -> web.StreamResponse:
        queue = self._queue(request)
        tasks, cursor = await self._page(request, queue, _PAGE)
        data = {
            **as_json.describe_queue(queue, self._clock, tasks),
            "disabled": queue is not self._taskqueue.queues().get(queue.queue_name),
            "cursor": cursor,
        }
        return show(request, data, "queue.html")

    async def _set_paused(self, request: web.Request, *, paused: bool) -> web.Response:
        queue = self._queue(request)
        if paused:
            queue.set_paused(True)
        else:
            # also one that is no longer in queue.yaml
            self._taskqueue.resume(queue.queue_name)
        return web.json_response({"paused": paused})

    async def _purge(self, request: web.Request) -> web.Response:
        queue = self._queue(request)
        purged = queue.Count()
        queue.PurgeQueue()
        return web.json_response({"purged": purged})

    async def _get_tasks(self, request: web.Request) -> web.Response:
        tasks, cursor = await self._page(request, self._queue(request), MAX_TASKS)
        return web.json_response({"tasks": tasks, "cursor": cursor})

    async def _page(
        self, request: web.Request, queue: Queue, most: int
    ) -> tuple[list[dict[str, Any]], str | None]:
        """Return some tasks with their contents, and the cursor of the next page."""
        limit = bodies.limit_in(request.query, most)
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
        described = [self._describe(queue, task) async for task in in_turns(page)]
        return described, cursor

    def _describe(self, queue: Queue, task: Any) -> dict[str, Any]:
        described = as_json.describe_task(queue, task, self._clock)
        return described | as_json.describe_contents(task, self._calls)

    async def _get_task(self, request: web.Request) -> web.StreamResponse:
        queue, name = self._queue(request), request.match_info["task"]
        attempts = [
            describe_attempt(record)
            for record in reversed(self._activity.attempts)
            if (one := record.attempt) is not None
            and (one.queue, one.name) == (queue.queue_name, name)
        ]
        # what a page shows beside the task
        added_by = describe_adder(self._activity, queue.queue_name, name)
        extra = {"queue": queue.queue_name, "name": name}
        if queue.find(name) is None and wants_html(request):
            gone = {**extra, "task": None, "attempts": attempts, "added_by": added_by}
            return show(request, gone, "task.html", status=404)
        queue, task = self._queue_and_task(request)
        described = self._describe(queue, task)
        content = describe_payload(task.body, as_json.headers_of(task))
        data = {**described, "attempts": attempts, "content": content}
        data["added_by"] = added_by
        if wants_html(request):
            extra |= {"task": described, "mode": queue.config.mode, "held": queue.held}
            data |= extra
        return show(request, data, "task.html")

    async def _get_payload(self, request: web.Request) -> web.Response:
        _, task = self._queue_and_task(request)
        name = f"{request.match_info['task']}.bin"
        return attachment(task.body, len(task.body), name)

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
        described = None
        if run is not None:
            described = as_json.describe_run(run, self._clock, self._calls)
        return web.json_response({"task": described})
