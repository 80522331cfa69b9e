"""The public port: sends requests and tasks to the app, and serves static files."""

import contextlib
import logging
import time
from collections.abc import Awaitable, Callable, Mapping
from typing import Protocol

import aiohttp
from aiohttp import hdrs, web
from multidict import CIMultiDict

from gae_devserver.app.client import Request
from gae_devserver.app.process import AppProcess
from gae_devserver.app.supervisor import AppUnavailable, Supervisor
from gae_devserver.config.app_yaml import AppConfig
from gae_devserver.http import static_files
from gae_devserver.http.app_sender import NO_USER, AppSender
from gae_devserver.http.forwarding import (
    Answer,
    headers_from_outside,
    reason_of,
    too_large,
)
from gae_devserver.http.limits import DEFAULT_LIMITS, Limits
from gae_devserver.http.server import HttpServer, check_host, read_body
from gae_devserver.terminal import printable

logger = logging.getLogger("gae_devserver.request")

_TASK_IP = "0.1.0.2"  # by this address, the SDK recognizes the task queue


Page = Callable[[web.BaseRequest], Awaitable[web.StreamResponse | Request | None]]
"""Answers a request itself, or returns the one that the app gets in its place.

With None, the app gets the request itself.
"""


class Access(Protocol):
    """Knows who makes a request, and who may use a URL."""

    def check(
        self, request: web.BaseRequest, target: str
    ) -> Mapping[str, str] | web.Response:
        """Return the headers about the user; or the answer to one who may not go on.

        `target` is what the app gets, which may be another one than the client sent.
        """

    def refusal_of_task(self, target: str) -> int | None:
        """Return the status that a task gets in place of the app's; None: it may go on.

        A request of App Engine's own passes as an administrator, but has no user.
        """


class Front(HttpServer):
    """Answers requests from outside, and sends tasks to the app."""

    def __init__(
        self,
        config: AppConfig,
        app: Supervisor,
        sender: AppSender,
        *,
        pages: Mapping[str, Page] | None = None,
        access: Access | None = None,
        limits: Limits = DEFAULT_LIMITS,
    ) -> None:
        """Serve one app, and its static files.

        `pages` are the server's own, each by the beginning of its paths, which has the
        form "/_ah/NAME". Without `access`, everyone may use every URL.
        """
        super().__init__(self._handle, limits)
        self._pages = pages or {}
        self._access = access
        self._config = config
        self._app = app
        self._sender = sender

    def apply(self, config: AppConfig) -> None:
        """Use a changed app.yaml from the next request on."""
        self._config = config

    async def dispatch_task(self, task: Request, deadline: float) -> int:
        """Send a task, as App Engine does; return the status of the answer.

        Raises:
            AppUnavailable: the app is not running; nothing was sent.
            ConnectionError: the connection broke.
            TimeoutError: there was no answer within `deadline` seconds.
        """
        refused = self._access and self._access.refusal_of_task(task.target)
        if refused:
            return refused
        # a copy: each delivery has a ticket of its own
        headers = CIMultiDict(task.headers)
        headers[hdrs.CONTENT_LENGTH] = str(len(task.body or b""))
        request = Request(task.method, task.target, headers, task.body)
        return await self._sender.status_of(
            self._ready_process, request, ip=_TASK_IP, deadline=deadline
        )

    async def _ready_process(self) -> AppProcess:
        # a task that waited here could no longer be paused or deleted
        return self._app.ready_process()

    async def _handle(self, request: web.BaseRequest) -> web.StreamResponse:
        began = time.monotonic()
        async with contextlib.AsyncExitStack() as at_end:
            response = await self._respond(request, at_end)
            try:
                await response.prepare(request)
                await response.write_eof()
            except ConnectionError:
                # the client disconnected; aiohttp closes the connection
                pass
            finally:
                logger.info(
                    "%s %s %d %.0f ms",
                    request.method,
                    printable(request.raw_path),
                    response.status,
                    (time.monotonic() - began) * 1000,
                )
        return response

    async def _respond(
        self, request: web.BaseRequest, at_end: contextlib.AsyncExitStack
    ) -> web.StreamResponse:
        """Return the answer; `at_end` ends the request to the app after it was sent."""
        target = request.raw_path
        try:
            check_host(request)
            forwarded = None
            if (page := self._page(target)) is not None:
                answered = await page(request)
                if isinstance(answered, web.StreamResponse):
                    return answered
                forwarded = answered
            user = NO_USER
            if self._access is not None:
                used = target if forwarded is None else forwarded.target
                checked = self._access.check(request, used)
                if isinstance(checked, web.Response):
                    return checked
                user = checked
            if forwarded is None:
                match = static_files.find(
                    self._config.static_handlers, self._config.folder, target
                )
                if match is not None and match.is_static:
                    return static_files.response(match, request.method)
                if request.method == hdrs.METH_CONNECT:
                    text = "This server is not a proxy.\n"
                    return web.Response(status=405, text=text)
                forwarded = await from_outside(request)
            sending = self._sender.send(
                self._app.process, forwarded, ip=request.remote or "", user=user
            )
            answer = await at_end.enter_async_context(sending)
            return self._refused(answer) or Answer(answer, self._limits.answer)
        except web.HTTPException as error:
            # aiohttp warns if a handler returns an exception
            refusal = web.Response(status=error.status, text=error.text)
            if not error.keep_alive:
                refusal.force_close()
            return refusal
        except AppUnavailable as error:
            return web.Response(status=503, text=f"{error}\n")
        except aiohttp.ClientError as error:
            text = f"The request to the app failed: {reason_of(error)}.\n"
            return web.Response(status=502, text=text)
        except ValueError as error:
            text = f"The server cannot forward this request: {error}.\n"
            return web.Response(status=400, text=text)

    def _page(self, target: str) -> Page | None:
        """Return the server's own page for a request target."""
        if not target.startswith("/_ah/"):
            return None
        name = target.partition("?")[0].split("/")[2]
        return self._pages.get(f"/_ah/{name}")

    def _refused(self, answer: aiohttp.ClientResponse) -> web.Response | None:
        """Return what App Engine sends in place of an answer that is too large."""
        limits = self._limits
        status, why = 500, too_large("the app's answer", limits.answer)
        if (answer.content_length or 0) <= limits.answer:
            # with a colon, a space and the end of the line
            head = sum(len(name + value) + 4 for name, value in answer.raw_headers)
            if head <= limits.answer_head:
                return None
            what = "the head of the app's answer"
            status, why = 502, too_large(what, limits.answer_head)
        logger.error("status %d: %s", status, why)
        return web.Response(status=status, text=f"{why[0].upper()}{why[1:]}.\n")


async def from_outside(request: web.BaseRequest) -> Request:
    """Return a request as the app gets it.

    Raises:
        web.HTTPException: the body is too large, or cannot be read.
        ValueError: a header cannot be forwarded.
    """
    headers = headers_from_outside(request.raw_headers)
    body = None
    if request.body_exists or hdrs.CONTENT_LENGTH in request.headers:
        # the app gets a Content-Length, which the SDK's handler requires
        body = await read_body(request)
        headers[hdrs.CONTENT_LENGTH] = str(len(body))
    return Request(request.method, request.raw_path, headers, body)
