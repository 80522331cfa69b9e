"""The public port: sends requests to the app, and serves static files."""

import contextlib
import logging
import time
from collections.abc import Awaitable, Callable, Mapping
from typing import Protocol

import aiohttp
from aiohttp import hdrs, web

from gae_devserver.app.client import Request
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

Page = Callable[[web.BaseRequest], Awaitable[web.StreamResponse | Request | None]]
"""Answers a request itself, or returns the one that the app gets in its place.

With None, the app gets the request itself.
"""


BLOB_KEY_HEADER = "X-AppEngine-BlobKey"
SendBlob = Callable[[web.BaseRequest, aiohttp.ClientResponse], web.StreamResponse]
"""Returns the blob that an answer of the app names, in place of the answer."""


class Access(Protocol):
    """Knows who makes a request, and who may use a URL."""

    def check(
        self, request: web.BaseRequest, target: str | None
    ) -> Mapping[str, str] | web.Response:
        """Return the headers about the user, or the answer that refuses the request.

        `target` is what the app gets; None: a page of the server made the request, and
        like App Engine's own, it passes as an administrator.
        """


class Front(HttpServer):
    """Answers requests from outside."""

    def __init__(
        self,
        config: AppConfig,
        app: Supervisor,
        sender: AppSender,
        *,
        pages: Mapping[str, Page] | None = None,
        send_blob: SendBlob | None = None,
        access: Access | None = None,
        limits: Limits = DEFAULT_LIMITS,
    ) -> None:
        """Serve one app, and its static files.

        `pages` are the server's own, each by the beginning of its paths, which has the
        form "/_ah/NAME". `send_blob` gets the answers that have BLOB_KEY_HEADER.
        Without `access`, everyone may use every URL.
        """
        super().__init__(self._handle, limits)
        self._pages = pages or {}
        self._send_blob = send_blob
        self._access = access
        self._config = config
        self._app = app
        self._sender = sender

    def apply(self, config: AppConfig) -> None:
        """Use a changed app.yaml from the next request on."""
        self._config = config

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
                used = target if forwarded is None else None
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
            await self._sender.admitted()
            sending = self._sender.send(
                self._app.process, forwarded, ip=request.remote or "", user=user
            )
            answer = await at_end.enter_async_context(sending)
            if (refused := self._refused(answer)) is not None:
                return refused
            if self._send_blob is not None and BLOB_KEY_HEADER in answer.headers:
                blob = self._send_blob(request, answer)
                # the app's request has ended, however long the client takes
                await at_end.aclose()
                return blob
            return Answer(answer, self._limits.answer)
        except web.HTTPException as error:
            # aiohttp warns if a handler returns an exception
            refusal = web.Response(status=error.status, text=error.text)
            if not error.keep_alive:
                refusal.force_close()
            return refusal
        except AppUnavailable as error:
            return web.Response(status=503, text=f"{error}\n")
        except aiohttp.ClientError as error:
            # the client of a HEAD gets no text
            why = printable(f"the request to the app failed: {reason_of(error)}")
            logger.warning("status 502: %s", why)
            return web.Response(status=502, text=f"{why[0].upper()}{why[1:]}.\n")
        except ValueError as error:
            text = f"The server cannot forward this request: {error}.\n"
            return web.Response(status=400, text=text)

    def _page(self, target: str) -> Page | None:
        """Return the server's own page for a request target."""
        target = static_files.origin_form(target)
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
