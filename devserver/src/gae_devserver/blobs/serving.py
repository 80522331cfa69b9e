"""Answers with a blob, whole or in part, in place of an answer of the app."""

import contextlib
import logging
from collections.abc import AsyncIterator, Callable

from aiohttp import hdrs, web
from google.appengine.api import datastore, datastore_errors
from google.appengine.api.blobstore.blobstore import (
    BLOB_KEY_HEADER,
    BLOB_RANGE_HEADER,
)
from multidict import CIMultiDict

from gae_devserver.app.connections import Reply
from gae_devserver.blobs.contents import PIECE, Contents
from gae_devserver.blobs.stub import Blobstore
from gae_devserver.http.forwarding import NOT_FORWARDED
from gae_devserver.storage.storage import StorageError

logger = logging.getLogger("gae_devserver")

# with this type, too, the app leaves the type to the blobstore
_AUTO = "application/vnd.google.appengine.auto"
_NOT_SENT = NOT_FORWARDED | {BLOB_KEY_HEADER.lower(), BLOB_RANGE_HEADER.lower()}


class BlobSender:
    """Sends the blobs that answers of the app name in X-AppEngine-BlobKey."""

    def __init__(self, stub: Callable[[], Blobstore]) -> None:
        """Send blobs of the stub that `stub` returns."""
        self._stub = stub

    def replace(self, request: web.BaseRequest, answer: Reply) -> web.StreamResponse:
        """Return the blob, with the answer's headers, in place of its body."""
        # or the app would wait until its body is read
        answer.close()
        key = answer.headers[BLOB_KEY_HEADER]
        if answer.status != 200:
            return _failed(
                f"status {answer.status} of an answer with a blob is not 200"
            )
        headers: CIMultiDict[str] = CIMultiDict()
        for raw_name, raw_value in answer.raw_headers:
            name = raw_name.decode("latin-1")
            if name.lower().replace("_", "-") not in _NOT_SENT:
                headers.add(name, raw_value.decode("utf-8", "replace"))
        asked = request.headers.get(hdrs.RANGE)
        wanted = answer.headers.get(BLOB_RANGE_HEADER, asked)
        # the SDK's send_blob repeats the client's range
        if wanted == asked and not _applies(request, headers):
            wanted = None
        return self.send(request, key, headers, wanted)

    def send(
        self,
        request: web.BaseRequest,
        key: str,
        headers: CIMultiDict[str],
        wanted: str | None,
    ) -> web.StreamResponse:
        """Return a blob, or the range of it that is `wanted`."""
        stub = self._stub()
        try:
            size = stub.contents.size(key)
            info = datastore.Get(stub.ToDatastoreBlobKey(key))
        except datastore_errors.Error:
            size = None
        except StorageError as error:
            return _failed(str(error))
        if size is None:
            return _failed(f"there is no blob with the key {key!r}")
        # "None" is what Flask makes of the None that the SDK asks for
        chosen = headers.get(hdrs.CONTENT_TYPE, "")
        if "/" not in chosen or chosen == _AUTO:
            content_type = info.get("content_type") or "application/octet-stream"
            headers[hdrs.CONTENT_TYPE] = content_type
        start, end, status = 0, size, 200
        if wanted:
            try:
                start, end = _range(wanted, size)
            except ValueError:
                headers.popall(hdrs.CONTENT_TYPE)
                headers[hdrs.CONTENT_RANGE] = f"bytes */{size}"
                return web.Response(status=416, headers=headers)
            headers[hdrs.CONTENT_RANGE] = f"bytes {start}-{end - 1}/{size}"
            status = 206
        headers[hdrs.CONTENT_LENGTH] = str(end - start)
        has_body = request.method != hdrs.METH_HEAD and end > start
        pieces = _pieces(request, stub.contents, key, start, end) if has_body else None
        return web.Response(status=status, headers=headers, body=pieces)


async def _pieces(
    request: web.BaseRequest, contents: Contents, key: str, start: int, end: int
) -> AsyncIterator[bytes]:
    while start < end:
        data = b""
        with contextlib.suppress(StorageError):
            data = contents.read(key, start, min(PIECE, end - start))
        if not data:
            # or the client would wait for the rest
            logger.error("the connection is cut: the blob %r was deleted", key)
            if request.transport is not None:
                request.transport.abort()
            raise ConnectionResetError
        yield data
        start += len(data)


def _range(header: str, size: int) -> tuple[int, int]:
    """Return the first byte of a range, and the one after its last.

    Raises:
        ValueError: the header has another form, or nothing of the range exists. Like
            App Engine, this server sends only one range.
    """
    unit, _, numbers = header.partition("=")
    first, dash, last = (text.strip() for text in numbers.partition("-"))
    if unit.strip().lower() != "bytes" or not dash:
        raise ValueError(header)
    if not first:
        length = _number(last)
        start, end = max(0, size - length), size
    else:
        start, end = _number(first), min(size, _number(last) + 1 if last else size)
    if start >= end:
        raise ValueError(header)
    return start, end


def _number(text: str) -> int:
    if not (text.isascii() and text.isdigit()):
        raise ValueError(text)
    return int(text[:18])  # more bytes than any blob has


def _applies(request: web.BaseRequest, headers: CIMultiDict[str]) -> bool:
    """Return whether a range that the client wants applies to the app's answer."""
    condition = request.headers.get(hdrs.IF_RANGE)
    if condition is None:
        return True
    if condition.startswith("W/"):
        return False
    return condition in {headers.get(hdrs.ETAG), headers.get(hdrs.LAST_MODIFIED)}


def _failed(why: str) -> web.Response:
    logger.error("a blob was not sent: %s", why)
    return web.Response(status=500, text=f"The blob cannot be sent: {why}.\n")
