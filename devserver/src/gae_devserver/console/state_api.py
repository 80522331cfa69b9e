"""A JSON API to look into the server and to steer it: queues, entities, clock.

Tests use it. The distribution's README documents it.
"""

import base64
import json
import logging
import math
import socket
from collections.abc import Awaitable, Callable
from typing import Any, TypeGuard

from aiohttp import web
from google.appengine.api import datastore, datastore_errors
from google.appengine.api.taskqueue import taskqueue_service_bytes_pb2 as pb

from gae_devserver.app.supervisor import AppUnavailable
from gae_devserver.clock import Clock
from gae_devserver.http.server import (
    TOKEN_HEADER,
    HttpServer,
    check_host,
    has_token,
    read_body,
)
from gae_devserver.services.services import Services
from gae_devserver.storage.storage import StorageError
from gae_devserver.tasks.function_names import function_name
from gae_devserver.tasks.queues import Queue
from gae_devserver.tasks.runner import TaskRunner

logger = logging.getLogger("gae_devserver")

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]

_QUIET_SECONDS = 5.0
_MAX_ADVANCE_SECONDS = 10 * 365 * 86400.0
_ADVANCES = (
    'The body must be {"to": "next_task"}, or {"seconds": NUMBER} with a number from 0 '
    f"to {_MAX_ADVANCE_SECONDS:.0f}."
)


class StateApi:
    """Serves the state of one app's services."""

    def __init__(
        self, services: Services, runner: TaskRunner, clock: Clock, token: str
    ) -> None:
        self._services = services
        self._taskqueue = services.taskqueue
        self._task_runner = runner
        self._clock = clock
        self._token = token
        app = web.Application(middlewares=[_errors_as_json, self._guard, self._flush])
        queue, task = "/queues/{queue}", "/queues/{queue}/tasks/{task}"
        app.add_routes(
            [
                web.get("/queues", self._get_queues),
                web.post(queue + "/pause", self._pause),
                web.post(queue + "/resume", self._resume),
                web.post(queue + "/purge", self._purge),
                web.get(task, self._get_task),
                web.post(task + "/run", self._run_task),
                web.delete(task, self._delete_task),
                web.get("/clock", self._get_clock),
                web.post("/clock/advance", self._advance),
                web.get("/entities", self._get_entities),
                web.post("/reset", self._reset),
            ]
        )
        self._server = HttpServer(app)

    @web.middleware
    async def _guard(
        self, request: web.Request, handler: Handler
    ) -> web.StreamResponse:
        """Refuse what a web page in a browser here could send, and who lacks the token.

        A page can send text and forms to a loopback port, but JSON or a header of its
        own only after asking, which this API does not answer.
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
        """Write to the storage what a request has changed, before it is answered."""
        try:
            return await handler(request)
        finally:
            self._services.flush()

    async def start(self, sock: socket.socket) -> None:
        """Serve on a listening socket."""
        await self._server.start(sock)

    async def stop(self) -> None:
        """Close the port."""
        await self._server.stop()

    async def _get_queues(self, request: web.Request) -> web.Response:
        queues = self._taskqueue.queues().values()
        return web.json_response({"queues": [self._describe(q) for q in queues]})

    def _describe(self, queue: Queue) -> dict[str, Any]:
        return {
            "name": queue.queue_name,
            "mode": queue.config.mode,
            "rate": queue.config.rate,
            "bucket_size": queue.config.bucket_size,
            "max_concurrent_requests": queue.config.max_concurrent_requests,
            "paused": bool(queue.paused),
            "executed_last_hour": queue.finished_since(self._clock.now() - 3600),
            "tasks": [self._describe_task(queue, task) for task in queue._GetTasks()],
        }

    def _describe_task(self, queue: Queue, task: Any) -> dict[str, Any]:
        name = task.task_name.decode()
        due = task.eta_usec / 1e6
        return {
            "name": name,
            "method": task.RequestMethod.Name(task.method),
            "url": _text(task.url),
            "eta": due - self._clock.offset,
            "due_in": due - self._clock.now(),
            "retry_count": task.retry_count,
            "execution_count": task.execution_count,
            "function": function_name(task.body),
            "size": len(task.body),
            "running": name in queue.running,
        }

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

    async def _get_task(self, request: web.Request) -> web.Response:
        queue, task = self._queue_and_task(request)
        more = {
            "headers": [[_text(h.key), _text(h.value)] for h in task.header],
            "payload": base64.b64encode(task.body).decode(),
        }
        return web.json_response(self._describe_task(queue, task) | more)

    async def _pause(self, request: web.Request) -> web.Response:
        return self._set_paused(request, True)

    async def _resume(self, request: web.Request) -> web.Response:
        return self._set_paused(request, False)

    def _set_paused(self, request: web.Request, paused: bool) -> web.Response:
        queue = self._queue(request)
        queue.paused = paused
        self._task_runner.wake()
        return web.json_response({"paused": paused})

    async def _purge(self, request: web.Request) -> web.Response:
        queue = self._queue(request)
        purged = queue.Count()
        queue.PurgeQueue()
        return web.json_response({"purged": purged})

    async def _run_task(self, request: web.Request) -> web.Response:
        queue, task = self._queue_and_task(request)
        queue.RunTaskNow(task)
        return web.json_response({"due_in": 0.0})

    async def _delete_task(self, request: web.Request) -> web.Response:
        queue, task = self._queue_and_task(request)
        result = queue.Delete(task.task_name)
        return web.json_response({"deleted": result == pb.TaskQueueServiceError.OK})

    async def _get_clock(self, request: web.Request) -> web.Response:
        return web.json_response(self._describe_clock())

    def _describe_clock(self) -> dict[str, Any]:
        return {"now": self._clock.now(), "offset": self._clock.offset}

    async def _advance(self, request: web.Request) -> web.Response:
        try:
            wanted = json.loads(await read_body(request) or b"null")
        except (ValueError, RecursionError) as error:
            raise web.HTTPBadRequest(
                text=f"The body is not valid JSON ({error}). {_ADVANCES}"
            ) from None
        seconds = wanted.get("seconds") if isinstance(wanted, dict) else None
        if wanted == {"to": "next_task"}:
            count = await self._task_runner.advance_to_next_task()
        elif _is_duration(seconds):
            count = await self._task_runner.advance(seconds)
        else:
            raise web.HTTPBadRequest(text=_ADVANCES)
        return web.json_response(self._describe_clock() | {"tasks_run": count})

    async def _get_entities(self, request: web.Request) -> web.Response:
        kind = request.query.get("kind")
        if not kind:
            raise web.HTTPBadRequest(
                text="The kind is missing. Write for example /entities?kind=Counter."
            )
        try:
            query = datastore.Query(kind, namespace=request.query.get("namespace", ""))
            entities = [_describe_entity(entity) for entity in query.Run()]
        except datastore_errors.Error as error:
            raise web.HTTPBadRequest(
                text=f"The entities cannot be read: {error}"
            ) from None
        return web.json_response({"entities": entities}, dumps=_dumps)

    async def _reset(self, request: web.Request) -> web.Response:
        # first no task starts any more; then those that run end, which could otherwise
        # write after the reset; then everything goes
        self._taskqueue.clear()
        await self._task_runner.quiet(_QUIET_SECONDS)
        self._services.clear()
        self._clock.reset()
        self._task_runner.reset()
        return web.json_response({})


def _is_duration(value: Any) -> TypeGuard[float]:
    return (
        isinstance(value, int | float)
        and not isinstance(value, bool)
        # false for NaN too
        and 0 <= value <= _MAX_ADVANCE_SECONDS
    )


def _text(data: bytes) -> str:
    return data.decode(errors="replace")


def _describe_entity(entity: Any) -> dict[str, Any]:
    key = entity.key()
    path = key.to_path()
    return {
        "key": [list(pair) for pair in zip(path[::2], path[1::2], strict=True)],
        "urlsafe": str(key),
        "properties": dict(entity),
    }


def _dumps(value: Any) -> str:
    # property types that JSON lacks (dates, keys, blobs) as the SDK prints them
    try:
        return json.dumps(value, default=str, allow_nan=False)
    except ValueError:
        return json.dumps(_without_nan(value), default=str)


def _without_nan(value: Any) -> Any:
    """Return the value with the floats that JSON lacks as text."""
    match value:
        case dict():
            return {name: _without_nan(item) for name, item in value.items()}
        case list():
            return [_without_nan(item) for item in value]
        case float() if not math.isfinite(value):
            return str(value)
    return value


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
