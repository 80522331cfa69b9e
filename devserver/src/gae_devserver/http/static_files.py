"""The files that app.yaml's `static_dir` and `static_files` handlers serve."""

import dataclasses
import mimetypes
import re
import time
from collections.abc import Sequence
from email.utils import formatdate
from pathlib import Path
from typing import IO, Any
from urllib.parse import unquote

from aiohttp import hdrs, web
from aiohttp.abc import AbstractStreamWriter
from multidict import CIMultiDict

from gae_devserver.config.app_yaml import StaticHandler

# what decides whether a file is sent, and which part of it
_ASKED = (
    *(hdrs.IF_MATCH, hdrs.IF_NONE_MATCH, hdrs.IF_RANGE, hdrs.RANGE),
    *(hdrs.IF_MODIFIED_SINCE, hdrs.IF_UNMODIFIED_SINCE),
)


@dataclasses.dataclass(frozen=True)
class Match:
    """A URL that a static handler answers; without a file it is not found."""

    handler: StaticHandler
    file: Path | None


def find(handlers: Sequence[StaticHandler], folder: Path, target: str) -> Match | None:
    """Return the static handler of a request target; None: the app answers."""
    path = target.partition("?")[0]
    if "://" in path and not path.startswith("/"):
        # a target may name its host too, as for a proxy: http://HOST/path
        path = "/" + path.partition("://")[2].partition("/")[2]
    path = unquote(path)
    for handler in handlers:
        match = handler.url.fullmatch(path)
        if match is None:
            continue
        if handler.file_template is None:
            return None
        file = _path_of(handler, folder, match)
        if file is not None or not handler.require_matching_file:
            return Match(handler, file)
    return None


def _path_of(handler: StaticHandler, folder: Path, match: re.Match[str]) -> Path | None:
    assert handler.file_template is not None
    try:
        name = match.expand(handler.file_template)
    except (re.error, IndexError):
        return None
    # a deployed app has only the files that `upload` names
    uploaded = f"{handler.folder}/{name}" if handler.folder else name
    if handler.upload is not None and not handler.upload.fullmatch(uploaded):
        return None
    # a name that the file system would take for another one, or for one elsewhere
    if "\0" in name or not {"", ".", ".."}.isdisjoint(name.split("/")):
        return None
    root = folder / handler.folder
    file = root / name
    # a link inside the folder could lead out of it; the folder itself may be a link,
    # and so may a file that app.yaml names in full
    try:
        if name == handler.file_template or file.resolve().is_relative_to(
            root.resolve()
        ):
            return file if file.is_file() else None
    except (OSError, RuntimeError):
        # a name that is too long, a link that leads to itself
        return None
    return None


def response(match: Match, method: str) -> web.StreamResponse:
    """Return the answer: the file, 404, or 405 for what is not GET or HEAD."""
    if method not in (hdrs.METH_GET, hdrs.METH_HEAD):
        return web.Response(
            status=405, text="Method not allowed.\n", headers={"Allow": "GET, HEAD"}
        )
    if match.file is None:
        return web.Response(status=404, text="Not found.\n")
    headers = CIMultiDict(match.handler.http_headers)
    if hdrs.CONTENT_TYPE not in headers:
        guessed = mimetypes.guess_type(match.file.name)[0]
        mime_type = match.handler.mime_type or guessed or "application/octet-stream"
        headers[hdrs.CONTENT_TYPE] = mime_type
    max_age = match.handler.max_age
    if max_age is not None:
        headers.setdefault(hdrs.CACHE_CONTROL, f"public, max-age={max_age}")
        headers.setdefault(hdrs.EXPIRES, formatdate(time.time() + max_age, usegmt=True))
    else:
        # App Engine lets browsers keep such a file for ten minutes; here an edit
        # would then seem to have no effect
        headers.setdefault(hdrs.CACHE_CONTROL, "no-cache")
    return _FileResponse(match.file, headers=headers)


class _FileResponse(web.FileResponse):
    """A file as it is: aiohttp would send FILE.gz instead where one lies beside it."""

    async def prepare(self, request: web.BaseRequest) -> AbstractStreamWriter | None:
        if self.prepared:
            # aiohttp asks once more when the handler has returned
            return None
        # no others: their bytes may be such that aiohttp cannot copy them
        headers = CIMultiDict(
            (name, value)
            for name in _ASKED
            for value in request.headers.getall(name, ())
            if value.isascii()
        )
        return await super().prepare(request.clone(headers=headers))

    async def _sendfile(
        self, request: web.BaseRequest, fobj: IO[Any], offset: int, count: int
    ) -> AbstractStreamWriter:
        # in pieces: sendfile() would not notice a client that takes none of them
        writer = await web.StreamResponse.prepare(self, request)
        assert writer is not None
        return await self._sendfile_fallback(writer, fobj, offset, count)
