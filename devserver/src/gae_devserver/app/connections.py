"""The HTTP connections to one process of the app, each for one request at a time.

They use aiohttp's parser of answers, but not its client session, which takes three
times as long for a request.
"""

import asyncio
import collections
import contextlib
import dataclasses
import re
from collections.abc import AsyncIterator

import aiohttp
from aiohttp.client_proto import ResponseHandler
from aiohttp.http_exceptions import HttpProcessingError
from multidict import CIMultiDict, CIMultiDictProxy

# gunicorn closes a connection that is idle for 2 seconds; a request sent at that
# moment is lost
_KEEP_ALIVE_SECONDS = 1.0
_MAX_CONNECTIONS = 512
MAX_HEADER_LINE = 64 * 2**10
"""Bytes in a line of an answer's head: more than App Engine sends on."""
MAX_HEADERS = 4096
"""Headers of an answer: more than App Engine sends on."""
_FORBIDDEN = re.compile(r"[\x00-\x08\x0a-\x1f\x7f]")
_WITHOUT_BODY = frozenset(["GET", "HEAD", "OPTIONS", "TRACE"])


class NotConnectedError(Exception):
    """The process refuses connections; the cause says why."""


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


@dataclasses.dataclass(frozen=True, slots=True)
class Reply:
    """What a process of the app has answered; its body may still arrive."""

    status: int
    reason: str
    headers: CIMultiDictProxy[str]
    raw_headers: tuple[tuple[bytes, bytes], ...]
    content: aiohttp.StreamReader
    """The body, which is not decompressed."""
    connection: ResponseHandler

    @property
    def content_length(self) -> int | None:
        """The number of bytes that the body has, if a header says so."""
        # the parser refuses another value
        text = self.headers.get("Content-Length")
        return None if text is None else int(text)

    def close(self) -> None:
        """Close the connection, unless the body has arrived: the app need not wait."""
        if self.connection.should_close:
            self.connection.abort()


class Connections:
    """Open connections to an address, most of which are kept for another request."""

    def __init__(self, port: int, socket_path: str | None) -> None:
        """Connect to a Unix socket, or to a port on 127.0.0.1."""
        self._port = port
        self._socket_path = socket_path
        self._free = asyncio.Semaphore(_MAX_CONNECTIONS)
        self._open: set[ResponseHandler] = set()
        # each with the time from which it is idle, the last one at the end
        self._idle: collections.deque[tuple[float, ResponseHandler]] = (
            collections.deque()
        )
        self._cleanup: asyncio.TimerHandle | None = None

    @contextlib.asynccontextmanager
    async def send(self, request: Request) -> AsyncIterator[Reply]:
        """Send a request; the answer has to be read in the context.

        Raises:
            NotConnectedError: nothing was sent.
            aiohttp.ClientError: the connection broke; the app may have run the request.
            ValueError: the request cannot be written as HTTP.
        """
        data = _head_of(request)
        async with self._free:
            connection = self._kept()
            if connection is None:
                connection = await self._connect()
            transport = connection.transport
            assert transport is not None
            is_answered = False
            try:
                connection.set_response_params(
                    skip_payload=request.method == "HEAD",
                    read_until_eof=True,
                    auto_decompress=False,
                    max_line_size=MAX_HEADER_LINE,
                    max_field_size=MAX_HEADER_LINE,
                    max_headers=MAX_HEADERS,
                )
                # `writelines` of Python 3.12 and 3.13 tries forever to send no bytes
                transport.write(data + (request.body or b""))
                reply = await self._reply(connection, request)
                is_answered = True
                yield reply
            finally:
                # the next request must not get an answer, or the rest of one, to this
                if (
                    is_answered
                    and not connection.should_close
                    and not transport.get_write_buffer_size()
                ):
                    self._keep(connection)
                else:
                    transport.abort()
                    self._open.discard(connection)

    async def _reply(self, connection: ResponseHandler, request: Request) -> Reply:
        code = 100
        try:
            while 100 <= code < 200 and code != 101:
                message, body = await connection.read()
                code = message.code
        except HttpProcessingError as error:
            url = f"http://127.0.0.1:{self._port}{request.target}"
            raise aiohttp.ClientError(
                f"{error.code}, message={error.message!r}, url={url!r}"
            ) from error
        except (aiohttp.ClientOSError, aiohttp.ServerDisconnectedError) as error:
            raise aiohttp.ClientOSError(
                None, "the receiver closed the connection before it answered"
            ) from error
        return Reply(
            code,
            message.reason,
            message.headers,
            message.raw_headers,
            body,
            connection,
        )

    def _kept(self) -> ResponseHandler | None:
        """Return a connection that has just become idle, if there is one."""
        now = asyncio.get_running_loop().time()
        while self._idle:
            since, connection = self._idle.pop()
            if (
                connection.is_connected()
                and not connection.should_close
                and now - since < _KEEP_ALIVE_SECONDS
            ):
                return connection
            self._drop(connection)
        return None

    async def _connect(self) -> ResponseHandler:
        loop = asyncio.get_running_loop()
        connection = ResponseHandler(loop)
        try:
            if self._socket_path is not None:
                await loop.create_unix_connection(lambda: connection, self._socket_path)
            else:
                await loop.create_connection(
                    lambda: connection, "127.0.0.1", self._port
                )
        except OSError as error:
            raise NotConnectedError from error
        self._open.add(connection)
        return connection

    def _keep(self, connection: ResponseHandler) -> None:
        loop = asyncio.get_running_loop()
        self._idle.append((loop.time(), connection))
        if self._cleanup is None:
            self._cleanup = loop.call_later(_KEEP_ALIVE_SECONDS, self._clean_up)

    def _clean_up(self) -> None:
        """Close the connections that are idle for too long."""
        loop = asyncio.get_running_loop()
        end = loop.time() - _KEEP_ALIVE_SECONDS
        while self._idle and self._idle[0][0] <= end:
            self._drop(self._idle.popleft()[1])
        self._cleanup = None
        if self._idle:
            later = self._idle[0][0] + _KEEP_ALIVE_SECONDS
            self._cleanup = loop.call_at(later, self._clean_up)

    def _drop(self, connection: ResponseHandler) -> None:
        self._open.discard(connection)
        connection.close()

    def close(self) -> None:
        """Close all connections, also those whose requests run."""
        if self._cleanup is not None:
            self._cleanup.cancel()
            self._cleanup = None
        self._idle.clear()
        for connection in self._open:
            if connection.transport is not None:
                connection.transport.abort()
        self._open.clear()


def _head_of(request: Request) -> bytes:
    lines = [f"{request.method} {request.target} HTTP/1.1"]
    lines += [f"{name}: {value}" for name, value in request.headers.items()]
    if (
        request.body is None
        and request.method not in _WITHOUT_BODY
        and "Content-Length" not in request.headers
    ):
        lines.append("Content-Length: 0")
    if _FORBIDDEN.search("".join(lines)):
        raise ValueError(
            "Forbidden control character detected in headers. "
            "Potential header injection attack."
        )
    return "\r\n".join((*lines, "", "")).encode()
