"""The State API: shows and changes queues, entities and the clock over HTTP.

Tests use it. The distribution's README documents it.
"""

import logging
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any

from aiohttp import web
from google.appengine.api import datastore, datastore_errors
from google.appengine.api.taskqueue import taskqueue_service_bytes_pb2 as pb

from gae_devserver.app.supervisor import AppUnavailable
from gae_devserver.clock import Clock
from gae_devserver.console import as_json, bodies
from gae_devserver.cron.jobs import CronJobs, JobRefusedError
from gae_devserver.http.server import (
    TOKEN_HEADER,
    HttpServer,
    check_host,
    has_token,
    read_body,
)
from gae_devserver.services.services import Services
from gae_devserver.storage.storage import StorageError
from gae_devserver.tasks.queues import Queue
from gae_devserver.tasks.runner import TaskRunner

logger = logging.getLogger("gae_devserver")

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


class StateApi(HttpServer):
    """Serves the state of one app's services."""

    def __init__(
        self,
        services: Services,
        runner: TaskRunner,
        cron: CronJobs,
        clock: Clock,
        token: str,
        quiet_seconds: float = 5.0,
    ) -> None:
        """Make the server; a reset waits `quiet_seconds` for the tasks that run."""
        self._services = services
        self._taskqueue = services.taskqueue
        self._runner = runner
        self._cron = cron
        self._clock = clock
        self._token = token
        self._quiet_seconds = quiet_seconds
        app = web.Application(middlewares=[_errors_as_json, self._guard, self._flush])
        queue, task = "/queues/{queue}", "/queues/{queue}/tasks/{task}"
        app.add_routes(
            [
                web.get("/queues", self._get_queues),
                web.post(queue + "/pause", partial(self._set_paused, paused=True)),
                web.post(queue + "/resume", partial(self._set_paused, paused=False)),
                web.post(queue + "/purge", self._purge),
                web.get(task, self._get_task),
                web.post(task + "/run", self._run_task),
                web.delete(task, self._delete_task),
                web.get("/clock", self._get_clock),
                web.post("/clock/advance", self._advance),
                web.post("/run_next_task", self._run_next_task),
                web.get("/cron", self._get_cron),
                web.post("/cron/run", self._run_cron),
                web.get("/entities", self._get_entities),
                web.post("/reset", self._reset),
            ]
        )
        super().__init__(app)

    @web.middleware
    async def _guard(
        self, request: web.Request, handler: Handler
    ) -> web.StreamResponse:
        """Refuse changes without the token, or from a web page of another origin.

        A page can send text and forms to a loopback port. Before JSON or a header of
        its own, its browser asks for permission, which this API never gives.
        """
        check_host(request)
        if request.method not in {"GET", "HEAD"}:
            origin = request.headers.get("Origin", f"http://{request.host}")
            if origin.lower() != f"http://{request.host}".lower():
                raise web.HTTPForbidden(
                    text=f"A page from {origin!r} cannot change this server's state."
                )
            if request.content_type != "application/json":
                raise web.HTTPUnsupportedMediaType(
                    text="The request needs the header Content-Type: application/json."
                )
            if not has_token(request, self._token):
                raise web.HTTPForbidden(
                    text=f"{TOKEN_HEADER} is missing or wrong. Send the token that "
                    "this server printed when it started."
                )
        return await handler(request)

    @web.middleware
    async def _flush(
        self, request: web.Request, handler: Handler
    ) -> web.StreamResponse:
        """Write what a request has changed to the storage before it is answered."""
        try:
            return await handler(request)
        finally:
            self._services.flush()

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
        queues = self._taskqueue.queues().values()
        described = [as_json.describe_queue(queue, self._clock) for queue in queues]
        return web.json_response({"queues": described})

    async def _set_paused(self, request: web.Request, *, paused: bool) -> web.Response:
        self._queue(request).set_paused(paused)
        return web.json_response({"paused": paused})

    async def _purge(self, request: web.Request) -> web.Response:
        queue = self._queue(request)
        purged = queue.Count()
        queue.PurgeQueue()
        return web.json_response({"purged": purged})

    async def _get_task(self, request: web.Request) -> web.Response:
        queue, task = self._queue_and_task(request)
        described = as_json.describe_task(queue, task, self._clock)
        return web.json_response(described | as_json.describe_contents(task))

    async def _run_task(self, request: web.Request) -> web.Response:
        queue, task = self._queue_and_task(request)
        queue.RunTaskNow(task)
        return web.json_response({"due_in": 0.0})

    async def _delete_task(self, request: web.Request) -> web.Response:
        queue, task = self._queue_and_task(request)
        result = queue.Delete(task.task_name)
        return web.json_response({"deleted": result == pb.TaskQueueServiceError.OK})

    def _describe_clock(self) -> dict[str, float]:
        return {"now": self._clock.now(), "offset": self._clock.offset}

    async def _get_clock(self, request: web.Request) -> web.Response:
        return web.json_response(self._describe_clock())

    async def _advance(self, request: web.Request) -> web.Response:
        seconds = bodies.seconds_in(await read_body(request))
        if seconds is None:
            count = await self._runner.advance_to_next_task()
        else:
            count = await self._runner.advance(seconds)
        return web.json_response(self._describe_clock() | {"tasks_run": count})

    async def _run_next_task(self, request: web.Request) -> web.Response:
        run = await self._runner.run_next()
        described = None if run is None else as_json.describe_run(run, self._clock)
        return web.json_response({"task": described})

    async def _get_cron(self, request: web.Request) -> web.Response:
        jobs = [
            as_json.describe_job(self._cron, job, self._clock)
            for job in self._cron.jobs
        ]
        return web.json_response({"scheduled": self._cron.scheduled, "jobs": jobs})

    async def _run_cron(self, request: web.Request) -> web.Response:
        job = bodies.job_in(await read_body(request), self._cron.jobs)
        try:
            status = await self._cron.run_now(job)
        except JobRefusedError as error:
            text = f"The job {job.config.url} {error}."
            raise web.HTTPConflict(text=text) from None
        return web.json_response({"status": status})

    async def _get_entities(self, request: web.Request) -> web.Response:
        kind = request.query.get("kind")
        if not kind:
            raise web.HTTPBadRequest(
                text="The kind is missing. Write for example /entities?kind=Counter."
            )
        try:
            query = datastore.Query(kind, namespace=request.query.get("namespace", ""))
            entities = [as_json.describe_entity(entity) for entity in query.Run()]
        except datastore_errors.Error as error:
            raise web.HTTPBadRequest(
                text=f"The entities cannot be read: {error}"
            ) from None
        return web.json_response({"entities": entities}, dumps=as_json.dumps)

    async def _reset(self, request: web.Request) -> web.Response:
        # Cleared queues start no new tasks. Running tasks must end before the rest is
        # cleared, or they would write after the reset.
        self._taskqueue.clear()
        self._cron.clear()
        await self._runner.quiet(self._quiet_seconds)
        self._services.clear()
        self._clock.reset()
        self._cron.restart()
        self._runner.reset()
        return web.json_response({})


@web.middleware
async def _errors_as_json(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Answer every error as {"error": ...}."""
    try:
        return await handler(request)
    except web.HTTPException as error:
        allow = error.headers.getall("Allow", [])
        text = (error.text or "").rstrip()
        if error is request.match_info.http_exception:
            text = (
                f"The State API has no route {request.method} {request.path}. The "
                "README of gae-devserver lists its routes."
            )
        response = web.json_response({"error": text}, status=error.status)
        response.headers.extend(("Allow", value) for value in allow)
        return response
    except AppUnavailable as error:
        return web.json_response({"error": str(error)}, status=503)
    except StorageError as error:
        logger.error("the changes of a State API request were not stored: %s", error)
        return web.json_response({"error": str(error)}, status=500)
