"""The page `/_ah/upload`: stores the files of a form, and tells the app their keys."""

import contextlib
import datetime
import hashlib
import logging
import secrets
from collections.abc import Callable
from email.message import Message
from typing import Any
from urllib.parse import quote, urlsplit

from aiohttp import hdrs, web
from google.appengine.api import datastore, datastore_errors
from google.appengine.api.blobstore import blobstore, blobstore_stub

from gae_devserver.app.client import Request
from gae_devserver.blobs import multipart
from gae_devserver.blobs.contents import Writing
from gae_devserver.blobs.multipart import MultipartError
from gae_devserver.blobs.rewriting import Form, Part, StoredFile
from gae_devserver.blobs.stub import Blobstore
from gae_devserver.http.forwarding import headers_from_outside
from gae_devserver.http.limits import DEFAULT_LIMITS
from gae_devserver.http.server import body_chunks, read_body, take_memory
from gae_devserver.storage.storage import StorageError

logger = logging.getLogger("gae_devserver")

_MAX_BODY = 2 * 2**30
_MAX_PARTS = 1000
_SMALL_FORM = 64 * 2**10
# a form without enctype, which has the names of files at most
_WITHOUT_FILES = "application/x-www-form-urlencoded"
# the new form has its own
_OF_THE_BODY = frozenset(
    ["content-length", "content-type", "content-md5", "content-encoding"]
)


class UploadPage:
    """Answers requests to the URLs that `blobstore.create_upload_url` returns."""

    def __init__(
        self,
        stub: Callable[[], Blobstore],
        *,
        max_body: int = _MAX_BODY,
        max_form: int = DEFAULT_LIMITS.body,
        max_parts: int = _MAX_PARTS,
    ) -> None:
        """Make the page.

        Args:
            stub: returns the blobstore's stub.
            max_body: bytes in an upload.
            max_form: bytes in the form for the app, which has all but the files.
            max_parts: files and fields in a form.
        """
        self._stub = stub
        self._max_body = max_body
        self._max_form = max_form
        self._max_parts = max_parts

    async def __call__(
        self, request: web.BaseRequest
    ) -> web.StreamResponse | Request | None:
        """Store the files; return the request that the app gets instead.

        Raises:
            web.HTTPException: the URL or the form cannot be used. Nothing was stored.
        """
        if request.method != hdrs.METH_POST:
            text = "Send the form with POST.\n"
            return web.Response(status=405, text=text, headers={"Allow": "POST"})
        path, _, query = request.raw_path.partition("?")
        session = _session(path.rpartition("/")[2])
        headers = headers_from_outside(request.raw_headers)
        content_type = request.headers.get(hdrs.CONTENT_TYPE, "")
        try:
            with _Upload(session, self._stub()) as upload:
                if request.content_type == _WITHOUT_FILES:
                    body = await read_body(request)
                else:
                    boundary = multipart.boundary_of(content_type)
                    await self._receive(upload, request, boundary)
                    content_type, body = upload.form.content_type, upload.form.body()
                upload.complete()
        except MultipartError as error:
            text = f"The form cannot be read: {error}.\n"
            raise web.HTTPBadRequest(text=text) from None
        except StorageError as error:
            logger.error("an upload was not stored: %s", error)
            text = f"The upload was not stored. {error}\n"
            raise web.HTTPInternalServerError(text=text) from None
        for name in list(headers):
            # WSGI reads _ as -
            if name.lower().replace("_", "-") in _OF_THE_BODY:
                headers.popall(name, None)
        headers[hdrs.CONTENT_TYPE] = content_type
        headers[hdrs.CONTENT_LENGTH] = str(len(body))
        headers["X-Appengine-Blobupload"] = "true"
        target = _target(session["success_path"], query)
        return Request(hdrs.METH_POST, target, headers, body)

    async def _receive(
        self, upload: "_Upload", request: web.BaseRequest, boundary: str
    ) -> None:
        """Read the form, and write its files."""
        count = 0
        chunks = body_chunks(request, limit=self._max_body)
        async with contextlib.aclosing(chunks):
            async for part in multipart.parse(chunks, boundary):
                if isinstance(part, Message):
                    count += 1
                    if count > self._max_parts:
                        raise MultipartError(
                            f"it has more than {self._max_parts} parts"
                        )
                    upload.begin(Part.of(part))
                else:
                    upload.add(part)
                if upload.form.size > _SMALL_FORM:
                    await take_memory(request, self._max_form)
                if upload.form.size > self._max_form:
                    raise _too_large(f"fields of more than {self._max_form} bytes")
        upload.end()


class _Upload(contextlib.AbstractContextManager["_Upload"]):
    """The files of one form, which are deleted unless all can be stored."""

    def __init__(self, session: Any, stub: Blobstore) -> None:
        self.form = Form()
        self._session = session
        self._stub = stub
        now = datetime.datetime.now(datetime.UTC)
        self._creation = now.replace(tzinfo=None)  # the datastore's times are naive
        self._written: list[Writing] = []
        self._files: list[StoredFile] = []
        self._total = 0
        self._add: Callable[[bytes], None] = self.form.add
        self._end: Callable[[], None] = lambda: None
        self._completed = False

    def begin(self, part: Part) -> None:
        """End the part before, and begin another."""
        self.end()
        if part.filename is None:
            self.form.begin_field(part)
            self._add = self.form.add
        elif part.filename:
            self._begin_file(part)
        else:
            # nothing was selected, so the app gets nothing
            self._add = lambda data: None

    def add(self, data: bytes) -> None:
        """Add content to the part."""
        self._add(data)

    def end(self) -> None:
        """End the last part."""
        self._end()
        self._end = lambda: None

    def _begin_file(self, part: Part) -> None:
        key, gs_object_name = secrets.token_urlsafe(24), None
        if bucket := self._session.get("gs_bucket_name"):
            path = f"{bucket}/{key}"
            key = self._stub.CreateEncodedGoogleStorageKey(path)
            gs_object_name = blobstore.GS_PREFIX + path
        writing = self._stub.contents.write(key)
        self._written.append(writing)
        md5 = hashlib.md5(usedforsecurity=False)
        limit = self._session.get("max_bytes_per_blob")
        total_limit = self._session.get("max_bytes_total")

        def add(data: bytes) -> None:
            self._total += len(data)
            if limit is not None and writing.size + len(data) > limit:
                raise _too_large(f"a file of more than {limit} bytes")
            if total_limit is not None and self._total > total_limit:
                raise _too_large(f"files of more than {total_limit} bytes")
            md5.update(data)
            writing.write(data)

        def end() -> None:
            writing.close()
            file = StoredFile(
                key,
                part,
                writing.size,
                md5.hexdigest(),
                self._creation,
                gs_object_name,
            )
            self._files.append(file)
            self.form.add_file(file)

        self._add, self._end = add, end

    def _kinds(self, file: StoredFile) -> set[str]:
        """Return the kinds of a file's entities: the stub finds objects by another."""
        by_key = self._stub.ToDatastoreBlobKey(file.key)
        return {blobstore.BLOB_INFO_KIND, by_key.kind()}

    def complete(self) -> None:
        """Store all, so that the URL cannot be used again.

        Raises:
            web.HTTPNotFound: another upload was faster, or a reset.
        """
        session_key = self._session.key()
        _session(str(session_key))
        for file in self._files:
            for kind in self._kinds(file):
                info = datastore.Entity(kind, name=file.key, namespace="")
                info.update(file.properties)
                datastore.Put(info)
            self._stub.contents.complete(file.key, file.size)
        datastore.Delete(session_key)
        self._stub.contents.flush()
        self._completed = True

    def __exit__(self, *_: object) -> None:
        if self._completed:
            return
        for file in self._files:
            for kind in self._kinds(file):
                key = datastore.Key.from_path(kind, file.key, namespace="")
                datastore.Delete(key)
        with contextlib.suppress(StorageError):  # it was reported
            for writing in self._written:
                writing.discard()
            self._stub.contents.flush()


def _session(key: str) -> Any:
    """Return the entity that `create_upload_url` made.

    Raises:
        web.HTTPNotFound: there is none.
    """
    # for a text that is no key, the SDK raises errors of many kinds
    with contextlib.suppress(Exception):
        entity_key = datastore.Key(key)
        if entity_key.kind() == blobstore_stub._UPLOAD_SESSION_KIND:
            with contextlib.suppress(datastore_errors.EntityNotFoundError):
                return datastore.Get(entity_key)
    text = (
        "There is no such upload URL. Each one works once: call "
        "blobstore.create_upload_url again.\n"
    )
    raise web.HTTPNotFound(text=text)


def _target(success_path: str, query: str) -> str:
    """Return the path and the query of a URL; without a query, that of the upload."""
    url = urlsplit(success_path)
    path = quote(url.path, safe="/:@!$&'()*+,;=~%")
    query = quote(url.query, safe="/:@!$&'()*+,;=~%?") or query
    path = path if path.startswith("/") else f"/{path}"
    return f"{path}?{query}" if query else path


def _too_large(what: str) -> web.HTTPException:
    text = f"The upload is too large: it has {what}.\n"
    return web.HTTPRequestEntityTooLarge(max_size=0, actual_size=0, text=text)
