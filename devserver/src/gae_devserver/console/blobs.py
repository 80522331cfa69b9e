"""The page of blobs: what they are, their contents, and what deletes them."""

import datetime
from collections.abc import AsyncIterator, Hashable, Mapping
from typing import Any

from aiohttp import web
from google.appengine.api import datastore, datastore_errors, datastore_types
from google.appengine.api.blobstore import BLOB_INFO_KIND

from gae_devserver.blobs.contents import Contents
from gae_devserver.console.frame import bodies, downloads
from gae_devserver.console.frame.answers import show
from gae_devserver.services.services import Services

_PAGE = 100
_SHOWN = ("filename", "content_type", "size", "md5_hash", "gs_object_name")
_PREVIEWS = frozenset({"image/gif", "image/jpeg", "image/png", "image/webp"})
_MAX_PREVIEW = 10 * 2**20


class BlobRoutes:
    """Shows and deletes blobs."""

    def __init__(self, services: Services) -> None:
        self._services = services

    def routes(self) -> list[web.RouteDef]:
        """Return the routes."""
        return [
            web.get("/blobs", self._list),
            web.get("/blobs/{key}", self._download),
            web.get("/blobs/{key}/preview", self._preview),
            web.delete("/blobs/{key}", self._delete),
        ]

    def revisions(self) -> Mapping[str, Hashable]:
        """Return what changes with each entity of a blob."""
        kind = self._services.datastore.stub.kind(("", BLOB_INFO_KIND))
        return {"blobs": kind.changes}

    async def _list(self, request: web.Request) -> web.StreamResponse:
        limit = bodies.limit_in(request.query, _PAGE)
        query = datastore.Query(BLOB_INFO_KIND, namespace="")
        if name := bodies.text_place_in(request.query.get("cursor", "")):
            query["__key__ >"] = _info_key(name)
        query.Order("__key__")
        found = list(query.Run(limit=limit + 1))
        cursor = None
        if len(found) > limit:
            cursor = bodies.cursor_of(found[limit - 1].key().name().encode())
        blobs = [_describe(info) for info in found[:limit]]
        return show(request, {"blobs": blobs, "cursor": cursor}, "blobs.html")

    async def _download(self, request: web.Request) -> web.Response:
        key, contents, size = self._find(request)
        try:
            name = str(datastore.Get(_info_key(key)).get("filename") or "")
        except datastore_errors.EntityNotFoundError:
            name = ""
        body = _pieces(contents, key, size) if size else None
        return downloads.attachment(body, size, name)

    async def _preview(self, request: web.Request) -> web.Response:
        key, contents, size = self._find(request)
        kind = _image_type(contents.read(key, 0, 16))
        if kind is None or size > _MAX_PREVIEW:
            text = "There is a preview only of PNG, JPEG, GIF and WebP up to 10 MiB."
            raise web.HTTPUnsupportedMediaType(text=text)
        headers = {"Content-Type": kind, "Content-Length": str(size)}
        return web.Response(body=_pieces(contents, key, size), headers=headers)

    async def _delete(self, request: web.Request) -> web.Response:
        # imported with the stub, so not at the start
        from google.appengine.api.blobstore import blobstore_service_pb2 as pb

        key, *_ = self._find(request)
        message = pb.DeleteBlobRequest(blob_key=[key])
        stub = self._services.stub("blobstore")
        stub.MakeSyncCall("blobstore", "DeleteBlob", message, None)
        return web.json_response({"deleted": True})

    def _find(self, request: web.Request) -> tuple[str, Contents, int]:
        key = request.match_info["key"]
        contents = self._services.stub("blobstore").contents
        size = contents.size(key)
        if size is None:
            raise web.HTTPNotFound(text=f"There is no blob {key!r}.")
        return key, contents, size


def _info_key(name: str) -> Any:
    return datastore_types.Key.from_path(BLOB_INFO_KIND, name, namespace="")


def _describe(info: Any) -> dict[str, Any]:
    # an app can write such an entity itself, with any values
    created = info.get("creation")
    if isinstance(created, datetime.datetime):
        created = created.replace(tzinfo=datetime.UTC).timestamp()
    else:
        created = None
    return {
        "key": info.key().name(),
        **{name: info.get(name) for name in _SHOWN},
        "created": created,
        "has_preview": info.get("content_type") in _PREVIEWS,
    }


def _image_type(start: bytes) -> str | None:
    """Return the type of an image by its first bytes; None: it may be anything."""
    if start.startswith(b"\x89PNG\r\n\x1a\n"):
        return "image/png"
    if start.startswith(b"\xff\xd8\xff"):
        return "image/jpeg"
    if start.startswith((b"GIF87a", b"GIF89a")):
        return "image/gif"
    if start.startswith(b"RIFF") and start[8:12] == b"WEBP":
        return "image/webp"
    return None


async def _pieces(contents: Contents, key: str, size: int) -> AsyncIterator[bytes]:
    at = 0
    while at < size and (piece := contents.read(key, at, size - at)):
        yield piece
        at += len(piece)
