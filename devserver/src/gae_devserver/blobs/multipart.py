"""Reads a multipart/form-data body piece by piece, so that files of any size fit."""

import re
from collections.abc import AsyncIterator
from email.message import Message

from gae_devserver.http.forwarding import is_valid

_MAX_HEAD = 16 * 2**10
_MAX_PADDING = 128
# RFC 2046, 5.1.1
_BOUNDARY = re.compile(r"[0-9A-Za-z'()+_,./:=? -]{0,69}[0-9A-Za-z'()+_,./:=?-]")


class MultipartError(ValueError):
    """A body is not the form that its Content-Type announces; the text says why."""


def boundary_of(content_type: str) -> str:
    """Return the boundary of a form.

    Raises:
        MultipartError: the Content-Type has none, or is of something else.
    """
    message = Message()
    message["Content-Type"] = content_type
    if message.get_content_type() != "multipart/form-data":
        raise MultipartError(
            "its Content-Type is not multipart/form-data; give the form "
            'enctype="multipart/form-data"'
        )
    boundary = message.get_boundary() or ""
    if not _BOUNDARY.fullmatch(boundary):
        raise MultipartError("its Content-Type has no valid boundary")
    return boundary


async def parse(
    body: AsyncIterator[bytes], boundary: str
) -> AsyncIterator[Message | bytes]:
    """Yield the headers of each part, and after them its content in pieces.

    Raises:
        MultipartError: the body is malformed.
    """
    form = _Form(body, boundary)
    async for _ in form.content():
        pass  # what precedes the first boundary has no meaning
    while not form.ended:
        yield await form.headers()
        async for data in form.content():
            yield data
    async for _ in body:
        pass


class _Form:
    """A form, read from one delimiter to the next."""

    def __init__(self, body: AsyncIterator[bytes], boundary: str) -> None:
        self.ended = False
        self._body = body
        self._delimiter = b"\r\n--" + boundary.encode()
        # the first delimiter may begin the body, without an empty line
        self._buffer = bytearray(b"\r\n")

    async def content(self) -> AsyncIterator[bytes]:
        """Yield what comes before the next delimiter, and pass the delimiter."""
        while True:
            at = self._buffer.find(self._delimiter)
            if at < 0:
                # a delimiter may begin at the end of what has come
                if (size := len(self._buffer) - len(self._delimiter) + 1) > 0:
                    yield self._take(size)
                await self._read_more()
                continue
            if at > 0:
                yield self._take(at)
            if await self._pass_delimiter():
                return
            yield self._take(len(self._delimiter))

    async def headers(self) -> Message:
        """Return the headers of a part."""
        while (at := self._buffer.find(b"\r\n\r\n")) < 0:
            if len(self._buffer) > _MAX_HEAD:
                break
            await self._read_more()
        if not 0 <= at <= _MAX_HEAD:
            raise MultipartError("the headers of a part are too long")
        return _headers(self._take(at + 4)[2:-4])

    async def _pass_delimiter(self) -> bool:
        """Return False if the delimiter is only the beginning of a longer line.

        The end of its line stays: it is the beginning of the headers.
        """
        size = len(self._delimiter)
        while True:
            rest = bytes(self._buffer[size : size + _MAX_PADDING])
            line = rest.lstrip(b" \t")
            if rest.startswith(b"--"):
                self.ended = True
                return True
            if line.startswith(b"\r\n"):
                self._take(size + len(rest) - len(line))
                return True
            may_follow = line in {b"", b"\r"} or rest == b"-"
            if not may_follow or len(rest) == _MAX_PADDING:
                return False
            await self._read_more()

    def _take(self, size: int) -> bytes:
        taken = bytes(self._buffer[:size])
        del self._buffer[:size]
        return taken

    async def _read_more(self) -> None:
        try:
            self._buffer += await anext(self._body)
        except StopAsyncIteration:
            raise MultipartError("it ends before its last boundary") from None


def _headers(head: bytes) -> Message:
    headers = Message()
    for line in head.split(b"\r\n") if head else ():
        name, _, value = line.partition(b":")
        if not is_valid(name, value):
            raise MultipartError(f"a part has the malformed header {line[:80]!r}")
        try:
            headers[name.decode()] = value.strip().decode()
        except UnicodeDecodeError:
            raise MultipartError(
                f"the header {line[:80]!r} of a part is not UTF-8; serve the page with "
                "the form as UTF-8"
            ) from None
    return headers
