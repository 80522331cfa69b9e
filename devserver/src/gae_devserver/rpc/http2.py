"""The HTTP/2 of a client (RFC 9113), as far as all streams have it in common."""

import abc
import asyncio

from gae_devserver.http.unread_answers import UnreadAnswer
from gae_devserver.rpc import frames
from gae_devserver.rpc.frames import Code, Http2Error, Kind, Setting, check

MOST_HEADERS = 2**16
"""Bytes of the headers of a request, compressed or not."""

# bytes that wait for a client until nothing more of it is read
_MOST_UNREAD = 2**20
_SETTINGS_ACK = frames.frame(Kind.SETTINGS, frames.ACK, 0)


class Http2Connection(asyncio.Protocol, abc.ABC):
    """Reads frames; what they mean for a stream is up to a class that derives."""

    def __init__(
        self, begin: bytes, handshake_seconds: float, stalled_seconds: float
    ) -> None:
        """Make a connection that begins with the frames `begin`.

        It is closed unless the client sends its settings in time, and if it reads
        nothing of what waits for it for `stalled_seconds`.
        """
        self._begin = begin
        self._handshake_seconds = handshake_seconds
        self._stalled_seconds = stalled_seconds
        self._began = False
        self._data = b""
        # the headers whose end is missing: the stream, the flags, and what is there
        self._headers: tuple[int, int, bytearray] | None = None
        self.is_paused = False
        """Whether enough bytes wait for the client."""
        self.last_stream = 0
        """The last stream that the client has begun."""
        self.replies: list[bytes] = []
        """What the client gets after what it has sent was read."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Tell the client the settings."""
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        self._unread = UnreadAnswer(self._transport, self._stalled_seconds)
        loop = asyncio.get_running_loop()
        self._handshake = loop.call_later(self._handshake_seconds, self.abort)
        self._transport.write(self._begin)

    def data_received(self, data: bytes) -> None:
        """Read all complete frames."""
        if self._data:
            data = self._data + data
        try:
            self._data = data[self._read(data) :]
        except Http2Error as error:
            self.close(error.code, str(error))
            return
        if self.replies:
            self.write(b"".join(self.replies))
            self.replies.clear()
        # after the replies: a client takes more since its settings are acknowledged
        self.send_waiting()
        # such as the answers to pings, and errors, which no window holds back
        if self._transport.get_write_buffer_size() > _MOST_UNREAD:
            self._transport.pause_reading()

    def pause_writing(self) -> None:
        """Send no more of large answers; watch whether the client reads them."""
        self.is_paused = True
        self._unread.watch()

    def resume_writing(self) -> None:
        """Go on."""
        self.is_paused = False
        self._unread.stop()
        self._transport.resume_reading()
        self.send_waiting()
        self._unread.watch_if_closing()

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget all streams."""
        self._handshake.cancel()
        self._unread.stop()
        self.forget_all()

    def abort(self) -> None:
        """Close the connection whether or not the client reads what is left."""
        self._transport.abort()

    @abc.abstractmethod
    def read_headers(self, flags: int, number: int, block: bytes) -> None:
        """Begin or end a stream."""

    @abc.abstractmethod
    def read_data(self, flags: int, number: int, payload: bytes) -> None:
        """Add to a stream."""

    @abc.abstractmethod
    def widen(self, number: int, size: int) -> None:
        """Note that the client takes more of a stream; 0: of all together."""

    @abc.abstractmethod
    def set_window(self, size: int) -> None:
        """Note how much the client takes of each stream before it is widened."""

    @abc.abstractmethod
    def reset(self, number: int) -> None:
        """End a stream without an answer."""

    @abc.abstractmethod
    def forget_all(self) -> None:
        """End all streams without an answer."""

    @abc.abstractmethod
    def send_waiting(self) -> None:
        """Send what the client takes of the answers that wait."""

    def write(self, data: bytes) -> None:
        """Send frames, unless the connection is closed."""
        # asyncio warns of writes after the client is gone
        if not self._transport.is_closing():
            self._transport.write(data)

    def close(self, code: Code, text: str = "") -> None:
        """Close the connection, and tell the client why."""
        self.forget_all()
        self.write(frames.go_away(self.last_stream, code, text))
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
            is_allowed = end - begin <= frames.MOST
            check(is_allowed, "the frame is too large", Code.FRAME_SIZE_ERROR)
            if not self._began:
                check(kind == Kind.SETTINGS, "the settings are missing")
                self._began = True
                self._handshake.cancel()
            if end > size:
                break
            self._read_frame(kind, flags, number & 0x7FFFFFFF, data[begin:end])
            at = end
        # the preface is read again together with the settings
        return at if self._began else 0

    def _read_frame(self, kind: int, flags: int, number: int, payload: bytes) -> None:
        if self._headers is not None:
            check(kind == Kind.CONTINUATION, "the headers are not complete")
        if kind == Kind.DATA:
            self.read_data(flags, number, payload)
        elif kind == Kind.HEADERS:
            check(number % 2, "the stream has an even number")
            block = frames.unpadded(flags, payload)
            if flags & frames.END_HEADERS:
                self.read_headers(flags, number, block)
            else:
                self._headers = number, flags, bytearray(block)
        elif kind == Kind.CONTINUATION:
            self._continue_headers(flags, number, payload)
        elif kind == Kind.WINDOW_UPDATE:
            self.widen(number, frames.read_number(payload))
        elif kind == Kind.RST_STREAM:
            frames.read_number(payload)
            check(0 < number <= self.last_stream, "the stream has not begun")
            self.reset(number)
        elif kind == Kind.SETTINGS:
            if not flags & frames.ACK:
                self._read_settings(payload)
        elif kind == Kind.PING:
            check(len(payload) == 8, "the ping has a wrong size", Code.FRAME_SIZE_ERROR)
            if not flags & frames.ACK:
                self.replies.append(frames.frame(Kind.PING, frames.ACK, 0, payload))
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
        is_allowed = len(block) <= MOST_HEADERS
        check(is_allowed, "the headers are too large", Code.ENHANCE_YOUR_CALM)
        if flags & frames.END_HEADERS:
            self._headers = None
            self.read_headers(begin_flags, number, bytes(block))

    def _read_settings(self, payload: bytes) -> None:
        for name, value in frames.read_settings(payload):
            if name == Setting.INITIAL_WINDOW_SIZE:
                is_allowed = value <= frames.LARGEST_WINDOW
                check(is_allowed, "the window is too wide", Code.FLOW_CONTROL_ERROR)
                self.set_window(value)
        self.replies.append(_SETTINGS_ACK)
