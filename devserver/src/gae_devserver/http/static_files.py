"""The files that app.yaml's `static_dir` and `static_files` handlers serve."""

import dataclasses
import mimetypes
import re
import time
from collections.abc import Sequence
from email.utils import formatdate
from pathlib import Path
from urllib.parse import unquote

from aiohttp import hdrs, web
from aiohttp.abc import AbstractStreamWriter
from multidict import CIMultiDict

from gae_devserver.config.handlers import StaticHandler

# these decide whether a file is sent, and which part of it
_CONDITIONS = (
    hdrs.IF_MATCH,
    hdrs.IF_MODIFIED_SINCE,
    hdrs.IF_NONE_MATCH,
    hdrs.IF_RANGE,
    hdrs.IF_UNMODIFIED_SINCE,
    hdrs.RANGE,
)


@dataclasses.dataclass(frozen=True)
class Match:
    """The handler for a URL, and its static file; None: there is no such file."""

    handler: StaticHandler
    file: Path | None = None

    @property
    def is_static(self) -> bool:
        """Whether the server answers, and not the app."""
        return self.handler.file_template is not None


def find(handlers: Sequence[StaticHandler], folder: Path, target: str) -> Match | None:
    """Return the handler of a request target; None: no pattern matches its path."""
    return find_by_path(handlers, folder, path_of(target))


def find_by_path(
    handlers: Sequence[StaticHandler], folder: Path, path: str
) -> Match | None:
    """Return the handler of a path."""
    for handler in handlers:
        match = handler.url.fullmatch(path)
        if match is None:
            continue
        if handler.file_template is None:
            return Match(handler)
        file = _file_of(handler, folder, match)
        if file is not None or not handler.require_matching_file:
            return Match(handler, file)
    return None


def origin_form(target: str) -> str:
    """Return a request target without its scheme and host.

    They are there if a client takes this server for a proxy: GET http://HOST/path.
    """
    if target.startswith("/") or "://" not in target:
        return target
    host_and_path = re.split(r"(?=[/?#])", target.partition("://")[2], maxsplit=1)
    path = "".join(host_and_path[1:])
    return path if path.startswith("/") else f"/{path}"


def path_of(target: str) -> str:
    """Return the path of a request target, decoded as the app sees it."""
    # servers cut off a fragment too
    return unquote(origin_form(target).partition("?")[0].partition("#")[0])


def _file_of(handler: StaticHandler, folder: Path, match: re.Match[str]) -> Path | None:
    assert handler.file_template is not None
    try:
        name = match.expand(handler.file_template)
    except (re.error, IndexError):
        return None
    # a deployed app has only the files that `upload` names
    uploaded = f"{handler.folder}/{name}" if handler.folder else name
    if handler.upload is not None and not handler.upload.fullmatch(uploaded):
        return None
    # such a name would be another file, or a file elsewhere
    if not {"", ".", ".."}.isdisjoint(name.split("/")):
        return None
    root = folder / handler.folder
    file = root / name
    # A link in the folder must not lead out of it. The folder itself may be a link, and
    # so may a file whose whole name is in app.yaml.
    in_app_yaml = name == handler.file_template
    try:
        allowed = in_app_yaml or file.resolve().is_relative_to(root.resolve())
        return file if allowed and file.is_file() else None
    except (OSError, RuntimeError, ValueError):
        # the name is too long or has a null byte, or a link leads to itself
        return None


def response(match: Match, method: str) -> web.StreamResponse:
    """Return the answer: the file, 404, or 405 for other methods than GET and HEAD."""
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
        # browsers would cache the file for ten minutes, as on App Engine, and an edit
        # would seem to have no effect
        headers.setdefault(hdrs.CACHE_CONTROL, "no-cache")
    file_response = _FileResponse(match.file, headers=headers)
    # aiohttp then sends the file in pieces, uncompressed; sendfile() would never notice
    # that the client has stopped reading
    file_response.enable_compression(web.ContentCoding.identity)
    return file_response


class _FileResponse(web.FileResponse):
    """A file without encoding: aiohttp would prefer a FILE.gz in the same folder."""

    async def prepare(self, request: web.BaseRequest) -> AbstractStreamWriter | None:
        if self.prepared:
            # aiohttp calls this again after the handler has returned
            return None
        # aiohttp cannot copy headers with arbitrary bytes
        headers = CIMultiDict(
            (name, value)
            for name in _CONDITIONS
            for value in request.headers.getall(name, ())
            if value.isascii()
        )
        return await super().prepare(request.clone(headers=headers))
