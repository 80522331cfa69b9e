"""A connection of gRPC: unary RPCs over the HTTP/2 of one client.

gRPC's own server needs its package in this process (17 MB, 0.1 s of the start), and
several turns of the event loop for each RPC. An RPC here is one task, and one write.
"""

import asyncio
import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from gae_devserver.memory import FreeMemory
from gae_devserver.rpc import frames, heads
from gae_devserver.rpc.errors import (
    DeadlineExceededError,
    RpcError,
    UnavailableError,
    UnimplementedError,
)
from gae_devserver.rpc.frames import Code, Kind, Setting, check
from gae_devserver.rpc.http2 import MOST_HEADERS, Http2Connection
from gae_devserver.rpc.method import Method
from gae_devserver.rpc.request_body import PREFIX, RequestBody, prefixed

logger = logging.getLogger("gae_devserver")

# RPCs of a connection at a time; clients keep more of them until others end
_MOST_STREAMS = 1000
# bytes of a request that a client sends at once
_STREAM_WINDOW = 2**20
_WINDOW = 2**24
# parts of a large answer that are written at once: the heads of frames, and their data
_PARTS = 16
# bytes of a request whose memory is worth returning to the system
_LARGE = 2**20
# seconds below which no time is left: clients round a deadline up to milliseconds
_SHORTEST_TIME = 0.001

_BEGIN = frames.settings(
    {
        Setting.MAX_CONCURRENT_STREAMS: _MOST_STREAMS,
        Setting.INITIAL_WINDOW_SIZE: _STREAM_WINDOW,
        Setting.MAX_HEADER_LIST_SIZE: MOST_HEADERS,
    }
) + frames.window_update(0, _WINDOW - frames.WINDOW)
_LAST_HEADERS = frames.END_HEADERS | frames.END_STREAM


@dataclass(frozen=True)
class Service:
    """What all connections of a port serve, and their limits."""

    methods: Mapping[str, Method]
    """The RPCs by their paths."""
    message: int
    """Bytes of a request, also after decompression."""
    handshake_seconds: float
    """Time in which the client sends its settings."""
    stalled_seconds: float
    """Time without reading any of what waits for the client."""
    free_memory: FreeMemory


class _Stream:
    """One RPC."""

    __slots__ = (
        "body",
        "deadline",
        "head",
        "number",
        "received",
        "rest",
        "task",
        "timer",
        "unacknowledged",
        "window",
    )

    def __init__(self, number: int, head: heads.Head, most: int, window: int) -> None:
        self.number = number
        self.head = head
        self.body = RequestBody(most)
        self.received = False
        """Whether the request is complete."""
        self.unacknowledged = 0
        """Bytes received since the client was last allowed more."""
        self.window = window
        """Bytes that the client takes."""
        self.rest = memoryview(b"")
        """What is not yet sent of the answer."""
        self.deadline: float | None = None
        self.timer: asyncio.TimerHandle | None = None
        self.task: asyncio.Task[None] | None = None


class GrpcConnection(Http2Connection):
    """Serves the RPCs of one client until one of both closes the connection."""

    def __init__(
        self, service: Service, lost: Callable[["GrpcConnection"], Any]
    ) -> None:
        """Make a connection; `lost` is called when it is closed."""
        super().__init__(_BEGIN, service.handshake_seconds, service.stalled_seconds)
        self._service = service
        self._lost = lost
        self._loop = asyncio.get_running_loop()
        self._heads = heads.HeadReader()
        self._streams: dict[int, _Stream] = {}
        # those whose answers wait for the client, in this order
        self._waiting: dict[int, _Stream] = {}
        # those that were cancelled and have not ended
        self._ending: set[asyncio.Task[None]] = set()
        self._unacknowledged = 0
        # bytes that the client takes: of all streams, and of a new one
        self._window = self._stream_window = frames.WINDOW

    def stop(self) -> set[asyncio.Task[None]]:
        """Cancel the RPCs and close the connection; return tasks that end soon."""
        for stream in list(self._streams.values()):
            self._fail(stream, UnavailableError("The dev server stops."))
        self.close(Code.NO_ERROR)
        return set(self._ending)

    def connection_lost(self, exc: Exception | None) -> None:
        """Cancel the RPCs."""
        super().connection_lost(exc)
        self._lost(self)

    def read_headers(self, flags: int, number: int, block: bytes) -> None:
        """Begin an RPC, or end its request."""
        head = self._heads.read(block)
        if number <= self.last_stream:
            # the end of a request, or of a stream that has ended
            check(flags & frames.END_STREAM, "a stream begins twice")
            if (stream := self._streams.get(number)) is not None:
                self._end(stream)
            return
        self.last_stream = number
        if len(self._streams) + len(self._ending) >= _MOST_STREAMS:
            self.replies.append(frames.reset(number, Code.REFUSED_STREAM))
            return
        if not head.is_grpc:
            refusal = frames.frame(Kind.HEADERS, _LAST_HEADERS, number, heads.NOT_GRPC)
            self.replies += refusal, frames.reset(number, Code.NO_ERROR)
            return
        stream = _Stream(number, head, self._service.message, self._stream_window)
        self._streams[number] = stream
        if head.timeout is not None:
            stream.deadline = self._loop.time() + head.timeout
            stream.timer = self._loop.call_at(stream.deadline, self._expire, stream)
        if flags & frames.END_STREAM:
            self._end(stream)

    def read_data(self, flags: int, number: int, payload: bytes) -> None:
        """Add to the request of an RPC."""
        check(0 < number <= self.last_stream, "the stream has not begun")
        self._unacknowledged += len(payload)
        if self._unacknowledged > _WINDOW // 2:
            self.replies.append(frames.window_update(0, self._unacknowledged))
            self._unacknowledged = 0
        stream = self._streams.get(number)
        if stream is None or stream.received:
            # an RPC may end before the client has sent everything
            return
        ends = flags & frames.END_STREAM
        stream.unacknowledged += len(payload)
        if stream.unacknowledged > _STREAM_WINDOW // 2 and not ends:
            self.replies.append(frames.window_update(number, stream.unacknowledged))
            stream.unacknowledged = 0
        if flags & frames.PADDED:
            payload = frames.unpadded(frames.PADDED, payload)
        try:
            stream.body.add(payload)
        except RpcError as error:
            self._fail(stream, error)
            return
        if ends:
            self._end(stream)

    def _end(self, stream: _Stream) -> None:
        """Begin the RPC: its request is complete."""
        if stream.received:
            return
        stream.received = True
        deadline = stream.deadline
        try:
            if deadline is not None and deadline - self._loop.time() < _SHORTEST_TIME:
                # a client on the same machine could still get an answer
                raise DeadlineExceededError("Deadline exceeded.")
            message = stream.body.message(stream.head.encoding)
            del stream.body
            method = self._service.methods.get(stream.head.path)
            if method is None:
                what = stream.head.path.removeprefix("/")
                raise UnimplementedError(f"the dev server does not implement {what}")
        except RpcError as error:
            self._fail(stream, error)
            return
        stream.task = self._loop.create_task(self._call(stream, method, message))

    async def _call(self, stream: _Stream, method: Method, message: bytes) -> None:
        size = len(message)
        handling = method.handle(message, stream.head.ticket)
        # the memory is free as soon as it was read
        del message
        try:
            answer = await handling
        except RpcError as error:
            self._fail(stream, error)
        except Exception:
            logger.exception("%s failed", method.name)
            self._fail(stream, RpcError("The dev server cannot send the answer."))
        else:
            self._answer(stream, answer)
        finally:
            if size > _LARGE:
                self._service.free_memory.add(size)

    def _expire(self, stream: _Stream) -> None:
        self._fail(stream, DeadlineExceededError("Deadline exceeded."))

    def _cancel(self, stream: _Stream) -> None:
        """Forget an RPC, which may still be carried out."""
        self._forget(stream)
        task = stream.task
        if task is not None and not task.done() and task is not asyncio.current_task():
            task.cancel()
            self._ending.add(task)
            task.add_done_callback(self._ending.discard)

    def reset(self, number: int) -> None:
        """Cancel an RPC."""
        if (stream := self._streams.get(number)) is not None:
            self._cancel(stream)

    def forget_all(self) -> None:
        """Cancel all RPCs."""
        for stream in list(self._streams.values()):
            self._cancel(stream)

    def _forget(self, stream: _Stream) -> None:
        del self._streams[stream.number]
        self._waiting.pop(stream.number, None)
        if stream.timer is not None:
            stream.timer.cancel()

    def _fail(self, stream: _Stream, error: RpcError) -> None:
        """Answer with an error, unless the RPC has ended."""
        number = stream.number
        if self._streams.get(number) is not stream:
            return
        if number in self._waiting:
            # a part of the answer is sent
            self.write(frames.reset(number, Code.CANCEL))
        else:
            trailers = heads.failure(error.code, str(error))
            answer = frames.frame(Kind.HEADERS, _LAST_HEADERS, number, trailers)
            if not stream.received:
                # the client need not send the rest
                answer += frames.reset(number, Code.NO_ERROR)
            self.write(answer)
        self._cancel(stream)

    def _answer(self, stream: _Stream, answer: bytes) -> None:
        """Send an answer at once if the client takes it as a whole."""
        number, size = stream.number, PREFIX + len(answer)
        if self._streams.get(number) is not stream:
            return
        parts = [
            frames.head(len(heads.ANSWER), Kind.HEADERS, frames.END_HEADERS, number),
            heads.ANSWER,
        ]
        if self.is_paused or size > min(stream.window, self._window, frames.MOST):
            self.write(b"".join(parts))
            stream.rest = memoryview(prefixed(answer))
            self._waiting[number] = stream
            self.send_waiting()
            return
        self._window -= size
        self._forget(stream)
        parts += (
            frames.head(size, Kind.DATA, 0, number),
            prefixed(answer),
            frames.head(len(heads.SUCCESS), Kind.HEADERS, _LAST_HEADERS, number),
            heads.SUCCESS,
        )
        self.write(b"".join(parts))

    def send_waiting(self) -> None:
        """Send what the client takes of the answers that wait."""
        if self._waiting:
            for stream in list(self._waiting.values()):
                self._send_rest(stream)

    def _send_rest(self, stream: _Stream) -> None:
        number = stream.number
        while stream.rest:
            if self.is_paused:
                return
            parts: list[bytes | memoryview] = []
            while stream.rest and len(parts) < _PARTS:
                size = min(len(stream.rest), stream.window, self._window, frames.MOST)
                if size <= 0:
                    break
                parts += frames.head(size, Kind.DATA, 0, number), stream.rest[:size]
                stream.rest = stream.rest[size:]
                self._window -= size
                stream.window -= size
            if not parts:
                return
            self.write(b"".join(parts))
        self._forget(stream)
        self.write(frames.frame(Kind.HEADERS, _LAST_HEADERS, number, heads.SUCCESS))

    def widen(self, number: int, size: int) -> None:
        """Note that the client takes more."""
        check(size, "the window is not wider")
        if number == 0:
            self._window += size
            window = self._window
        elif (stream := self._streams.get(number)) is not None:
            stream.window += size
            window = stream.window
        else:
            check(number <= self.last_stream, "the stream has not begun")
            return
        is_allowed = window <= frames.LARGEST_WINDOW
        check(is_allowed, "the window is too wide", Code.FLOW_CONTROL_ERROR)

    def set_window(self, size: int) -> None:
        """Note how much the client takes of each stream before it is widened."""
        for stream in self._streams.values():
            stream.window += size - self._stream_window
        self._stream_window = size
