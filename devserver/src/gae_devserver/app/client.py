"""HTTP requests to the app's process: sent unchanged, and only once."""

import asyncio
import dataclasses
import functools
import time
from collections.abc import Awaitable, Callable

import aiohttp
from aiohttp import hdrs
from multidict import CIMultiDict
from yarl import URL

from gae_devserver.app.process import AppProcess

FindProcess = Callable[[], Awaitable[AppProcess]]
"""Returns the process of the app to ask, or raises AppUnavailable."""

# gunicorn closes a connection that is idle for 2 seconds; a request sent at that
# moment is lost
_KEEP_ALIVE_SECONDS = 1.0
_MAX_CONNECTIONS = 512
# bytes in a line of an answer's head, and its headers: more than App Engine sends on
_MAX_HEADER_LINE = 64 * 2**10
_MAX_HEADERS = 4096
# a process that refuses connections for longer than this has not just ended
_REFUSED_SECONDS = 5.0


@dataclasses.dataclass(frozen=True)
class Request:
    """A request to the app, sent with exactly these headers."""

    method: str
    target: str
    """The request target; it is sent byte for byte."""
    headers: CIMultiDict[str]
    """A body requires its Content-Length among them."""
    body: bytes | None = None
    service: str = ""
    """The service that a task is for; "" for an HTTP target."""


class AppClient:
    """Sends requests to the app, over connections that it keeps."""

    def __init__(self) -> None:
        self._process: AppProcess | None = None
        self._session: aiohttp.ClientSession | None = None

    async def send(
        self,
        find: FindProcess,
        request: Request,
        *,
        deadline: float | None = None,
    ) -> aiohttp.ClientResponse:
        """Send a request to the process that `find` returns.

        It is asked again if that process has just ended. The deadline is in seconds
        from sending to the end of the answer's body.

        Raises:
            AppUnavailable: the app is not running; nothing was sent.
            aiohttp.ClientError: the connection broke; the app may have run the request.
            TimeoutError: `deadline` is over.
            ValueError: the request cannot be written as HTTP.
        """
        began = time.monotonic()
        while True:
            current = await find()
            # yarl parses no part of an encoded URL: with the whole target as its path,
            # a final "?" and a "#" arrive too
            url = URL.build(
                scheme="http",
                host="127.0.0.1",
                port=current.port,
                path=request.target,
                encoded=True,
            )
            try:
                return await self._session_with(current).request(
                    request.method,
                    url,
                    headers=request.headers,
                    data=request.body,
                    allow_redirects=False,
                    timeout=aiohttp.ClientTimeout(total=deadline),
                )
            except aiohttp.ClientConnectorError:
                # the process has just ended, and the supervisor will notice
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
        connect: Callable[..., aiohttp.BaseConnector] = aiohttp.TCPConnector
        if (socket_path := process.socket_path) is not None:
            connect = functools.partial(aiohttp.UnixConnector, socket_path)
        session = session_with(
            connect(limit=_MAX_CONNECTIONS, keepalive_timeout=_KEEP_ALIVE_SECONDS)
        )
        # only then: the old process may still be answering when the next one is ready
        loop = asyncio.get_running_loop()
        process.when_exited(
            lambda: loop.call_soon_threadsafe(lambda: loop.create_task(session.close()))
        )
        self._process, self._session = process, session
        return session


def session_with(connector: aiohttp.BaseConnector) -> aiohttp.ClientSession:
    """Return a session that sends a request once, and adds no headers of its own."""
    return aiohttp.ClientSession(
        connector=connector,
        auto_decompress=False,
        cookie_jar=aiohttp.DummyCookieJar(),
        max_field_size=_MAX_HEADER_LINE,
        max_headers=_MAX_HEADERS,
        max_line_size=_MAX_HEADER_LINE,
        middlewares=(_send_once,),
        skip_auto_headers=(
            hdrs.ACCEPT,
            hdrs.ACCEPT_ENCODING,
            hdrs.CONTENT_TYPE,
            hdrs.USER_AGENT,
        ),
    )


async def _send_once(
    request: aiohttp.ClientRequest, handler: aiohttp.ClientHandlerType
) -> aiohttp.ClientResponse:
    """Keep aiohttp from repeating a GET after its connection broke (a middleware).

    The server may already have run it, and a GET may change something.
    """
    try:
        return await handler(request)
    except aiohttp.ClientConnectorError:
        raise
    except (aiohttp.ClientOSError, aiohttp.ServerDisconnectedError) as error:
        # aiohttp repeats a request only after these two errors
        raise ConnectionResetError(
            None, "the receiver closed the connection before it answered"
        ) from error
