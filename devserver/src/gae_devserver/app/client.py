"""Requests to the app's process: sent as they are, once, when it is ready."""

import asyncio
import time

import aiohttp
from aiohttp import hdrs
from multidict import CIMultiDict
from yarl import URL

from gae_devserver.app.process import AppProcess
from gae_devserver.app.supervisor import Supervisor

# gunicorn closes a connection that has been idle for 2 seconds; a request that is
# sent on it in that moment is lost
_KEEP_ALIVE_SECONDS = 1.0
_MAX_CONNECTIONS = 512
# bytes that one line of an answer's head may have
_MAX_HEADER_LINE = 64 * 2**10
# how long to believe that a process which refuses connections is about to end
_REFUSED_SECONDS = 5.0


class AppClient:
    """Sends requests to whichever process of the app is the current one."""

    def __init__(self, app: Supervisor) -> None:
        self._app = app
        self._process: AppProcess | None = None
        self._session: aiohttp.ClientSession | None = None

    async def send(
        self,
        method: str,
        target: str,
        headers: CIMultiDict[str],
        body: bytes | None,
        *,
        deadline: float | None = None,
        process: AppProcess | None = None,
        waits: bool = True,
    ) -> aiohttp.ClientResponse:
        """Send a request with exactly these headers.

        Args:
            method: the HTTP method.
            target: the request target; it is sent byte for byte.
            headers: all headers; a body needs its Content-Length among them.
            body: the body, or None where the request has none.
            deadline: seconds from sending to the end of the answer's body.
            process: ask this one, which need not be ready yet.
            waits: wait while the app starts, or say that it is not running.

        Raises:
            AppUnavailable: the app is not running; nothing was sent.
            aiohttp.ClientError: the connection broke; the app may have run it.
            TimeoutError: `deadline` is over.
            ValueError: the request cannot be written as HTTP.
        """
        began = time.monotonic()
        while True:
            current = process or (
                await self._app.process() if waits else self._app.ready_process()
            )
            # nothing of an encoded URL is parsed: the whole target as its path comes
            # out as it went in, also with "?" at its end or "#" inside
            url = URL.build(
                scheme="http",
                host="127.0.0.1",
                port=current.port,
                path=target,
                encoded=True,
            )
            try:
                return await self._session_with(current).request(
                    method,
                    url,
                    headers=headers,
                    data=body,
                    allow_redirects=False,
                    timeout=aiohttp.ClientTimeout(total=deadline),
                )
            except aiohttp.ClientConnectorError:
                # it has just ended, which the supervisor will notice
                if time.monotonic() - began > _REFUSED_SECONDS:
                    raise
                await asyncio.sleep(0.02)

    async def close(self) -> None:
        """Close the connections to the app."""
        if self._session is not None:
            await self._session.close()

    def _session_with(self, process: AppProcess) -> aiohttp.ClientSession:
        if self._session is not None and self._process is process:
            return self._session
        connector: aiohttp.BaseConnector
        if process.socket_path is not None:
            connector = aiohttp.UnixConnector(
                process.socket_path,
                limit=_MAX_CONNECTIONS,
                keepalive_timeout=_KEEP_ALIVE_SECONDS,
            )
        else:
            connector = aiohttp.TCPConnector(
                limit=_MAX_CONNECTIONS, keepalive_timeout=_KEEP_ALIVE_SECONDS
            )
        session = aiohttp.ClientSession(
            connector=connector,
            auto_decompress=False,
            cookie_jar=aiohttp.DummyCookieJar(),
            max_field_size=_MAX_HEADER_LINE,
            max_line_size=_MAX_HEADER_LINE,
            middlewares=(_send_once,),
            skip_auto_headers=(
                *(hdrs.ACCEPT, hdrs.ACCEPT_ENCODING),
                *(hdrs.CONTENT_TYPE, hdrs.USER_AGENT),
            ),
        )
        # not when the next process is there: this one may still be answering
        loop = asyncio.get_running_loop()
        process.when_exited(
            lambda: loop.call_soon_threadsafe(lambda: loop.create_task(session.close()))
        )
        self._process, self._session = process, session
        return session


async def _send_once(
    request: aiohttp.ClientRequest, handler: aiohttp.ClientHandlerType
) -> aiohttp.ClientResponse:
    """Keep aiohttp from sending a GET again after its connection broke.

    The app may have run it by then, and a GET may add tasks.
    """
    try:
        return await handler(request)
    except aiohttp.ClientConnectorError:
        raise
    except (aiohttp.ClientOSError, aiohttp.ServerDisconnectedError) as error:
        # aiohttp repeats the request after those two only
        raise ConnectionResetError(
            None, "the app closed the connection before it answered"
        ) from error
