"""A connection of gRPC: unary RPCs over the HTTP/2 of one client.

gRPC's own server needs its package in this process (17 MB, 0.1 s of the start), and
several turns of the event loop for each RPC. An RPC here is one task, and one write.
"""

import asyncio
import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from gae_devserver.http.limits import DEFAULT_LIMITS
from gae_devserver.http.unread_answers import UnreadAnswer
from gae_devserver.memory import FreeMemory
from gae_devserver.rpc import frames, heads
from gae_devserver.rpc.errors import (
    DeadlineExceededError,
    RpcError,
    UnavailableError,
    UnimplementedError,
)
from gae_devserver.rpc.frames import Code, Http2Error, Kind, Setting, check
from gae_devserver.rpc.method import Method
from gae_devserver.rpc.request_body import PREFIX, RequestBody, prefixed

logger = logging.getLogger("gae_devserver")

# RPCs of a connection at a time; clients keep more of them until others end
_MOST_STREAMS = 1000
# bytes of a request that a client sends at once
_STREAM_WINDOW = 2**20
_WINDOW = 2**24
# bytes that wait for a client until nothing more of it is read
_MOST_UNREAD = 2**20
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
        Setting.MAX_HEADER_LIST_SIZE: heads.MOST,
    }
) + frames.window_update(0, _WINDOW - frames.WINDOW)
_SETTINGS_ACK = frames.frame(Kind.SETTINGS, frames.ACK, 0)
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
    free_memory: FreeMemory
    stalled_seconds: float = DEFAULT_LIMITS.stalled_seconds
    """Time without reading any of an answer that waits."""


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


class GrpcConnection(asyncio.Protocol):
    """Serves the RPCs of one client until one of both closes the connection."""

    def __init__(
        self, service: Service, lost: Callable[["GrpcConnection"], Any]
    ) -> None:
        """Make a connection; `lost` is called when it is closed."""
        self._service = service
        self._lost = lost
        self._loop = asyncio.get_running_loop()
        self._heads = heads.HeadReader()
        self._began = False
        self._data = b""
        # what the client gets after what it has sent was read
        self._replies: list[bytes] = []
        self._headers: tuple[int, int, bytearray] | None = None
        self._streams: dict[int, _Stream] = {}
        # those whose answers wait for the client, in this order
        self._waiting: dict[int, _Stream] = {}
        # those that were cancelled and have not ended
        self._ending: set[asyncio.Task[None]] = set()
        self._last_stream = 0
        self._unacknowledged = 0
        # bytes that the client takes: of all streams, and of a new one
        self._window = self._stream_window = frames.WINDOW
        self._is_paused = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Tell the client the settings."""
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        self._unread = UnreadAnswer(transport, self._service.stalled_seconds)
        seconds = self._service.handshake_seconds
        self._handshake = self._loop.call_later(seconds, transport.abort)
        transport.write(_BEGIN)

    def data_received(self, data: bytes) -> None:
        """Read all complete frames."""
        if self._data:
            data = self._data + data
        try:
            self._data = data[self._read(data) :]
        except Http2Error as error:
            self._close(error.code, str(error))
            return
        if self._replies:
            self._transport.write(b"".join(self._replies))
            self._replies.clear()
            # such as the answers to pings, which need no reading of answers
            if self._transport.get_write_buffer_size() > _MOST_UNREAD:
                self._transport.pause_reading()
        # after the replies: a client takes more since its settings are acknowledged
        self._send_waiting()

    def pause_writing(self) -> None:
        """Send no more of large answers; watch whether the client reads them."""
        self._is_paused = True
        self._unread.watch()

    def resume_writing(self) -> None:
        """Go on."""
        self._is_paused = False
        self._unread.stop()
        self._transport.resume_reading()
        self._send_waiting()

    def connection_lost(self, exc: Exception | None) -> None:
        """Cancel the RPCs."""
        self._handshake.cancel()
        self._unread.stop()
        self._cancel_all()
        self._lost(self)

    def stop(self) -> set[asyncio.Task[None]]:
        """Cancel the RPCs and close the connection; return tasks that end soon."""
        for stream in list(self._streams.values()):
            self._fail(stream, UnavailableError("The dev server stops."))
        self._close(Code.NO_ERROR)
        return set(self._ending)

    def abort(self) -> None:
        """Close the connection whether or not the client reads what is left."""
        self._transport.abort()

    def _close(self, code: Code, text: str = "") -> None:
        self._cancel_all()
        self._transport.write(frames.go_away(self._last_stream, code, text))
        self._transport.close()
        self._unread.watch_if_closing()

    def _read(self, data: bytes) -> int:
        """Carry out the frames; return where the first incomplete one begins."""
        at = 0
        if not self._began:
            if len(data) < len(frames.PREFACE):
                check(frames.PREFACE.startswith(data), "the preface is another one")
                return 0
            check(data.startswith(frames.PREFACE), "the preface is another one")
            at = len(frames.PREFACE)
        size, header = len(data), frames.HEADER
        while at + header.size <= size:
            high, low, kind, flags, number = header.unpack_from(data, at)
            begin = at + header.size
            end = begin + (high << 16) + low
            check(
                end - begin <= frames.MOST,
                "the frame is too large",
                Code.FRAME_SIZE_ERROR,
            )
            if not self._began:
                check(kind == Kind.SETTINGS, "the settings are missing")
                self._began = True
                self._handshake.cancel()
            if end > size:
                break
            self._read_frame(kind, flags, number & 0x7FFFFFFF, data[begin:end])
            at = end
        return at

    def _read_frame(self, kind: int, flags: int, number: int, payload: bytes) -> None:
        if self._headers is not None:
            check(kind == Kind.CONTINUATION, "the headers are not complete")
        if kind == Kind.DATA:
            self._read_data(flags, number, payload)
        elif kind == Kind.HEADERS:
            check(number % 2, "the stream has an even number")
            block = frames.unpadded(flags, payload)
            if flags & frames.END_HEADERS:
                self._read_headers(flags, number, block)
            else:
                self._headers = number, flags, bytearray(block)
        elif kind == Kind.CONTINUATION:
            self._continue_headers(flags, number, payload)
        elif kind == Kind.WINDOW_UPDATE:
            self._widen(number, frames.read_number(payload))
        elif kind == Kind.RST_STREAM:
            frames.read_number(payload)
            check(0 < number <= self._last_stream, "the stream has not begun")
            if (stream := self._streams.get(number)) is not None:
                self._cancel(stream)
        elif kind == Kind.SETTINGS:
            if not flags & frames.ACK:
                self._set(payload)
        elif kind == Kind.PING:
            check(len(payload) == 8, "the ping has a wrong size", Code.FRAME_SIZE_ERROR)
            if not flags & frames.ACK:
                self._replies.append(frames.frame(Kind.PING, frames.ACK, 0, payload))
        else:
            check(kind != Kind.PUSH_PROMISE, "only servers push")

    def _continue_headers(self, flags: int, number: int, payload: bytes) -> None:
        check(self._headers is not None, "there are no headers to continue")
        assert self._headers is not None
        of, begin_flags, block = self._headers
        check(number == of, "the headers of another stream are not complete")
        # an empty frame is work as well
        check(payload, "the headers have an empty part", Code.ENHANCE_YOUR_CALM)
        block += payload
        check(
            len(block) <= heads.MOST,
            "the headers are too large",
            Code.ENHANCE_YOUR_CALM,
        )
        if flags & frames.END_HEADERS:
            self._headers = None
            self._read_headers(begin_flags, number, bytes(block))

    def _read_headers(self, flags: int, number: int, block: bytes) -> None:
        head = self._heads.read(block)
        if number <= self._last_stream:
            # the end of a request, or of a stream that has ended
            check(flags & frames.END_STREAM, "a stream begins twice")
            if (stream := self._streams.get(number)) is not None:
                self._end(stream)
            return
        self._last_stream = number
        if len(self._streams) + len(self._ending) >= _MOST_STREAMS:
            self._replies.append(frames.reset(number, Code.REFUSED_STREAM))
            return
        if not head.is_grpc:
            refusal = frames.frame(Kind.HEADERS, _LAST_HEADERS, number, heads.NOT_GRPC)
            self._replies += refusal, frames.reset(number, Code.NO_ERROR)
            return
        stream = _Stream(number, head, self._service.message, self._stream_window)
        self._streams[number] = stream
        if head.timeout is not None:
            stream.deadline = self._loop.time() + head.timeout
            stream.timer = self._loop.call_at(stream.deadline, self._expire, stream)
        if flags & frames.END_STREAM:
            self._end(stream)

    def _read_data(self, flags: int, number: int, payload: bytes) -> None:
        check(0 < number <= self._last_stream, "the stream has not begun")
        self._unacknowledged += len(payload)
        if self._unacknowledged > _WINDOW // 2:
            self._replies.append(frames.window_update(0, self._unacknowledged))
            self._unacknowledged = 0
        stream = self._streams.get(number)
        if stream is None or stream.received:
            # an RPC may end before the client has sent everything
            return
        ends = flags & frames.END_STREAM
        stream.unacknowledged += len(payload)
        if stream.unacknowledged > _STREAM_WINDOW // 2 and not ends:
            self._replies.append(frames.window_update(number, stream.unacknowledged))
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

    def _cancel_all(self) -> None:
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
            self._transport.write(frames.reset(number, Code.NO_ERROR))
        else:
            trailers = heads.failure(error.code, str(error))
            answer = frames.frame(Kind.HEADERS, _LAST_HEADERS, number, trailers)
            if not stream.received:
                # the client need not send the rest
                answer += frames.reset(number, Code.NO_ERROR)
            self._transport.write(answer)
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
        if self._is_paused or size > min(stream.window, self._window, frames.MOST):
            self._transport.write(b"".join(parts))
            stream.rest = memoryview(prefixed(answer))
            self._waiting[number] = stream
            self._send_waiting()
            return
        self._window -= size
        self._forget(stream)
        parts += (
            frames.head(size, Kind.DATA, 0, number),
            prefixed(answer),
            frames.head(len(heads.SUCCESS), Kind.HEADERS, _LAST_HEADERS, number),
            heads.SUCCESS,
        )
        self._transport.write(b"".join(parts))

    def _send_waiting(self) -> None:
        """Send what the client takes of the answers that wait."""
        if self._waiting:
            for stream in list(self._waiting.values()):
                self._send_rest(stream)

    def _send_rest(self, stream: _Stream) -> None:
        number = stream.number
        while stream.rest:
            if self._is_paused:
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
            self._transport.write(b"".join(parts))
        self._forget(stream)
        self._transport.write(
            frames.frame(Kind.HEADERS, _LAST_HEADERS, number, heads.SUCCESS)
        )

    def _widen(self, number: int, size: int) -> None:
        """Note that the client takes more."""
        check(size, "the window is not wider")
        if number == 0:
            self._window += size
            window = self._window
        elif (stream := self._streams.get(number)) is not None:
            stream.window += size
            window = stream.window
        else:
            check(number <= self._last_stream, "the stream has not begun")
            return
        check(
            window <= frames.LARGEST_WINDOW,
            "the window is too wide",
            Code.FLOW_CONTROL_ERROR,
        )

    def _set(self, payload: bytes) -> None:
        """Note the settings of the client."""
        for name, value in frames.read_settings(payload):
            if name == Setting.INITIAL_WINDOW_SIZE:
                check(
                    value <= frames.LARGEST_WINDOW,
                    "the window is too wide",
                    Code.FLOW_CONTROL_ERROR,
                )
                for stream in self._streams.values():
                    stream.window += value - self._stream_window
                self._stream_window = value
        self._replies.append(_SETTINGS_ACK)
