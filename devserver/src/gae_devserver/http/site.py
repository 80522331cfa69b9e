"""How one service answers a request: static files, login rules, and the app."""

import contextlib
import logging
from collections.abc import Callable, Mapping
from typing import Protocol

from aiohttp import hdrs, web

from gae_devserver.app.client import Reply, Request
from gae_devserver.app.supervisor import Supervisor
from gae_devserver.config.app_yaml import AppConfig
from gae_devserver.http import static_files
from gae_devserver.http.app_sender import NO_USER, AppSender
from gae_devserver.http.forwarding import Answer, headers_from_outside, too_large
from gae_devserver.http.limits import DEFAULT_LIMITS, Limits
from gae_devserver.http.server import read_body
from gae_devserver.terminal import Labelled

logger = logging.getLogger("gae_devserver.request")

BLOB_KEY_HEADER = "X-AppEngine-BlobKey"
SendBlob = Callable[[web.BaseRequest, Reply], web.StreamResponse]
"""Returns the blob that an answer of the app names, in place of the answer."""
InboundHeaders = Callable[[web.BaseRequest], Mapping[str, str]]
"""Returns what App Engine adds to a request of another app."""


class Access(Protocol):
    """Knows who makes a request, and who may use a URL."""

    def check(
        self, request: web.BaseRequest, target: str | None
    ) -> Mapping[str, str] | web.Response:
        """Return the headers about the user, or the answer that refuses the request.

        `target` is what the app gets; None: a page of the server made the request, and
        like App Engine's own, it passes as an administrator.
        """


class Site:
    """Answers the requests to one service."""

    def __init__(
        self,
        config: AppConfig,
        app: Supervisor,
        sender: AppSender,
        *,
        send_blob: SendBlob | None = None,
        inbound_headers: InboundHeaders = lambda request: {},
        access: Access | None = None,
        label: str = "",
        limits: Limits = DEFAULT_LIMITS,
    ) -> None:
        """Serve the app's process, and its static files.

        `send_blob` gets the answers that have BLOB_KEY_HEADER. Without `access`,
        everyone may use every URL. `label` is put before the log lines of requests.
        """
        self._config = config
        self._app = app
        self._sender = sender
        self._send_blob = send_blob
        self._inbound_headers = inbound_headers
        self._access = access
        self._limits = limits
        self.label = label
        self._log = Labelled(logger, label)

    @property
    def service(self) -> str:
        """The name of the service."""
        return self._config.service

    def apply(self, config: AppConfig) -> None:
        """Use a changed app.yaml from the next request on."""
        self._config = config

    async def respond(
        self,
        request: web.BaseRequest,
        forwarded: Request | None,
        at_end: contextlib.AsyncExitStack,
    ) -> web.StreamResponse:
        """Return the answer; `at_end` ends the request to the app after it was sent.

        The app gets `forwarded`, which a page of the server has made, or the request
        itself.

        Raises:
            AppUnavailable: the app is not running.
            aiohttp.ClientError: the connection to the app broke.
            web.HTTPException: the body is too large, or cannot be read.
            ValueError: a header cannot be forwarded.
        """
        target = request.raw_path
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
            forwarded = await _from_outside(request)
        forwarded.headers.update(self._inbound_headers(request))
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
        return Answer(answer, self._limits.answer, self._log)

    def _refused(self, answer: Reply) -> web.Response | None:
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
        self._log.error("status %d: %s", status, why)
        return web.Response(status=status, text=f"{why[0].upper()}{why[1:]}.\n")


async def _from_outside(request: web.BaseRequest) -> Request:
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
