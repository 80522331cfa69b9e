"""One client's connection, closed if the client is slow or the port is full."""

import asyncio

from aiohttp import EMPTY_PAYLOAD, StreamReader, web
from aiohttp.http_exceptions import LineTooLong

from gae_devserver.http.body_memory import BodyMemory
from gae_devserver.http.limits import Limits
from gae_devserver.http.log import http_logger
from gae_devserver.http.parsed import last_body, take_error
from gae_devserver.http.unread_answers import UnreadAnswer

_FULL = b"429 Too Many Requests", b"This port has too many connections.\n"
_SLOW = b"408 Request Timeout", b"The request line and headers took too long.\n"


class Connection(web.RequestHandler):
    """aiohttp's connection with the limits that aiohttp does not have.

    They are on the number of connections, on the time for the head of a request, and on
    the time without reading an answer. An error in a body reaches its reader at once. A
    client that closes its half of the connection gets its answers.
    """

    def __init__(
        self, server: web.Server, limits: Limits, body_memory: BodyMemory
    ) -> None:
        """Make a connection of `server`."""
        super().__init__(
            server,
            loop=asyncio.get_running_loop(),
            access_log=None,  # type: ignore[arg-type] # documented
            # a megabyte may decompress to a gigabyte and block the event loop
            auto_decompress=False,
            keepalive_timeout=limits.idle_seconds,
            lingering_time=limits.lingering_seconds,
            logger=http_logger(),
            max_field_size=limits.header,
            max_headers=limits.headers,
            max_line_size=limits.target,
        )
        self.limits = limits
        self._body_memory = body_memory
        self._memory_taken = 0
        self._server = server
        self._first_byte: asyncio.TimerHandle | None = None
        # answers 408 if the head is not complete in time
        self._head_timer: asyncio.TimerHandle | None = None
        # the body of the latest request, and whether it was answered
        self._body: StreamReader = EMPTY_PAYLOAD
        self._answered = True
        # the client has closed its half, and waits for answers
        self._is_last = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Start the timers; mark the connection as refused if the port is full."""
        assert isinstance(transport, asyncio.WriteTransport)
        self._unread = UnreadAnswer(transport, self.limits.stalled_seconds)
        super().connection_made(transport)
        limits = self.limits
        beyond = len(self._server.connections) - limits.connections
        self._refused = beyond > 0
        if beyond > limits.refused:
            # each of them is an open file
            self._end(*_FULL)
            return
        seconds = limits.refused_seconds if self._refused else limits.idle_seconds
        # aiohttp before 3.14 waits for the first byte without a limit
        loop = asyncio.get_running_loop()
        self._first_byte = loop.call_later(seconds, self.force_close)

    def data_received(self, data: bytes) -> None:
        """Limit the time for a head from its first byte on."""
        if self._first_byte is not None:
            self._first_byte.cancel()
            self._first_byte = None
        if self._refused:
            # a client that is still sending might never see an earlier answer
            self._end(*_FULL)
            return
        # other data may be the rest of a body, and no head follows it
        begins_head = bool(data) and self._answered and self._body.is_eof()
        super().data_received(data)
        self._fail_broken_body()
        is_incomplete = begins_head and last_body(self) is None
        if is_incomplete and self._head_timer is None:
            loop = asyncio.get_running_loop()
            self._head_timer = loop.call_later(
                self.limits.head_seconds, self._end, *_SLOW
            )

    def request_began(self, body: StreamReader) -> None:
        """Note that a complete head has come, and which body follows it."""
        self._stop_head_timer()
        self._body, self._answered = body, False
        self._fail_broken_body()

    async def finish_response(
        self,
        request: web.BaseRequest,
        resp: web.StreamResponse,
        start_time: float | None,
    ) -> tuple[web.StreamResponse, bool]:
        """Send the answer. The next bytes may start another request."""
        try:
            return await super().finish_response(request, resp, start_time)
        finally:
            self._answered = True
            if self._is_last and last_body(self) is None:
                self.close()

    def eof_received(self) -> bool:  # type: ignore[override] # asyncio's may return it
        """Stay open for the answer if the client closed its half after a request.

        A client that is gone looks the same until it gets the answer.
        """
        body = last_body(self)
        if body is None and not self._answered:
            body = self._body
        self._is_last = body is not None and body.is_eof()
        return self._is_last

    @property
    def is_last(self) -> bool:
        """Whether the client sends no more: it waits for answers, or is gone."""
        return self._is_last

    async def take_memory(self, size: int) -> None:
        """Take memory for the body of the request, unless it is small or has it.

        Raises:
            TimeoutError: the bodies of other requests have too much of it.
        """
        if size > max(self.limits.small_body, self._memory_taken):
            await self._body_memory.take(size)
            self._memory_taken = size

    def give_back_memory(self, keep: int = 0) -> None:
        """Return the memory of the request's body, or what is more than `keep`."""
        if self._memory_taken > keep:
            self._body_memory.give_back(self._memory_taken - keep)
            self._memory_taken = keep

    def _fail_broken_body(self) -> None:
        """Pass an error in the body to the handler that reads it."""
        if self._answered or self._body.is_eof():
            return
        error = take_error(self)
        if error is not None:
            self._body.set_exception(web.RequestPayloadError(error))
            self._body.feed_eof()
            # where the next request begins is unknown
            self.close()

    async def start(self) -> None:
        """Handle requests until the server closes the connection."""
        await super().start()
        self._unread.watch_if_closing()

    def force_close(self) -> None:
        """Close the connection when what is written was sent."""
        super().force_close()
        self._unread.watch_if_closing()

    def pause_writing(self) -> None:
        """Watch whether the client reads its answer."""
        super().pause_writing()
        self._unread.watch()

    def resume_writing(self) -> None:
        """Stop watching: the client has read enough."""
        self._unread.stop()
        super().resume_writing()
        self._unread.watch_if_closing()

    def connection_lost(self, exc: BaseException | None) -> None:
        """Stop all timers."""
        if self._first_byte is not None:
            self._first_byte.cancel()
        self._stop_head_timer()
        self._unread.stop()
        super().connection_lost(exc)

    def handle_error(
        self,
        request: web.BaseRequest,
        status: int = 500,
        exc: BaseException | None = None,
        message: str | None = None,
    ) -> web.StreamResponse:
        """Answer 431 to a line that is too long, without repeating it."""
        if isinstance(exc, LineTooLong):
            status = 431
            message = (
                "The URL or a header is too long. The limits are "
                f"{self.limits.target} and {self.limits.header} bytes.\n"
            )
        return super().handle_error(request, status, exc, message)

    def _stop_head_timer(self) -> None:
        if self._head_timer is not None:
            self._head_timer.cancel()
            self._head_timer = None

    def _end(self, status: bytes, text: bytes) -> None:
        if self.transport is not None:
            self.transport.write(
                b"HTTP/1.1 %s\r\nContent-Type: text/plain; charset=utf-8\r\n"
                b"Content-Length: %d\r\nConnection: close\r\n\r\n%s"
                % (status, len(text), text)
            )
        self.force_close()
