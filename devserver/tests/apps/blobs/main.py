"""An app that takes uploads, and serves them, with the SDK's own handlers.

GET /url?path=PATH returns an upload URL; other parameters are those of
create_upload_url. POST /done returns what it got, in JSON. GET /send?key=KEY sends a
blob; status=, type=, etag= and range= are those of the answer, and header= is in place
of X-AppEngine-BlobKey.
"""

import io
import json
from collections.abc import Iterable, Mapping
from typing import Any
from urllib.parse import parse_qsl
from wsgiref.types import StartResponse, WSGIEnvironment

from google.appengine.api import images, wrap_wsgi_app
from google.appengine.ext import blobstore


def described(info: Any) -> dict[str, Any]:
    """Return what the SDK knows of an uploaded file."""
    names = ("filename", "content_type", "size", "gs_object_name")
    return {name: getattr(info, name) for name in names}


def done(environ: WSGIEnvironment) -> dict[str, Any]:
    """Return what an upload's request is, as the SDK's handler sees it."""
    body = environ["wsgi.input"].read()

    def again() -> dict[str, Any]:
        return {**environ, "wsgi.input": io.BytesIO(body)}

    uploads = blobstore.BlobstoreUploadHandler().get_uploads(again())
    files = blobstore.BlobstoreUploadHandler().get_file_infos(again())
    stored = [blobstore.BlobInfo.get(info.key()) for info in uploads]
    return {
        "query": environ["QUERY_STRING"],
        "cookie": environ.get("HTTP_COOKIE"),
        "body": body.decode(),
        "keys": [str(info.key()) for info in uploads],
        "files": [described(file) for file in files],
        "stored": [described(info) for info in stored if info is not None],
    }


def sent(environ: WSGIEnvironment, query: Mapping[str, str]) -> list[tuple[str, str]]:
    """Return the headers that send a blob."""
    handler = blobstore.BlobstoreDownloadHandler()
    headers = {**handler.send_blob(environ, query["key"]), "Set-Cookie": "seen=1"}
    if "header" in query:
        headers[query["header"]] = headers.pop("X-AppEngine-BlobKey")
    for name, header in (("type", "Content-Type"), ("etag", "ETag")):
        if name in query:
            headers[header] = query[name]
    if "range" in query:
        headers["X-AppEngine-BlobRange"] = query["range"]
    return list(headers.items())


def read(key: str) -> list[Any]:
    """Return what the SDK's classes read of a blob."""
    reader = blobstore.BlobReader(key)
    size = len(reader.read())
    reader.seek(1)
    return [size, reader.read(2).decode(), blobstore.fetch_data(key, 3, 4).decode()]


def serve(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
    """Answer a request."""
    query: dict[str, Any] = dict(parse_qsl(environ["QUERY_STRING"]))
    headers, result, status = [("Content-Type", "text/plain")], "", "200 OK"
    match environ["PATH_INFO"]:
        case "/url":
            limits = {k: int(v) for k, v in query.items() if k.startswith("max_")}
            path = query.pop("path", "/done")
            result = blobstore.create_upload_url(path, **{**query, **limits})
        case "/done":
            result = json.dumps(done(environ))
        case "/send":
            headers = sent(environ, query)
            status = query.get("status", status)
        case "/read":
            result = json.dumps(read(query["key"]))
        case "/delete":
            blobstore.delete(query["key"])
        case "/image":
            result = images.get_serving_url(query["key"])
        case "/image/delete":
            images.delete_serving_url(query["key"])
    start_response(status, headers)
    return [result.encode()]


app = wrap_wsgi_app(serve)
