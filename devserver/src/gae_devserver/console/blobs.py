"""The routes of the State API for blobs."""

from collections.abc import AsyncIterator, Callable

from aiohttp import web
from google.appengine.api import datastore
from google.appengine.api.blobstore import BLOB_INFO_KIND

from gae_devserver.blobs.stub import Blobstore
from gae_devserver.console import as_json


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
            as_json.describe_blob(info)
            for info in datastore.Query(BLOB_INFO_KIND, namespace="").Run()
        ]
        return web.json_response({"blobs": described}, dumps=as_json.dumps)

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
