"""The headers of gRPC's requests and answers, in the compression of HTTP/2 (HPACK)."""

from collections.abc import Iterable
from dataclasses import dataclass
from urllib.parse import quote

from hpack import Decoder, Encoder, HPACKError, NeverIndexedHeaderTuple

from gae_devserver.rpc.frames import Code, Http2Error
from gae_devserver.rpc.http2 import MOST_HEADERS
from gae_devserver.rpc.method import TICKET_HEADER
from gae_devserver.rpc.status import StatusCode

# header blocks of a connection that are kept, and the bytes of each
_KNOWN = 64
_KNOWN_BYTES = 2**10
_SECONDS = {"H": 3600.0, "M": 60.0, "S": 1.0, "m": 1e-3, "u": 1e-6, "n": 1e-9}
_TIMEOUT_DIGITS = 8
# bytes of an error: each of them may become three, and clients take 8 KiB
_TEXT_BYTES = 2500
# printable ASCII
_SAFE = "".join(map(chr, range(0x20, 0x7F))).replace("%", "")


@dataclass(frozen=True, slots=True)
class Head:
    """What the headers of a request say."""

    path: str
    is_grpc: bool
    timeout: float | None
    """Seconds that the client waits."""
    encoding: str
    ticket: str | None
    """The request of the app that makes the RPC."""


class HeadReader:
    """Reads the headers of one connection.

    A client sends nearly the same headers with each RPC, which become the same bytes.
    So those that leave the decoder as it was are decoded once.
    """

    def __init__(self) -> None:
        self._decoder = Decoder(MOST_HEADERS)
        self._known: dict[bytes, Head] = {}

    def read(self, block: bytes) -> Head:
        """Return what a complete header block says.

        Raises:
            Http2Error: it cannot be decoded.
        """
        head = self._known.get(block)
        if head is not None:
            return head
        before = self._state()
        try:
            head = _head(self._decoder.decode(block, raw=True))
        except HPACKError as error:
            text = f"the headers cannot be decoded: {error}"
            raise Http2Error(Code.COMPRESSION_ERROR, text) from None
        if self._state() != before or len(self._known) == _KNOWN:
            self._known.clear()
        elif len(block) <= _KNOWN_BYTES:
            self._known[block] = head
        return head

    def _state(self) -> tuple[object, ...]:
        """Return all that a block may change, and on which its meaning depends."""
        table = self._decoder.header_table
        return table.maxsize, *table.dynamic_entries


def _head(fields: Iterable[tuple[bytes, bytes]]) -> Head:
    headers = {
        name.decode("latin-1"): value.decode("latin-1") for name, value in fields
    }
    media_type = headers.get("content-type", "")
    return Head(
        headers.get(":path", ""),
        headers.get(":method") == "POST"
        and (media_type + "+").startswith(("application/grpc+", "application/grpc;")),
        _seconds(headers.get("grpc-timeout", "")),
        headers.get("grpc-encoding", "identity"),
        headers.get(TICKET_HEADER),
    )


def _seconds(timeout: str) -> float | None:
    """Return a timeout in seconds; None: there is none, or it has another form."""
    digits, unit = timeout[:-1], timeout[-1:]
    if len(digits) > _TIMEOUT_DIGITS or not (digits.isascii() and digits.isdigit()):
        return None
    seconds = _SECONDS.get(unit)
    return None if seconds is None else int(digits) * seconds


def _encode(*fields: tuple[str, str]) -> bytes:
    """Return headers in a form that changes no decoder, so that it fits always."""
    return Encoder().encode(
        (NeverIndexedHeaderTuple(*map(str.encode, field)) for field in fields),
        huffman=False,
    )


_STATUS = (":status", "200"), ("content-type", "application/grpc")
ANSWER = _encode(*_STATUS, ("grpc-accept-encoding", "identity, deflate, gzip"))
"""The headers before a message."""
SUCCESS = _encode(("grpc-status", "0"))
"""The trailers after it."""
NOT_GRPC = _encode((":status", "415"))
"""All of the answer to a request that is none of gRPC."""


def failure(code: StatusCode, text: str) -> bytes:
    """Return all of the answer that is an error."""
    encoded = text.encode(errors="replace")
    if len(encoded) > _TEXT_BYTES:
        # clients refuse a larger one
        encoded = encoded[:_TEXT_BYTES].decode(errors="ignore").encode() + b" ..."
    message = quote(encoded, safe=_SAFE)
    return _encode(*_STATUS, ("grpc-status", str(int(code))), ("grpc-message", message))
