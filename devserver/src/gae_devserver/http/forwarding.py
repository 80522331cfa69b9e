"""What of a request and of its answer is sent on, and in which form."""

import asyncio
import functools
import logging
import re
import socket
import struct
from collections.abc import Sequence

import aiohttp
from aiohttp import hdrs, web
from aiohttp.abc import AbstractStreamWriter
from multidict import CIMultiDict

logger = logging.getLogger("gae_devserver.request")

_HOP_BY_HOP = frozenset(
    [
        *("connection", "keep-alive", "proxy-connection", "te", "trailer", "upgrade"),
        *("proxy-authenticate", "proxy-authorization", "transfer-encoding"),
    ]
)
# gunicorn trusts these headers on its Unix socket: a proxy sets them to say where the
# app is mounted. The SDK keeps them in os.environ, and later requests would fail.
_OF_A_PROXY = frozenset(["script-name", "path-info"])
# the front has read the whole body before it sends it on
NOT_FORWARDED = _HOP_BY_HOP | _OF_A_PROXY | {"content-length", "expect"}
"""Headers that never go on to the app, in lower case and with `_` as `-`."""
_APP_ENGINES_OWN = ("x-appengine-", "x-google-")
# what HTTP allows, checked here too: a parser may allow more
_NAME = re.compile(rb"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_FORBIDDEN_IN_VALUE = re.compile(rb"[\x00-\x08\x0a-\x1f\x7f]")


class Answer(web.StreamResponse):
    """The app's answer, sent on with the status line and headers as they came.

    aiohttp would add a Content-Type, and would leave out what is not UTF-8.
    """

    def __init__(self, answer: aiohttp.ClientResponse) -> None:
        super().__init__(status=answer.status)
        self._answer = answer
        self._sent = False
        self._keep_open = False

    @property
    def prepared(self) -> bool:
        """Whether the answer has begun to be sent."""
        return self._sent

    @property
    def keep_alive(self) -> bool:
        """Whether the connection can take another request."""
        return self._keep_open

    async def write_eof(self, data: bytes = b"") -> None:
        """Do nothing: `prepare` has sent all."""

    async def prepare(self, request: web.BaseRequest) -> AbstractStreamWriter | None:
        """Send all of it."""
        if not self._sent:
            self._sent = True
            async with self._answer:
                await self._send(request)
        return None

    async def _send(self, request: web.BaseRequest) -> None:
        answer, writer = self._answer, request.writer
        http_1_1 = request.version >= aiohttp.HttpVersion11
        has_body = not (
            request.method == hdrs.METH_HEAD
            or answer.status in (204, 304)
            or answer.status < 200
        )
        chunked = has_body and hdrs.CONTENT_LENGTH not in answer.headers and http_1_1
        ends = not has_body or chunked or hdrs.CONTENT_LENGTH in answer.headers
        self._keep_open = request.keep_alive and ends
        reason = (answer.reason or "").encode("utf-8", "surrogateescape")
        head = [b"HTTP/1.1 %d %s" % (answer.status, reason)]
        for name, value in answer.raw_headers:
            if name.decode("latin-1").lower() not in _HOP_BY_HOP:
                head.append(b"%s: %s" % (name, value))
        if chunked:
            head.append(b"Transfer-Encoding: chunked")
        if not self._keep_open:
            head.append(b"Connection: close")
        elif not http_1_1:
            head.append(b"Connection: keep-alive")
        data = b"\r\n".join([*head, b"", b""])
        try:
            if has_body and not chunked:
                # in most cases this is all of the body: one packet in place of two
                data += await answer.content.readany()
            await writer.write(data)
            if has_body:
                async for data in answer.content.iter_any():
                    frame = b"%x\r\n%s\r\n" % (len(data), data) if chunked else data
                    await writer.write(frame)
            if chunked:
                await writer.write(b"0\r\n\r\n")
        except ConnectionError:
            # the client has gone
            raise
        except aiohttp.ClientError as error:
            logger.warning("the app did not complete its answer: %s", reason_of(error))
            self._keep_open = False
            _reset(request.transport)


def _reset(transport: asyncio.Transport | None) -> None:
    """Tell the client that this is not all: the end of a connection may be one."""
    if transport is not None:
        sock = transport.get_extra_info("socket")
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        transport.abort()


@functools.lru_cache(maxsize=1024)
def _folded(name: bytes) -> str:
    """Return a header's name as WSGI sees it: one for a hundred spellings."""
    return name.decode("latin-1").strip().lower().replace("_", "-")


def headers_from_outside(
    raw_headers: Sequence[tuple[bytes, bytes]],
) -> CIMultiDict[str]:
    """Return the headers that a request from outside may carry into the app.

    Raises:
        ValueError: a header is not as HTTP has it, or its value is not UTF-8, and
            aiohttp can send no other.
    """
    dropped = set(NOT_FORWARDED)
    for name, value in raw_headers:
        if not _NAME.fullmatch(name) or _FORBIDDEN_IN_VALUE.search(value):
            raise ValueError(f"the header {name!r} has a character that HTTP forbids")
        if _folded(name) == "connection":
            dropped.update(_folded(token) for token in value.split(b","))
    dropped.discard("host")
    headers: CIMultiDict[str] = CIMultiDict()
    spelling: dict[bytes, str] = {}
    for name, value in raw_headers:
        folded = _folded(name)
        if folded not in dropped and not folded.startswith(_APP_ENGINES_OWN):
            # aiohttp would lose one of two that differ only in case
            spelled = spelling.setdefault(name.lower(), name.decode("ascii"))
            headers.add(spelled, value.decode("utf-8"))
    return headers


def reason_of(error: Exception) -> str:
    """Return an error's text without the noise that aiohttp puts around it."""
    if isinstance(error, aiohttp.ClientOSError):
        return error.strerror or str(error)
    return str(error) or type(error).__name__
