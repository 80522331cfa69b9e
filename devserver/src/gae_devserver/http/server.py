"""What all HTTP ports share: the server, its limits, and the check of Host."""

import asyncio
import contextlib
import dataclasses
import functools
import hmac
import socket
from collections.abc import AsyncGenerator, Awaitable, Callable
from typing import Any
from urllib.parse import urlsplit

import aiohttp
from aiohttp import hdrs, web

from gae_devserver.app import open_files
from gae_devserver.http.body_memory import BodyMemory
from gae_devserver.http.connection import Connection
from gae_devserver.http.limits import DEFAULT_LIMITS, Limits
from gae_devserver.http.sockets import BACKLOG
from gae_devserver.terminal import printable

TOKEN_HEADER = "X-Devserver-Token"

ACCEPTED_AT_ONCE = 16
"""Connections that asyncio accepts before the first of them can be refused."""

# an open keep-alive connection must not delay the end of the server
_SHUTDOWN_SECONDS = 0.2

Handler = Callable[[web.BaseRequest], Awaitable[web.StreamResponse]]


class HttpServer:
    """A handler, or an application with routes, on listening sockets."""

    def __init__(
        self,
        serves: Handler | web.Application,
        limits: Limits = DEFAULT_LIMITS,
    ) -> None:
        """Make a server that passes bodies on as they are, compressed or not."""
        self._limits = limits
        self._web_runner: web.BaseRunner
        if isinstance(serves, web.Application):
            self._web_runner = web.AppRunner(serves)
        else:
            self._web_runner = web.ServerRunner(web.Server(serves))
        self._connect: Callable[[], Connection]
        self._closing = contextlib.AsyncExitStack()

    async def start(self, *sockets: socket.socket) -> None:
        """Serve on listening sockets."""
        await self._set_up(self._web_runner)
        inner = self._web_runner.server
        assert inner is not None
        make_request = functools.partial(_make_request, inner.request_factory)
        handle = functools.partial(_handle, inner.request_handler)
        server = web.Server(handle, request_factory=make_request)
        await self._set_up(web.ServerRunner(server, shutdown_timeout=_SHUTDOWN_SECONDS))
        most = open_files.connections_of_a_port(self._limits.connections)
        limits = dataclasses.replace(self._limits, connections=most)
        memory = BodyMemory(limits)
        self._connect = functools.partial(Connection, server, limits, memory)
        loop = asyncio.get_running_loop()
        for sock in sockets:
            listener = await loop.create_server(
                self._connect, sock=sock, backlog=ACCEPTED_AT_ONCE
            )
            # asyncio takes the other number for this too
            sock.listen(BACKLOG)
            self._closing.callback(listener.close)

    def protocol(self) -> asyncio.Protocol:
        """Return what serves a connection that another part has accepted."""
        return self._connect()

    async def _set_up(self, runner: web.BaseRunner) -> None:
        await runner.setup()
        self._closing.push_async_callback(runner.cleanup)

    async def stop(self) -> None:
        """Close the port and its connections."""
        await self._closing.aclose()


def _make_request(
    make: Callable[..., web.BaseRequest],
    message: Any,
    body: aiohttp.StreamReader,
    connection: Any,
    *others: Any,
) -> web.BaseRequest:
    """Make the request, and tell its connection that the head is complete."""
    connection.request_began(body)
    return make(message, body, connection, *others)


async def _handle(handle: Handler, request: web.BaseRequest) -> web.StreamResponse:
    """Handle a request; then give back the memory that its body has taken."""
    connection = request.protocol
    assert isinstance(connection, Connection)
    try:
        return await handle(request)
    finally:
        connection.give_back_memory()


def has_token(request: web.BaseRequest, token: str) -> bool:
    """Return whether a request has the token of this run of the server."""
    received = request.headers.get(TOKEN_HEADER, "")
    # aiohttp decodes invalid UTF-8 to surrogates
    return hmac.compare_digest(
        received.encode(errors="surrogateescape"), token.encode()
    )


def check_host(
    request: web.BaseRequest, is_host: Callable[[str], bool] = lambda host: False
) -> str:
    """Return the host that a request names; refuse one of another server.

    A web page can resolve its own name to 127.0.0.1 (DNS rebinding), and the browser
    then lets it read the answers of this server. The Host header still has that name.

    Raises:
        web.HTTPMisdirectedRequest: the host is neither a loopback name nor the address
            that the client connected to, and `is_host` does not know it.
        web.HTTPBadRequest: there is no Host header or more than one, or the version of
            HTTP is not supported.
    """
    if request.version not in (aiohttp.HttpVersion10, aiohttp.HttpVersion11):
        text = "This server supports only HTTP/1.0 and HTTP/1.1.\n"
        raise _closing(web.HTTPBadRequest(text=text))
    hosts = request.headers.getall(hdrs.HOST, [])
    if len(hosts) != 1 and (hosts or request.version >= aiohttp.HttpVersion11):
        text = "A request must have exactly one Host header.\n"
        raise _closing(web.HTTPBadRequest(text=text))
    target = request.raw_path
    if request.method != hdrs.METH_CONNECT and not target.startswith(("/", "*")):
        # in "GET http://HOST/path", the target overrides the Host header
        hosts = [*hosts, urlsplit(target).netloc]
    sockname = request.get_extra_info("sockname")
    own = own_names(*sockname[:2])
    for host in hosts:
        if host.lower() not in own and not is_host(host):
            text = (
                f"This server does not serve the host {printable(host)}. "
                "Use localhost instead.\n"
            )
            raise _closing(web.HTTPMisdirectedRequest(text=text))
    return hosts[-1] if hosts else ""


@functools.lru_cache
def own_names(address: str, port: int) -> frozenset[str]:
    """Return the hosts in URLs of a server that a client reached at an address."""
    reached = f"[{address}]" if ":" in address else address
    names = ("localhost", "127.0.0.1", "[::1]", reached)
    return frozenset(f"{name}{end}" for name in names for end in ("", f":{port}"))


async def read_body(request: web.BaseRequest) -> bytes:
    """Read the whole body, within the limits of the port.

    Raises:
        web.HTTPServiceUnavailable: the server holds too many large bodies.
        web.HTTPException: as `body_chunks` does.
    """
    connection = request.protocol
    assert isinstance(connection, Connection)
    limits, length = connection.limits, request.content_length
    content, at_once = request.content, min(limits.small_body, limits.body)
    if (
        content.is_eof()
        and content.total_bytes <= at_once
        and content.exception() is None
        and hdrs.EXPECT not in request.headers
    ):
        # a small body mostly comes with its head, so there is nothing to wait for
        return content.read_nowait()
    if length is not None and length <= limits.body:
        await take_memory(request, length)
    chunks, size = [], 0
    try:
        async for chunk in body_chunks(request):
            size += len(chunk)
            if length is None and size > limits.small_body:
                await take_memory(request, limits.body)
            chunks.append(chunk)
        connection.give_back_memory(keep=size)
        return b"".join(chunks)
    finally:
        # The request keeps its error, whose traceback keeps this frame, which keeps the
        # request. This circle may last for minutes, and must not hold a body.
        chunks.clear()


async def body_chunks(
    request: web.BaseRequest, *, limit: int | None = None
) -> AsyncGenerator[bytes]:
    """Yield the body as it comes, of up to `limit` bytes instead of the port's limit.

    Raises:
        web.HTTPRequestEntityTooLarge: the body has too many bytes.
        web.HTTPRequestTimeout: the client took too long to send it.
        web.HTTPBadRequest: the body is malformed, or the client disconnected.
    """
    assert isinstance(request.protocol, Connection)
    limits = request.protocol.limits
    most = limits.body if limit is None else limit
    if (request.content_length or 0) > most:
        raise _too_large(most)
    expects = request.headers.get(hdrs.EXPECT, "").lower()
    waits = expects == "100-continue" and request.version >= aiohttp.HttpVersion11
    # aiohttp does this by itself for the routes of an application
    if waits and not isinstance(request, web.Request):
        await request.writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
    began, size = asyncio.get_running_loop().time(), 0
    try:
        while True:
            # a larger body may take longer, but not a slower one
            seconds = limits.body_seconds * (1 + size // limits.body)
            async with asyncio.timeout_at(began + seconds):
                chunk = await request.content.readany()
            if not chunk:
                return
            size += len(chunk)
            if size > most:
                raise _too_large(most)
            yield chunk
    except TimeoutError:
        text = f"The request body took more than {seconds:g} seconds.\n"
        raise _closing(web.HTTPRequestTimeout(text=text)) from None
    except web.RequestPayloadError as error:
        text = f"The server cannot read the body: {printable(str(error))}.\n"
        raise _closing(web.HTTPBadRequest(text=text)) from None
    except ConnectionError:
        text = "The client disconnected before the end of the body.\n"
        raise _closing(web.HTTPBadRequest(text=text)) from None


async def take_memory(request: web.BaseRequest, size: int) -> None:
    """Take memory for what is held of a body, until the request is answered.

    Raises:
        web.HTTPServiceUnavailable: the server holds too many large bodies.
    """
    connection = request.protocol
    assert isinstance(connection, Connection)
    try:
        await connection.take_memory(size)
    except TimeoutError:
        text = (
            "The server holds too many large request bodies. The limit for all of them "
            f"is {connection.limits.bodies} bytes. Send this one again later.\n"
        )
        raise _closing(web.HTTPServiceUnavailable(text=text)) from None


def _too_large(limit: int) -> web.HTTPException:
    text = f"The request body is too large. The limit is {limit} bytes.\n"
    return _closing(
        web.HTTPRequestEntityTooLarge(max_size=limit, actual_size=0, text=text)
    )


def _closing(error: web.HTTPException) -> web.HTTPException:
    """Return an answer after which the connection is closed."""
    error.force_close()
    return error
