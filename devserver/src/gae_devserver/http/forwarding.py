"""Selects and formats what is forwarded of requests and answers."""

import asyncio
import contextlib
import functools
import re
import socket
import struct
from collections.abc import Sequence

import aiohttp
from aiohttp import hdrs, web
from aiohttp.abc import AbstractStreamWriter
from multidict import CIMultiDict

from gae_devserver.app.connections import Reply
from gae_devserver.terminal import Labelled

_HOP_BY_HOP = frozenset(
    [
        "connection",
        "keep-alive",
        "proxy-authenticate",
        "proxy-authorization",
        "proxy-connection",
        "te",
        "trailer",
        "transfer-encoding",
        "upgrade",
    ]
)
# With these headers, a proxy tells gunicorn where the app is mounted. gunicorn trusts
# any client of its Unix socket, and the SDK would keep the values for later requests.
_OF_A_PROXY = frozenset(["script-name", "path-info"])
# the app names a blob in them, which is sent in place of its answer
_NOT_TO_CLIENTS = _HOP_BY_HOP | {"x-appengine-blobkey", "x-appengine-blobrange"}
# the front reads the whole body first, so these two no longer apply
NOT_FORWARDED = _HOP_BY_HOP | _OF_A_PROXY | {"content-length", "expect"}
"""Headers that are never forwarded, in lower case and with `_` as `-`."""
# App Engine sets these, or a framework takes the scheme, host or address from them
_NOT_FROM_OUTSIDE = frozenset(
    ["forwarded", "x-cloud-trace-context", "x-real-ip", "x-scheme"]
)
_PREFIXES_NOT_FROM_OUTSIDE = ("x-appengine-", "x-google-", "x-forwarded-")
SESSION_COOKIE = "gae_devserver_user_"
"""How the cookies of this server begin; the port follows.

A browser sends a cookie to all ports of a host, so an app would get those of other
servers too, and could act as their users.
"""
# what HTTP allows; the parser may allow more
_NAME = re.compile(rb"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_FORBIDDEN_IN_VALUE = re.compile(rb"[\x00-\x08\x0a-\x1f\x7f]")


class Answer(web.StreamResponse):
    """The app's answer, forwarded with its status line and headers unchanged.

    aiohttp would add a Content-Type, and drop values that are not UTF-8.
    """

    def __init__(self, answer: Reply, limit: int, log: Labelled) -> None:
        """Forward an answer whose body may have `limit` bytes."""
        super().__init__(status=answer.status)
        self._log = log
        self._answer = answer
        self._limit = limit
        self._sent = False
        self._keep_open = False

    @property
    def prepared(self) -> bool:
        """Whether sending has begun."""
        return self._sent

    @property
    def keep_alive(self) -> bool:
        """Whether another request can follow on the connection."""
        return self._keep_open

    async def write_eof(self, data: bytes = b"") -> None:
        """Do nothing: `prepare` sends everything."""

    async def prepare(self, request: web.BaseRequest) -> AbstractStreamWriter | None:
        """Send the whole answer."""
        if not self._sent:
            self._sent = True
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
            if _folded(name) not in _NOT_TO_CLIENTS:
                head.append(b"%s: %s" % (name, value))
        if chunked:
            head.append(b"Transfer-Encoding: chunked")
        if not self._keep_open:
            head.append(b"Connection: close")
        elif not http_1_1:
            head.append(b"Connection: keep-alive")
        data = b"\r\n".join([*head, b"", b""])
        size = 0
        try:
            if has_body and not chunked:
                # mostly this is the whole body: one packet instead of two
                first = await answer.content.readany()
                data, size = data + first, len(first)
            await writer.write(data)
            if has_body and not answer.content.at_eof():
                async for data in answer.content.iter_any():
                    size += len(data)
                    if size > self._limit:
                        why = too_large("the app's answer", self._limit)
                        self._log.error("the connection is cut: %s", why)
                        self._keep_open = False
                        _reset(request.transport)
                        return
                    frame = b"%x\r\n%s\r\n" % (len(data), data) if chunked else data
                    await writer.write(frame)
            if chunked:
                await writer.write(b"0\r\n\r\n")
        except ConnectionError:
            # the client disconnected
            raise
        except aiohttp.ClientError as error:
            self._log.warning(
                "the app did not complete its answer: %s", reason_of(error)
            )
            self._keep_open = False
            _reset(request.transport)


def too_large(what: str, limit: int) -> str:
    """Return why App Engine would not send an answer."""
    return f"{what} has more than {limit} bytes, which is App Engine's limit"


def _reset(transport: asyncio.Transport | None) -> None:
    """Reset the connection: its normal end may be the end of the answer."""
    if transport is not None:
        sock = transport.get_extra_info("socket")
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        transport.abort()


@functools.lru_cache(maxsize=1024)
def _folded(name: bytes) -> str:
    """Return the name to which WSGI maps all spellings of a header's name."""
    return name.decode("latin-1").strip().lower().replace("_", "-")


def is_valid(name: bytes, value: bytes) -> bool:
    """Return whether HTTP allows a header."""
    return bool(_NAME.fullmatch(name)) and not _FORBIDDEN_IN_VALUE.search(value)


def headers_from_outside(
    raw_headers: Sequence[tuple[bytes, bytes]],
) -> CIMultiDict[str]:
    """Return the headers of an outside request that are forwarded to the app.

    Raises:
        ValueError: HTTP does not allow a header, or its value is not UTF-8, so that
            aiohttp cannot send it.
    """
    dropped = set(NOT_FORWARDED | _NOT_FROM_OUTSIDE)
    for name, value in raw_headers:
        if not is_valid(name, value):
            raise ValueError(f"the header {name!r} has a character that HTTP forbids")
        if _folded(name) == "connection":
            dropped.update(_folded(token) for token in value.split(b","))
    dropped.discard("host")
    headers: CIMultiDict[str] = CIMultiDict()
    spelling: dict[bytes, str] = {}
    for name, value in raw_headers:
        folded = _folded(name)
        if folded not in dropped and not folded.startswith(_PREFIXES_NOT_FROM_OUTSIDE):
            # aiohttp drops one of two names that differ only in case
            spelled = spelling.setdefault(name.lower(), name.decode("ascii"))
            text = value.decode("utf-8")
            if folded == "cookie" and SESSION_COOKIE in text:
                text = _without_sessions(text)
                if not text:
                    continue
            headers.add(spelled, text)
    return headers


def _without_sessions(cookies: str) -> str:
    """Return the value of a Cookie header without this server's cookies."""
    kept = (
        cookie
        for cookie in cookies.split(";")
        if not cookie.strip().startswith(SESSION_COOKIE)
    )
    return ";".join(kept).strip()


async def status_of(
    sending: contextlib.AbstractAsyncContextManager[Reply | aiohttp.ClientResponse],
) -> int:
    """Send a request of the server's own; return the status after the whole answer.

    Raises:
        ConnectionError: the connection broke.
        TimeoutError: the answer was late.
    """
    try:
        async with sending as answer:
            # who answers may still be working while the body is sent
            async for _ in answer.content.iter_any():
                pass
            return answer.status
    except TimeoutError:
        raise
    except (aiohttp.ClientError, ValueError) as error:
        raise ConnectionError(reason_of(error)) from error


def reason_of(error: Exception) -> str:
    """Return an error's text without what aiohttp adds to it."""
    if isinstance(error, aiohttp.ClientOSError):
        return error.strerror or str(error)
    return str(error) or type(error).__name__
