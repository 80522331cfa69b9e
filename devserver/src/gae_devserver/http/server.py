"""What every HTTP port of the server has in common: limits and the check of Host."""

import asyncio
import functools
import hmac
import socket
from collections.abc import Awaitable, Callable
from typing import Any
from urllib.parse import urlsplit

import aiohttp
from aiohttp import hdrs, web
from aiohttp.http_exceptions import LineTooLong
from aiohttp.web_protocol import _ErrInfo

from gae_devserver.http.log import http_logger
from gae_devserver.terminal import printable

TOKEN_HEADER = "X-Devserver-Token"
MAX_BODY = 32 * 2**20
"""Bytes that a request's body may have (App Engine's limit)."""
MAX_HEADER = 8190
"""Bytes that the request line, or one header, may have."""
MAX_HEADERS = 128
"""Headers that a request may have."""
MAX_CONNECTIONS = 512
"""Connections that a port holds at a time."""
HEAD_SECONDS = 20.0
"""How long a client may take to send the head of a request."""
BODY_SECONDS = 120.0
"""How long a client may take to send a body."""
STALLED_SECONDS = 60.0
"""How long a client may take nothing of an answer that waits for it."""

# a connection without a request; browsers keep theirs for a minute or so
_IDLE_SECONDS = 75.0
# an open keep-alive connection must not delay the end of the server
_SHUTDOWN_SECONDS = 0.2
# how long to read on after an answer that came before the end of the body: a client
# that is still sending might otherwise never see it
_LINGERING_SECONDS = 5.0
# how long a connection that is one too many may take to hear so
_REFUSED_SECONDS = 2.0

Handler = Callable[[web.BaseRequest], Awaitable[web.StreamResponse]]

_FULL = b"429 Too Many Requests", b"This port has too many connections.\n"
_SLOW = b"408 Request Timeout", b"The request line and headers took too long.\n"


class HttpServer:
    """A handler, or an application with routes, on listening sockets."""

    def __init__(self, serves: Handler | web.Application) -> None:
        """Make the server; it unpacks no body, whatever its Content-Encoding is."""
        self._servers: list[asyncio.Server] = []
        self._runner: web.BaseRunner
        if isinstance(serves, web.Application):
            self._runner = web.AppRunner(serves, shutdown_timeout=_SHUTDOWN_SECONDS)
        else:
            server = web.Server(serves, request_factory=_make_request)
            self._runner = web.ServerRunner(server, shutdown_timeout=_SHUTDOWN_SECONDS)

    async def start(self, *sockets: socket.socket) -> None:
        """Serve on listening sockets."""
        await self._runner.setup()
        assert self._runner.server is not None
        loop = asyncio.get_running_loop()
        connect = functools.partial(
            _Connection,
            self._runner.server,
            loop=loop,
            access_log=None,
            # a megabyte may unpack to a gigabyte, and all would wait for that
            auto_decompress=False,
            keepalive_timeout=_IDLE_SECONDS,
            lingering_time=_LINGERING_SECONDS,
            logger=http_logger(),
            max_field_size=MAX_HEADER,
            max_headers=MAX_HEADERS,
            max_line_size=MAX_HEADER,
        )
        for sock in sockets:
            self._servers.append(await loop.create_server(connect, sock=sock))

    async def stop(self) -> None:
        """Close the port and its connections."""
        for server in self._servers:
            server.close()
        await self._runner.cleanup()


class _Connection(web.RequestHandler):
    """A connection that is refused where there are too many, and cut if it is slow.

    Slow is who takes long to send the head of a request, or takes nothing of an answer.
    """

    def __init__(self, server: web.Server, **options: Any) -> None:
        super().__init__(server, **options)
        self._connections = server
        self._refused = False
        self._timer: asyncio.TimerHandle | None = None
        self._stalled: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        assert self.transport is not None
        # aiohttp forgets it when it begins to close the connection
        self._wire = self.transport
        if len(self._connections.connections) > MAX_CONNECTIONS:
            self._refused = True
            self._timer = self._loop.call_later(_REFUSED_SECONDS, self.force_close)

    def data_received(self, data: bytes) -> None:
        if self._refused:
            # not before: a client that is still sending might never see the answer
            self._end(*_FULL)
            return
        super().data_received(data)
        self._hear_of_a_broken_body()
        if self._messages or self._request_in_progress:
            self._stop_timer()
        # else it is the rest of a body that nobody has read
        elif self._timer is None and self._waiter is not None:
            self._timer = self._loop.call_later(HEAD_SECONDS, self._too_slow)

    def _hear_of_a_broken_body(self) -> None:
        """Tell whoever reads a body that there is an error in it.

        aiohttp answers that error after this request, which would wait for the rest of
        its body until then.
        """
        request = self._current_request
        if request is None or request.content.is_eof() or not self._messages:
            return
        error = self._messages[-1][0]
        if isinstance(error, _ErrInfo):
            self._messages.pop()
            request.content.set_exception(web.RequestPayloadError(error.message))
            request.content.feed_eof()
            # nothing that comes after it could be read
            self.close()

    async def start(self) -> None:
        await super().start()
        self._watch_the_rest()

    def force_close(self) -> None:
        super().force_close()
        self._watch_the_rest()

    def pause_writing(self) -> None:
        super().pause_writing()
        self._stop_stalled()
        self._watch_writing()

    def resume_writing(self) -> None:
        self._stop_stalled()
        super().resume_writing()
        self._watch_the_rest()

    def _watch_the_rest(self) -> None:
        """Watch what is left when the server closes: too little for a pause, maybe."""
        is_left = self._wire.is_closing() and self._wire.get_write_buffer_size()
        if is_left and self._stalled is None:
            self._watch_writing()

    def _watch_writing(self, before: int | None = None) -> None:
        """Look again and again whether the client takes any of what waits for it."""
        waiting = self._wire.get_write_buffer_size()
        if before is not None and waiting >= before:
            http_logger().info(
                "closed the connection of a client that stopped reading its answer"
            )
            self._wire.abort()
            return
        self._stalled = self._loop.call_later(
            STALLED_SECONDS, self._watch_writing, waiting
        )

    def _stop_stalled(self) -> None:
        if self._stalled is not None:
            self._stalled.cancel()
            self._stalled = None

    def connection_lost(self, exc: BaseException | None) -> None:
        self._stop_timer()
        self._stop_stalled()
        super().connection_lost(exc)

    def handle_error(
        self,
        request: web.BaseRequest,
        status: int = 500,
        exc: BaseException | None = None,
        message: str | None = None,
    ) -> web.StreamResponse:
        if isinstance(exc, LineTooLong):
            status = 431
            message = (
                "The request line or a header is too long. "
                f"The limit is {MAX_HEADER} bytes.\n"
            )
        return super().handle_error(request, status, exc, message)

    def _too_slow(self) -> None:
        if not self._request_in_progress:
            self._end(*_SLOW)

    def _stop_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _end(self, status: bytes, text: bytes) -> None:
        if self.transport is not None:
            self.transport.write(
                b"HTTP/1.1 %s\r\nContent-Type: text/plain; charset=utf-8\r\n"
                b"Content-Length: %d\r\nConnection: close\r\n\r\n%s"
                % (status, len(text), text)
            )
        self.force_close()


def has_token(request: web.BaseRequest, token: str) -> bool:
    """Tell whether a request brings the token that this run of the server made."""
    brought = request.headers.get(TOKEN_HEADER, "")
    # aiohttp gives bytes that are no UTF-8 as surrogates
    return hmac.compare_digest(brought.encode(errors="surrogateescape"), token.encode())


def check_host(request: web.BaseRequest) -> None:
    """Refuse a request that was meant for a host of another name.

    A web page can give its own name the address 127.0.0.1 (DNS rebinding); a browser
    then lets it read what this server answers. The name is still in the Host header.

    Raises:
        web.HTTPMisdirectedRequest: Host is neither a loopback name nor the address
            that the client has reached.
        web.HTTPBadRequest: there is not one Host, or no version that has one.
    """
    if request.version not in (aiohttp.HttpVersion10, aiohttp.HttpVersion11):
        text = "This server supports only HTTP/1.0 and HTTP/1.1.\n"
        raise _closing(web.HTTPBadRequest(text=text))
    hosts = request.headers.getall(hdrs.HOST, [])
    target = request.raw_path
    if request.method != hdrs.METH_CONNECT and not target.startswith(("/", "*")):
        # "GET http://HOST/path": then the Host header says nothing
        hosts = [*hosts, urlsplit(target).netloc]
    elif len(hosts) != 1 and (hosts or request.version >= aiohttp.HttpVersion11):
        text = "A request must have exactly one Host header.\n"
        raise _closing(web.HTTPBadRequest(text=text))
    sockname = request.get_extra_info("sockname")
    for host in hosts:
        if host.lower() not in _own_names(*sockname[:2]):
            text = (
                f"This server does not serve the host {printable(host)}. "
                "Use localhost instead.\n"
            )
            raise _closing(web.HTTPMisdirectedRequest(text=text))


@functools.lru_cache
def _own_names(address: str, port: int) -> frozenset[str]:
    reached = f"[{address}]" if ":" in address else address
    names = ("localhost", "127.0.0.1", "[::1]", reached)
    return frozenset(f"{name}{end}" for name in names for end in ("", f":{port}"))


async def read_body(request: web.BaseRequest) -> bytes:
    """Read the whole body.

    Raises:
        web.HTTPRequestEntityTooLarge: it has more than MAX_BODY bytes.
        web.HTTPRequestTimeout: it took more than BODY_SECONDS.
        web.HTTPBadRequest: it is not what its headers say, or the client has gone.
    """
    if (request.content_length or 0) > MAX_BODY:
        raise _too_large()
    expects = request.headers.get(hdrs.EXPECT, "").lower()
    waits = expects == "100-continue" and request.version >= aiohttp.HttpVersion11
    # for a web.Request, an application's, aiohttp does so itself
    if waits and not isinstance(request, web.Request):
        await request.writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
    chunks, size = [], 0
    try:
        async with asyncio.timeout(BODY_SECONDS):
            async for chunk in request.content.iter_any():
                size += len(chunk)
                if size > MAX_BODY:
                    raise _too_large()
                chunks.append(chunk)
    except TimeoutError:
        text = f"The request body took more than {BODY_SECONDS:g} seconds.\n"
        raise _closing(web.HTTPRequestTimeout(text=text)) from None
    except web.RequestPayloadError as error:
        text = f"The server cannot read the body: {printable(str(error))}.\n"
        raise _closing(web.HTTPBadRequest(text=text)) from None
    except ConnectionError:
        text = "The client disconnected before the end of the body.\n"
        raise _closing(web.HTTPBadRequest(text=text)) from None
    return b"".join(chunks)


def _too_large() -> web.HTTPException:
    text = f"The request body is too large. The limit is {MAX_BODY} bytes.\n"
    return _closing(
        web.HTTPRequestEntityTooLarge(max_size=MAX_BODY, actual_size=0, text=text)
    )


def _closing(error: web.HTTPException) -> web.HTTPException:
    """Return an answer after which the connection is closed."""
    error.force_close()
    return error


def _make_request(
    message: Any,
    payload: Any,
    protocol: Any,
    writer: Any,
    task: "asyncio.Task[None]",
) -> web.BaseRequest:
    loop = asyncio.get_running_loop()
    return web.BaseRequest(
        message, payload, protocol, writer, task, loop, client_max_size=MAX_BODY
    )
