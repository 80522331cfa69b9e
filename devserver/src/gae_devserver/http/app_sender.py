"""Requests to the app as App Engine makes them: with its headers and a ticket."""

import contextlib
import logging
import secrets
import zlib
from collections.abc import AsyncIterator, Mapping

from aiohttp import hdrs
from multidict import CIMultiDict

from gae_devserver.activity import activity
from gae_devserver.app.client import AppClient, FindProcess, Reply, Request
from gae_devserver.app.process import AppProcess
from gae_devserver.app.supervisor import AppUnavailable
from gae_devserver.http.forwarding import reason_of, status_of
from gae_devserver.http.running_requests import RunningRequests
from gae_devserver.http.static_files import origin_form
from gae_devserver.terminal import Labelled

logger = logging.getLogger("gae_devserver.request")

NO_USER: Mapping[str, str] = {
    "X-Appengine-User-Email": "",
    "X-Appengine-User-Id": "",
    "X-Appengine-User-Is-Admin": "0",
    "X-Appengine-User-Nickname": "",
    "X-Appengine-User-Organization": "",
}
"""The headers about the user of a request whose client is not signed in."""

# how App Engine's own proxy is named in X-Forwarded-For
_PROXY_IP = "169.254.1.1"
_WARMUP_IP = "0.1.0.3"
_WARMUP_SECONDS = 60.0


class AppSender:
    """Sends requests to a service, each with App Engine's headers and a ticket."""

    def __init__(
        self,
        client: AppClient,
        requests: RunningRequests,
        *,
        hostname: str,
        service: str | None = None,
        default_hostname: str | None = None,
        label: str = "",
    ) -> None:
        """Send requests to `service`, or to the main one.

        `hostname` is "host:port" of the service, and `default_hostname` that of the
        public port, if it is another one. `label` is put before each log line.
        """
        self._log = Labelled(logger, label)
        self._client = client
        self._requests = requests
        self._hostname = hostname
        self._service = service
        name, _, port = hostname.rpartition(":")
        self._constant_headers = {
            "X-Appengine-Auth-Domain": "gmail.com",
            "X-Appengine-City": "?",
            "X-Appengine-Citylatlong": "0.000000,0.000000",
            "X-Appengine-Country": "ZZ",
            "X-Appengine-Default-Version-Hostname": default_hostname or hostname,
            "X-Appengine-Https": "off",
            "X-Appengine-Region": "?",
            "X-Appengine-Server-Name": name,
            "X-Appengine-Server-Port": port,
            "X-Appengine-Server-Protocol": "HTTP/1.1",
        }

    async def admitted(self) -> None:
        """Wait until a request from outside may begin: during a reset, it may not."""
        await self._requests.admitted()

    @contextlib.asynccontextmanager
    async def send(
        self,
        find: FindProcess,
        request: Request,
        *,
        ip: str,
        deadline: float | None = None,
        user: Mapping[str, str] = NO_USER,
    ) -> AsyncIterator[Reply]:
        """Add App Engine's headers to a request, and send it as `AppClient.send` does.

        `user` are those about the user. Its ticket ends with the context, in which the
        answer has to be read.
        """

        async def find_process() -> AppProcess:
            process = await find()
            if ticket not in self._requests:
                raise AppUnavailable("The server was reset while the app started.")
            return process

        headers = request.headers
        host = headers.setdefault(hdrs.HOST, self._hostname)
        url = f"http://{host}{origin_form(request.target)}"
        ticket = self._requests.begin(url, self._service)
        records, record = self._requests.activity, activity.current.get()
        own = None
        if record is None:  # for example the warm-up request
            record = own = records.begin("server", request.method, request.target)
        record.service = self._requests.service(ticket)
        records.link(ticket, record)
        status = 0
        log_id = secrets.token_hex(16)
        headers.update(self._constant_headers)
        headers.update(user)
        span = secrets.randbits(63)
        headers["X-Cloud-Trace-Context"] = f"{secrets.token_hex(16)}/{span}"
        headers["X-Forwarded-For"] = f"{ip}, {_PROXY_IP}"
        headers["X-Appengine-User-IP"] = ip
        headers["X-Appengine-Remote-Addr"] = ip
        headers["X-Appengine-Api-Ticket"] = ticket
        headers["X-Appengine-Request-Log-Id"] = log_id
        # made as in the SDK: google/appengine/runtime/middlewares.py
        headers["X-Appengine-Request-Id-Hash"] = f"{zlib.crc32(log_id.encode()):08X}"
        try:
            async with self._client.send(
                find_process, request, deadline=deadline
            ) as answer:
                record.status = status = answer.status
                yield answer
        finally:
            self._requests.end(ticket)
            if own is not None:
                records.end(own, status)

    async def status_of(
        self,
        find: FindProcess,
        request: Request,
        *,
        ip: str,
        deadline: float | None,
    ) -> int:
        """Send a request of App Engine's; return the status after the whole answer.

        Raises:
            AppUnavailable: the app is not running; nothing was sent.
            ConnectionError: the connection broke.
            TimeoutError: there was no answer within `deadline` seconds, if it is not
                None.
        """
        return await status_of(self.send(find, request, ip=ip, deadline=deadline))

    async def warm_up(
        self, process: AppProcess, *, within_deadline: bool = True
    ) -> None:
        """Send the warm-up request to a process before it gets other requests."""
        deadline = _WARMUP_SECONDS if within_deadline else None

        async def find() -> AppProcess:
            return process

        request = Request("GET", "/_ah/warmup", CIMultiDict())
        try:
            status = await self.status_of(
                find, request, ip=_WARMUP_IP, deadline=deadline
            )
            self._log.info("GET %s %d", request.target, status)
        except OSError as error:
            self._log.warning("GET %s failed: %s", request.target, reason_of(error))
