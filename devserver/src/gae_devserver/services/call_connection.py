"""API calls over Unix sockets: what the app's own processes use instead of HTTP.

HTTP takes longer than most calls do. Here a connection begins with one byte from the
server. Then the client sends a call, gets the answer, and may send the next call:

    call    4 bytes: the length N, big-endian; N bytes: a Request of the remote API
    answer  4 bytes: the length N, big-endian; N bytes: a Response

Large calls still come over HTTP, which limits the memory for them. The client is in
`gae_devserver_sdk`.
"""

import asyncio
import contextlib
import logging
import socket
import struct
from collections.abc import Awaitable, Callable, Coroutine

from gae_devserver.app import open_files
from gae_devserver.http.limits import DEFAULT_LIMITS, Limits

logger = logging.getLogger("gae_devserver")

GREETING = b"\1"
LENGTH = struct.Struct("!I")
_PAUSE = 1.0
"""Seconds without new connections after one could not be accepted."""

Answer = Callable[[bytes], Awaitable[bytes]]
"""Takes a Request of the remote API and returns the Response, both encoded."""


class CallServer:
    """Serves listening sockets in the running event loop."""

    def __init__(self, answer: Answer, limits: Limits = DEFAULT_LIMITS) -> None:
        """Have `answer` carry out the calls."""
        self.answer = answer
        self.limits = limits
        self.connections: set[CallConnection] = set()
        self._most = open_files.connections_of_a_port(limits.connections)
        self._loop = asyncio.get_running_loop()
        self._listeners: set[socket.socket] = set()
        self._tasks: set[asyncio.Task[None]] = set()

    def serve(self, listener: socket.socket) -> Callable[[], None]:
        """Serve a listening socket; return what closes it. Any thread may call both."""
        self._in_loop(lambda: self._listen(listener))
        return lambda: self._in_loop(lambda: self._close(listener))

    def spawn(self, coroutine: Coroutine[object, object, None]) -> None:
        """Run a coroutine, and keep it from being collected meanwhile."""
        task = self._loop.create_task(coroutine)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def stop(self) -> None:
        """Close all sockets and connections."""
        for listener in list(self._listeners):
            self._close(listener)
        for connection in list(self.connections):
            connection.abort()

    def _in_loop(self, call: Callable[[], object]) -> None:
        # a loop that is closed has closed the sockets
        with contextlib.suppress(RuntimeError):
            self._loop.call_soon_threadsafe(call)

    def _listen(self, listener: socket.socket) -> None:
        self._listeners.add(listener)
        self._resume(listener)

    def _resume(self, listener: socket.socket) -> None:
        if listener in self._listeners:
            self._loop.add_reader(listener.fileno(), self._accept, listener)

    def _close(self, listener: socket.socket) -> None:
        if listener in self._listeners:
            self._listeners.remove(listener)
            self._loop.remove_reader(listener.fileno())
        listener.close()

    def _accept(self, listener: socket.socket) -> None:
        try:
            accepted, _ = listener.accept()
        except BlockingIOError:
            return  # the client is gone
        except OSError:  # such as too many open files, which stays so for a while
            self._loop.remove_reader(listener.fileno())
            self._loop.call_later(_PAUSE, self._resume, listener)
            return
        if len(self.connections) >= self._most:
            accepted.close()  # without a greeting: the client uses HTTP
            return
        accepted.setblocking(False)
        self.spawn(self._connect(accepted))

    async def _connect(self, accepted: socket.socket) -> None:
        try:
            await self._loop.connect_accepted_socket(
                lambda: CallConnection(self), accepted
            )
        except OSError:
            accepted.close()


class CallConnection(asyncio.Protocol):
    """One connection, with one call at a time."""

    def __init__(self, server: CallServer) -> None:
        """Make a connection of `server`."""
        self._server = server
        self._received = bytearray()
        self._longest = LENGTH.size + server.limits.small_body
        self._seconds = server.limits.body_seconds
        self._is_busy = False
        """Whether a call has been received and is not answered yet."""
        self._slow: asyncio.TimerHandle | None = None
        self._transport: asyncio.Transport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Greet the client."""
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        self._server.connections.add(self)
        transport.write(GREETING)

    def connection_lost(self, exc: BaseException | None) -> None:
        """Forget the connection; a call that is complete is still carried out."""
        self._server.connections.discard(self)
        self._stop_timer()
        self._received.clear()

    def abort(self) -> None:
        """Close the connection at once."""
        self._transport.abort()

    def data_received(self, data: bytes) -> None:
        """Carry out a call when it is complete."""
        received = self._received
        received += data
        if len(received) < LENGTH.size:
            missing = True
        else:
            end = LENGTH.size + LENGTH.unpack_from(received)[0]
            if self._is_busy or len(received) > end or end > self._longest:
                self.abort()  # not the client that belongs to this server
                return
            missing = len(received) < end
        if missing:
            if self._slow is None:
                loop = asyncio.get_running_loop()
                self._slow = loop.call_later(self._seconds, self.abort)
            return
        self._stop_timer()
        call = bytes(received[LENGTH.size :])
        received.clear()
        self._is_busy = True
        self._server.spawn(self._carry_out(call))

    async def _carry_out(self, call: bytes) -> None:
        try:
            answer = await self._server.answer(call)
        except Exception:
            logger.exception("an API call failed inside the dev server")
            self.abort()
            return
        self._is_busy = False
        self._transport.write(LENGTH.pack(len(answer)) + answer)

    def _stop_timer(self) -> None:
        if self._slow is not None:
            self._slow.cancel()
            self._slow = None
