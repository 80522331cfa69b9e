"""The message of a unary RPC, which arrives in parts, compressed or not."""

import zlib

from gae_devserver.rpc.errors import (
    ResourceExhaustedError,
    RpcError,
    UnimplementedError,
)

PREFIX = 5
"""Bytes before a message: whether it is compressed, and its size."""

_WBITS = {"gzip": 16 + zlib.MAX_WBITS, "deflate": zlib.MAX_WBITS}


def prefixed(message: bytes) -> bytes:
    """Return a message as it is sent."""
    return b"\0" + len(message).to_bytes(4) + message


class RequestBody:
    """Collects a message of at most `most` bytes, also after decompression."""

    __slots__ = ("_data", "_most")

    def __init__(self, most: int) -> None:
        """Begin without a byte."""
        self._most = most
        self._data: bytes | bytearray = b""

    def add(self, data: bytes) -> None:
        """Add a part.

        Raises:
            RpcError: the message is too large, or more than one.
        """
        if not self._data:
            self._data = data
        else:
            if isinstance(self._data, bytes):
                self._data = bytearray(self._data)
            self._data += data
        if len(self._data) < PREFIX:
            return
        size = int.from_bytes(self._data[1:PREFIX])
        if size > self._most:
            raise self._too_large(f"{size} bytes")
        if len(self._data) > PREFIX + size:
            raise RpcError("The request has more than one message.")

    def message(self, encoding: str) -> bytes:
        """Return the message, which is complete.

        Raises:
            RpcError: it is not, or it cannot be decompressed.
        """
        data = self._data
        if len(data) < PREFIX or len(data) < PREFIX + int.from_bytes(data[1:PREFIX]):
            raise RpcError("The message of the request is incomplete.")
        if not data[0]:
            return bytes(memoryview(data)[PREFIX:])
        wbits = _WBITS.get(encoding)
        if wbits is None:
            raise UnimplementedError(
                f"The compression {encoding!r} is not supported: use gzip or deflate."
            )
        unzip = zlib.decompressobj(wbits)
        try:
            message = unzip.decompress(memoryview(data)[PREFIX:], self._most + 1)
        except zlib.error as error:
            text = f"The message of the request is not {encoding}: {error}."
            raise RpcError(text) from None
        if len(message) > self._most:
            raise self._too_large("larger")
        if not unzip.eof:
            raise RpcError("The compressed message of the request is incomplete.")
        return message

    def _too_large(self, size: str) -> RpcError:
        return ResourceExhaustedError(
            f"The request has too many bytes: {size}; the limit is {self._most}."
        )
