"""The public port: request headers, static handlers, task dispatch into the app."""

import logging
import secrets
import socket
import time
import zlib
from collections.abc import Sequence

import aiohttp
from aiohttp import hdrs, web
from multidict import CIMultiDict

from gae_devserver.app.client import AppClient
from gae_devserver.app.process import AppProcess
from gae_devserver.app.supervisor import AppUnavailable
from gae_devserver.config.app_yaml import AppConfig
from gae_devserver.http import static_files
from gae_devserver.http.forwarding import Answer, headers_from_outside, reason_of
from gae_devserver.http.running_requests import RunningRequests
from gae_devserver.http.server import HttpServer, check_host, read_body
from gae_devserver.terminal import printable

logger = logging.getLogger("gae_devserver.request")

TASK_IP = "0.1.0.2"
"""The SDK takes a request from this address for one of the task queue."""
WARMUP_IP = "0.1.0.3"

_WARMUP_SECONDS = 60.0


class Front:
    """Takes requests from outside and from the task queue, and has the app answer."""

    def __init__(
        self,
        config: AppConfig,
        app: AppClient,
        requests: RunningRequests,
        *,
        hostname: str,
    ) -> None:
        """Serve one app.

        Args:
            config: its app.yaml.
            app: sends requests to its process.
            requests: gets the ticket of every request that runs.
            hostname: "host:port" of this server.
        """
        self._config = config
        self._app = app
        self._requests = requests
        self._hostname = hostname
        name, _, port = hostname.rpartition(":")
        self._constant_headers = {
            "X-Appengine-Auth-Domain": "gmail.com",
            "X-Appengine-Country": "ZZ",
            "X-Appengine-Default-Version-Hostname": hostname,
            "X-Appengine-Https": "off",
            "X-Appengine-Server-Name": name,
            "X-Appengine-Server-Port": port,
            "X-Appengine-Server-Protocol": "HTTP/1.1",
            "X-Appengine-User-Email": "",
            "X-Appengine-User-Id": "",
            "X-Appengine-User-Is-Admin": "0",
            "X-Appengine-User-Nickname": "",
            "X-Appengine-User-Organization": "",
        }
        self._server: HttpServer | None = None

    def apply(self, config: AppConfig) -> None:
        """Use a changed app.yaml."""
        self._config = config

    async def start(self, *sockets: socket.socket) -> None:
        """Serve on listening sockets."""
        self._server = HttpServer(self._handle)
        await self._server.start(*sockets)

    async def stop(self) -> None:
        """Close the port."""
        if self._server is not None:
            await self._server.stop()

    async def dispatch_task(
        self,
        method: str,
        target: str,
        headers: Sequence[tuple[str, str]],
        body: bytes,
        *,
        deadline: float,
    ) -> int:
        """Send one task to the app, as App Engine does.

        Args:
            method: the HTTP method.
            target: the request target, with its query.
            headers: the task's own headers and those that describe the task.
            body: the payload.
            deadline: seconds that the app may take to answer.

        Returns:
            The status of the answer.

        Raises:
            AppUnavailable: the app is not running; nothing was sent.
            ConnectionError: the connection broke.
            TimeoutError: there was no answer within `deadline` seconds.
        """
        own = CIMultiDict((name, _as_utf8(value)) for name, value in headers)
        own[hdrs.CONTENT_LENGTH] = str(len(body))
        return await self._ask(method, target, own, body, TASK_IP, deadline)

    async def warm_up(self, process: AppProcess) -> None:
        """Send the warm-up request to a process that gets no other request yet."""
        none: CIMultiDict[str] = CIMultiDict()
        target, deadline = "/_ah/warmup", _WARMUP_SECONDS
        try:
            status = await self._ask(
                "GET", target, none, None, WARMUP_IP, deadline, process
            )
            logger.info("GET %s %d", target, status)
        except OSError as error:
            logger.warning("GET %s failed: %s", target, reason_of(error))

    async def _ask(
        self,
        method: str,
        target: str,
        headers: CIMultiDict[str],
        body: bytes | None,
        ip: str,
        deadline: float,
        process: AppProcess | None = None,
    ) -> int:
        """Send a request of App Engine's; return the status when all is answered."""
        ticket = self._begin(headers, target, ip)
        try:
            # a task that waits here could not be held or deleted any more
            answer = await self._app.send(
                *(method, target, headers, body),
                deadline=deadline,
                process=process,
                waits=False,
            )
            async with answer:
                # the app may go on working while it sends the body
                async for _ in answer.content.iter_any():
                    pass
                return answer.status
        except TimeoutError:
            raise
        except (aiohttp.ClientError, ValueError) as error:
            raise ConnectionError(reason_of(error)) from error
        finally:
            self._requests.end(ticket)

    def _begin(self, headers: CIMultiDict[str], target: str, ip: str) -> str:
        """Add App Engine's own headers; return the request's ticket."""
        host = headers.setdefault(hdrs.HOST, self._hostname)
        ticket = self._requests.begin(f"http://{host}{target}")
        log_id = secrets.token_hex(16)
        headers.update(self._constant_headers)
        headers["X-Appengine-User-IP"] = ip
        headers["X-Appengine-Remote-Addr"] = ip
        headers["X-Appengine-Api-Ticket"] = ticket
        headers["X-Appengine-Request-Log-Id"] = log_id
        # made as in the SDK: google/appengine/runtime/middlewares.py
        headers["X-Appengine-Request-Id-Hash"] = f"{zlib.crc32(log_id.encode()):08X}"
        return ticket

    async def _handle(self, request: web.BaseRequest) -> web.StreamResponse:
        began = time.monotonic()
        ticket, response = await self._respond(request)
        try:
            await response.prepare(request)
            await response.write_eof()
        except ConnectionError:
            # the client has gone; aiohttp closes the connection
            pass
        finally:
            if ticket is not None:
                self._requests.end(ticket)
            logger.info(
                "%s %s %d %.0f ms",
                request.method,
                printable(request.raw_path),
                response.status,
                (time.monotonic() - began) * 1000,
            )
        return response

    async def _respond(
        self, request: web.BaseRequest
    ) -> tuple[str | None, web.StreamResponse]:
        """Return the answer, and the ticket to end when it is sent."""
        target = request.raw_path
        ticket = None
        try:
            check_host(request)
            match = static_files.find(
                self._config.static_handlers, self._config.folder, target
            )
            if match is not None:
                return None, static_files.response(match, request.method)
            if request.method == hdrs.METH_CONNECT:
                return None, web.Response(
                    status=405, text="This server is not a proxy.\n"
                )
            headers = headers_from_outside(request.raw_headers)
            body = None
            if request.body_exists or hdrs.CONTENT_LENGTH in request.headers:
                # whole: the SDK's handler reads no further than Content-Length
                body = await read_body(request)
                headers[hdrs.CONTENT_LENGTH] = str(len(body))
            ticket = self._begin(headers, target, request.remote or "")
            answer = await self._app.send(request.method, target, headers, body)
            return ticket, Answer(answer)
        except BaseException as error:
            if ticket is not None:
                self._requests.end(ticket)
            response = _response_to(error)
            if response is None:
                raise
            return None, response


def _response_to(error: BaseException) -> web.StreamResponse | None:
    """Return the answer where the app gives none; None: that is not its fault."""
    if isinstance(error, web.HTTPException):
        # aiohttp warns of an exception that is returned
        refusal = web.Response(status=error.status, text=error.text)
        if not error.keep_alive:
            refusal.force_close()
        return refusal
    if isinstance(error, AppUnavailable):
        return web.Response(status=503, text=f"{error}\n")
    if isinstance(error, aiohttp.ClientError):
        reason = reason_of(error)
        return web.Response(
            status=502, text=f"The request to the app failed: {reason}.\n"
        )
    if isinstance(error, ValueError):
        return web.Response(
            status=400, text=f"The server cannot forward this request: {error}.\n"
        )
    return None


def _as_utf8(value: str) -> str:
    """Return text whose bytes were taken for Latin-1 as what they are."""
    try:
        return value.encode("latin-1").decode("utf-8")
    except ValueError:
        return value
