"""The State API, and the console page on the same routes.

Tests use it. docs/state-api.md documents it.
"""

import logging
from collections.abc import Awaitable, Callable, Sequence

from aiohttp import web

from gae_devserver.app.supervisor import AppUnavailable
from gae_devserver.clock import Clock
from gae_devserver.console.frame import answers
from gae_devserver.console.frame.live import Live
from gae_devserver.console.subjects import Subject, Watched
from gae_devserver.http.server import TOKEN_HEADER, HttpServer, check_host, has_token
from gae_devserver.storage.storage import StorageError
from gae_devserver.tasks.run_limit import EndlessTasksError

logger = logging.getLogger("gae_devserver")

_SAFE = frozenset({"GET", "HEAD"})
_OTHER_SITES = frozenset({"cross-site", "same-site"})

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


class StateApi(HttpServer):
    """Serves the state of one app's services."""

    def __init__(
        self,
        subjects: Sequence[Subject],
        clock: Clock,
        token: str,
        flush: Callable[[], None],
    ) -> None:
        """Serve subjects; programs that have the token may change the state.

        `flush` writes what a request has changed to the storage.
        """
        self._token = token
        self._flush_changes = flush
        app = web.Application(middlewares=[_show_errors, self._guard, self._flush])
        watched = [one.revisions for one in subjects if isinstance(one, Watched)]
        self._live = Live(watched)
        for subject in (*subjects, self._live):
            app.add_routes(subject.routes())
        app[answers.CLOCK], app[answers.LIVE] = clock, self._live
        app.on_response_prepare.append(_add_headers)
        super().__init__(app)

    async def stop(self) -> None:
        """Close the port and its connections."""
        self._live.stop()
        await super().stop()

    @web.middleware
    async def _guard(
        self, request: web.Request, handler: Handler
    ) -> web.StreamResponse:
        """Refuse changes without the token, or from a web page of another origin.

        A page can send text and forms to a loopback port. Before JSON or a header of
        its own, its browser asks for permission, which this API never gives.
        """
        check_host(request)
        if (site := request.headers.get("Sec-Fetch-Site")) in _OTHER_SITES and (
            request.method not in _SAFE
            or request.headers.get("Sec-Fetch-Dest") != "document"
        ):
            # no frame, image, script or connection: only a link may lead here
            raise web.HTTPForbidden(text=f"A {site} page cannot use this server.")
        if request.method not in _SAFE:
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
        await answers.begin(request)
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
async def _show_errors(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Answer every error as {"error": ...}, or with a page."""
    try:
        return await handler(request)
    except web.HTTPRedirection:
        raise
    except web.HTTPException as error:
        allow = error.headers.getall("Allow", [])
        text = (error.text or "").rstrip()
        if error is request.match_info.http_exception:
            text = (
                f"The State API has no route {request.method} {request.path}. "
                "docs/state-api.md in gae-devserver's repository lists its routes."
            )
        response = answers.show_error(request, error.status, text)
        response.headers.extend(("Allow", value) for value in allow)
        return response
    except AppUnavailable as error:
        return answers.show_error(request, 503, str(error))
    except EndlessTasksError as error:
        return answers.show_error(request, 409, str(error), tasks_run=error.tasks_run)
    except StorageError as error:
        logger.error("the changes of a State API request were not stored: %s", error)
        return answers.show_error(request, 500, str(error))
    except Exception as error:
        logger.exception("%s %s of the State API failed", request.method, request.path)
        text = (
            f"The dev server failed: {type(error).__name__}: {error}. Its output has "
            "the details."
        )
        return answers.show_error(request, 500, text)


async def _add_headers(request: web.Request, response: web.StreamResponse) -> None:
    """Add to every answer what a browser must not do with it."""
    for name, value in answers.HEADERS.items():
        response.headers.setdefault(name, value)
