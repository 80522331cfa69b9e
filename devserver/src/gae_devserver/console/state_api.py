"""The State API: shows and changes queues, entities and the clock over HTTP.

Tests use it. The distribution's README documents it.
"""

import logging
from collections.abc import Awaitable, Callable, Sequence
from typing import Protocol

from aiohttp import web

from gae_devserver.app.supervisor import AppUnavailable
from gae_devserver.clock import Clock
from gae_devserver.console.blobs import BlobRoutes
from gae_devserver.console.clock import ClockRoutes
from gae_devserver.console.cron import CronRoutes
from gae_devserver.console.entities import EntityRoutes
from gae_devserver.console.indexes import IndexRoute
from gae_devserver.console.memcache import MemcacheRoutes
from gae_devserver.console.queues import QueueRoutes
from gae_devserver.console.reset import Reset
from gae_devserver.console.search import SearchRoutes
from gae_devserver.cron.jobs import CronJobs
from gae_devserver.http.server import TOKEN_HEADER, HttpServer, check_host, has_token
from gae_devserver.services.services import Services
from gae_devserver.storage.storage import StorageError
from gae_devserver.tasks.run_limit import EndlessTasksError
from gae_devserver.tasks.runner import TaskRunner

logger = logging.getLogger("gae_devserver")

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


class Subject(Protocol):
    """A subject of the State API, in a module of its own."""

    def routes(self) -> list[web.RouteDef]:
        """Return its routes."""


class StateApi(HttpServer):
    """Serves the state of one app's services."""

    def __init__(
        self,
        services: Services,
        runner: TaskRunner,
        cron: CronJobs,
        clock: Clock,
        token: str,
        reset: Reset,
        *,
        subjects: Sequence[Subject] = (),
    ) -> None:
        """Make the server; programs that have the token may change the state.

        `subjects` are others than those that each server has.
        """
        self._token = token
        self._flush_changes = services.flush
        app = web.Application(middlewares=[_errors_as_json, self._guard, self._flush])
        all_subjects: tuple[Subject, ...] = (
            QueueRoutes(services.taskqueue, runner, clock),
            ClockRoutes(clock, runner),
            CronRoutes(cron, clock),
            EntityRoutes(services.datastore, services.app_id),
            BlobRoutes(services),
            MemcacheRoutes(services, clock),
            SearchRoutes(services),
            IndexRoute(services.indexes),
            reset,
            *subjects,
        )
        for subject in all_subjects:
            app.add_routes(subject.routes())
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
            self._flush_changes()


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
    except EndlessTasksError as error:
        content = {"error": str(error), "tasks_run": error.tasks_run}
        return web.json_response(content, status=409)
    except StorageError as error:
        logger.error("the changes of a State API request were not stored: %s", error)
        return web.json_response({"error": str(error)}, status=500)
    except Exception as error:
        logger.exception("%s %s of the State API failed", request.method, request.path)
        text = (
            f"The dev server failed: {type(error).__name__}: {error}. Its output has "
            "the details."
        )
        return web.json_response({"error": text}, status=500)
