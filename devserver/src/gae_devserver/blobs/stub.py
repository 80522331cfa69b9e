"""The SDK's blobstore stub, on contents that may be in a file."""

import base64
import binascii
import io
import secrets
from collections.abc import Callable
from typing import Any

from google.appengine.api import datastore
from google.appengine.api.blobstore import (
    blob_storage,
    blobstore_service_pb2,
    blobstore_stub,
)
from google.appengine.runtime import apiproxy_errors

from gae_devserver.blobs.contents import PIECE, Contents, TemporaryRecords
from gae_devserver.storage.storage import Storage

_ERRORS = blobstore_service_pb2.BlobstoreServiceError

InLoop = Callable[..., Any]
"""Calls a function with its arguments in the event loop, from any thread."""


class Blobstore(blobstore_stub.BlobstoreServiceStub):  # type: ignore[misc]
    """The blobstore service."""

    def __init__(self, contents: Contents, in_loop: InLoop, request_data: Any) -> None:
        """Make the stub; images, which run in threads, read blobs too."""
        super().__init__(
            _Storage(contents, in_loop),
            request_data=request_data,
            # without a name, the stub makes a folder that it never uses or deletes
            storage_dir="unused",
        )
        self.contents = contents

    def _CreateSession(self, *args: Any, **options: Any) -> str:
        # IDs follow a known sequence, and an upload passes as one of an administrator
        with_id = datastore.Get(super()._CreateSession(*args, **options))
        name = secrets.token_hex(16)
        session = datastore.Entity(with_id.kind(), name=name, namespace="")
        session.update(with_id)
        datastore.Put(session)
        datastore.Delete(with_id)
        return str(session.key())

    def _Dynamic_FetchData(self, request: Any, response: Any, request_id: Any) -> None:
        try:
            super()._Dynamic_FetchData(request, response, request_id)
        except FileNotFoundError:
            # the app wrote the entity itself
            raise apiproxy_errors.ApplicationError(_ERRORS.BLOB_NOT_FOUND) from None

    def _Dynamic_DecodeBlobKey(
        self, request: Any, response: Any, request_id: Any
    ) -> None:
        # the SDK's own method runs on Python 2 only
        try:
            for key in request.blob_key:
                response.decoded.append(base64.urlsafe_b64decode(key).decode())
        except (binascii.Error, UnicodeDecodeError):
            raise apiproxy_errors.ApplicationError(
                _ERRORS.PERMISSION_DENIED, f"{key!r} is not an encoded blob key"
            ) from None


def make_blobstore(
    storage: Storage | None, in_loop: InLoop, request_data: Any
) -> Blobstore:
    """Return the stub, with the blobs of `storage`; None: in a temporary file."""
    contents = Contents(storage or TemporaryRecords())
    return Blobstore(contents, in_loop, request_data)


class _Storage(blob_storage.BlobStorage):  # type: ignore[misc]
    """The contents, as the SDK's stubs use them."""

    def __init__(self, contents: Contents, in_loop: InLoop) -> None:
        self._contents = contents
        self._in_loop = in_loop

    def StoreBlob(self, blob_key: Any, blob_stream: Any) -> None:
        self._in_loop(self._contents.put, str(blob_key), blob_stream.read())

    def OpenBlob(self, blob_key: Any) -> io.BufferedReader:
        """Return a blob as a file.

        Raises:
            FileNotFoundError: there is no such blob.
        """
        key = str(blob_key)
        size = self._in_loop(self._contents.size, key)
        if size is None:
            raise FileNotFoundError(f"there is no blob {key!r}")

        def read(start: int, count: int) -> bytes:
            return self._in_loop(self._contents.read, key, start, count)

        return io.BufferedReader(_File(read, size), PIECE)

    def DeleteBlob(self, blob_key: Any) -> None:
        self._in_loop(self._contents.delete, str(blob_key))


class _File(io.RawIOBase):
    """A blob as a file."""

    def __init__(self, read: Callable[[int, int], bytes], size: int) -> None:
        self._read = read
        self._size = size
        self._at = 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        begin = (0, self._at, self._size)[whence]
        self._at = max(0, begin + offset)
        return self._at

    def readinto(self, buffer: Any) -> int:
        data = self._read(self._at, len(buffer))
        buffer[: len(data)] = data
        self._at += len(data)
        return len(data)
