"""The routes of the State API for blobs."""

import json
from collections.abc import AsyncIterator, Callable
from functools import partial

from aiohttp import web
from google.appengine.api import datastore
from google.appengine.api.blobstore import BLOB_INFO_KIND

from gae_devserver.blobs.stub import Blobstore

_SHOWN = ("filename", "content_type", "size", "md5_hash", "gs_object_name")


class BlobRoutes:
    """Shows blobs."""

    def __init__(self, stub: Callable[[], Blobstore]) -> None:
        """Show the blobs of the stub that `stub` returns."""
        self._stub = stub

    def routes(self) -> list[web.RouteDef]:
        """Return the routes."""
        return [
            web.get("/blobs", self._get_blobs),
            web.get("/blobs/{key}", self._get_blob),
        ]

    async def _get_blobs(self, request: web.Request) -> web.Response:
        described = [
            {"key": info.key().name(), **{name: info.get(name) for name in _SHOWN}}
            for info in datastore.Query(BLOB_INFO_KIND, namespace="").Run()
        ]
        # an app can write such an entity itself, with any values
        dumps = partial(json.dumps, default=str)
        return web.json_response({"blobs": described}, dumps=dumps)

    async def _get_blob(self, request: web.Request) -> web.Response:
        key = request.match_info["key"]
        contents = self._stub().contents
        size = contents.size(key)
        if size is None:
            raise web.HTTPNotFound(text=f"There is no blob {key!r}.")

        async def pieces(size: int) -> AsyncIterator[bytes]:
            at = 0
            while at < size and (piece := contents.read(key, at, size - at)):
                yield piece
                at += len(piece)

        # as a file of unknown type: HTML of an upload must not run on this origin
        headers = {
            "Content-Type": "application/octet-stream",
            "Content-Length": str(size),
            "Content-Disposition": "attachment",
            "X-Content-Type-Options": "nosniff",
        }
        return web.Response(body=pieces(size) if size else None, headers=headers)
