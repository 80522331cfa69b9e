"""The frames of HTTP/2 (RFC 9113) that this server reads and writes."""

import enum
import struct
from collections.abc import Iterator

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
"""The first bytes of a client."""
HEADER = struct.Struct(">BHBBL")
"""The length of a frame's payload in two parts, its kind, its flags, its stream."""
MOST = 2**14
"""Bytes of a payload that each side takes, whatever its settings say."""
WINDOW = 2**16 - 1
"""Bytes of data that each side takes unless its settings say otherwise."""
LARGEST_WINDOW = 2**31 - 1


class Kind(enum.IntEnum):
    """What a frame is."""

    DATA = 0
    HEADERS = 1
    PRIORITY = 2
    RST_STREAM = 3
    SETTINGS = 4
    PUSH_PROMISE = 5
    PING = 6
    GOAWAY = 7
    WINDOW_UPDATE = 8
    CONTINUATION = 9


# flags; ACK and END_STREAM belong to different frames
ACK = 0x1
END_STREAM = 0x1
END_HEADERS = 0x4
PADDED = 0x8
PRIORITY = 0x20


class Code(enum.IntEnum):
    """Why a stream or a connection ends."""

    NO_ERROR = 0
    PROTOCOL_ERROR = 1
    FLOW_CONTROL_ERROR = 3
    FRAME_SIZE_ERROR = 6
    REFUSED_STREAM = 7
    CANCEL = 8
    COMPRESSION_ERROR = 9
    ENHANCE_YOUR_CALM = 11


class Setting(enum.IntEnum):
    """The settings that have an effect here."""

    MAX_CONCURRENT_STREAMS = 3
    INITIAL_WINDOW_SIZE = 4
    MAX_HEADER_LIST_SIZE = 6


class Http2Error(Exception):
    """The client breaks the rules of HTTP/2, and the connection ends."""

    def __init__(self, code: Code, text: str) -> None:
        """End the connection for a reason; the text is for the client's developers."""
        super().__init__(text)
        self.code = code


def check(condition: object, text: str, code: Code = Code.PROTOCOL_ERROR) -> None:
    """End the connection unless `condition` holds.

    Raises:
        Http2Error: it does not.
    """
    if not condition:
        raise Http2Error(code, text)


def frame(kind: Kind, flags: int, stream: int, payload: bytes = b"") -> bytes:
    """Return a frame."""
    return head(len(payload), kind, flags, stream) + payload


def head(size: int, kind: Kind, flags: int, stream: int) -> bytes:
    """Return the first bytes of a frame, after which its payload follows."""
    return HEADER.pack(size >> 16, size & 0xFFFF, kind, flags, stream)


def settings(values: dict[Setting, int]) -> bytes:
    """Return a frame with settings."""
    pairs = (struct.pack(">HL", name, value) for name, value in values.items())
    return frame(Kind.SETTINGS, 0, 0, b"".join(pairs))


def read_settings(payload: bytes) -> Iterator[tuple[int, int]]:
    """Yield the name and the value of each setting.

    Raises:
        Http2Error: the frame is cut.
    """
    cut = len(payload) % 6
    check(not cut, "the settings are cut", Code.FRAME_SIZE_ERROR)
    yield from struct.iter_unpack(">HL", payload)


def read_number(payload: bytes) -> int:
    """Return the number that is all of a frame's payload, without its highest bit.

    Raises:
        Http2Error: the payload has another size.
    """
    check(len(payload) == 4, "the frame has a wrong size", Code.FRAME_SIZE_ERROR)
    return int.from_bytes(payload) & LARGEST_WINDOW


def window_update(stream: int, size: int) -> bytes:
    """Return a frame that lets the client send `size` bytes more."""
    return frame(Kind.WINDOW_UPDATE, 0, stream, size.to_bytes(4))


def reset(stream: int, code: Code) -> bytes:
    """Return a frame that ends a stream."""
    return frame(Kind.RST_STREAM, 0, stream, code.to_bytes(4))


def go_away(last: int, code: Code, text: str = "") -> bytes:
    """Return a frame that ends a connection, which has carried streams up to `last`."""
    return frame(Kind.GOAWAY, 0, 0, struct.pack(">LL", last, code) + text.encode())


def unpadded(flags: int, payload: bytes) -> bytes:
    """Return the payload of DATA or HEADERS without padding and priority.

    Raises:
        Http2Error: the payload is too short for them.
    """
    begin, end = 0, len(payload)
    if flags & PADDED:
        check(payload, "the padding is missing", Code.FRAME_SIZE_ERROR)
        begin, end = 1, end - payload[0]
    if flags & PRIORITY:
        begin += 5
    check(begin <= end, "the padding is larger than the frame")
    return payload[begin:end]
