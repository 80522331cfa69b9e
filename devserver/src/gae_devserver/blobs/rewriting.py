"""The form that the app gets in place of an uploaded one: keys instead of files."""

import base64
import dataclasses
import datetime
import re
import secrets
from email.message import Message

from google.appengine.api.blobstore import blobstore

from gae_devserver.blobs.multipart import MultipartError

_MAX_TEXT = 1500  # bytes of a text with an index in the datastore
_REFERENCE = "message/external-body"
_MIME_TYPE = re.compile(r"[^/;,\s]+/[^/;,\s]+\s*(;.*)?")
_CHARSET = re.compile(r"[\w.:+-]+", re.ASCII)
_DECODED = frozenset(["", "7bit", "8bit", "binary"])


@dataclasses.dataclass(frozen=True)
class Part:
    """A part of an uploaded form."""

    headers: Message
    filename: str | None
    """None: it is a field, and no file."""
    content_type: str

    @classmethod
    def of(cls, headers: Message) -> "Part":
        """Return the part with these headers.

        Raises:
            MultipartError: they are not those of a form's part.
        """
        header = "Content-Disposition"
        if headers.get_content_disposition() != "form-data":
            raise MultipartError("a part has no Content-Disposition: form-data")
        if headers.get_param("name", header=header) is None:
            raise MultipartError("a part has no name")
        if headers.get_param("filename", header=header) is None:
            return cls(headers, None, _type_of_field(headers))
        filename = headers.get_filename("")
        content_type = headers.get("Content-Type", "application/octet-stream")
        if not _MIME_TYPE.fullmatch(content_type):
            raise MultipartError(f"the file {filename!r} has no valid Content-Type")
        for what, text in (("name", filename), ("Content-Type", content_type)):
            if len(text.encode()) > _MAX_TEXT:
                raise MultipartError(
                    f"the {what} of a file has more than {_MAX_TEXT} bytes"
                )
        encoding = headers.get("Content-Transfer-Encoding", "").lower()
        if encoding not in _DECODED:
            raise MultipartError(
                f"the file {filename!r} has the Content-Transfer-Encoding "
                f"{encoding!r}, which RFC 7578 forbids; send its bytes as they are"
            )
        return cls(headers, filename, content_type)


@dataclasses.dataclass(frozen=True)
class StoredFile:
    """What is known of a file that was stored as a blob."""

    key: str
    part: Part
    size: int
    md5_hash: str
    """Hexadecimal."""
    creation: datetime.datetime
    gs_object_name: str | None

    @property
    def properties(self) -> dict[str, object]:
        """The properties of its entity."""
        return {
            "content_type": self.part.content_type,
            "creation": self.creation,
            "filename": self.part.filename,
            "gs_object_name": self.gs_object_name,
            "md5_hash": self.md5_hash,
            "size": self.size,
        }


class Form:
    """A form that grows part by part."""

    def __init__(self) -> None:
        boundary = secrets.token_hex(16)
        self.content_type = f'multipart/form-data; boundary="{boundary}"'
        self._boundary = boundary.encode()
        self._body = bytearray()

    @property
    def size(self) -> int:
        """The number of bytes."""
        return len(self._body)

    def begin_field(self, part: Part) -> None:
        """Add the headers of a field; `add` adds its content."""
        # no others: the SDK believes what headers say of a file
        headers = Message()
        headers["Content-Type"] = part.content_type
        headers["Content-Disposition"] = part.headers["Content-Disposition"]
        self._body += b"\r\n--%s\r\n%s\r\n" % (self._boundary, _head(headers))

    def add(self, data: bytes) -> None:
        """Add content."""
        self._body += data

    def add_file(self, file: StoredFile) -> None:
        """Add a file: its key, and in place of its content what is known of it."""
        outer, inner = Message(), Message()
        disposition = file.part.headers["Content-Disposition"]
        outer["Content-Type"] = (
            f'{_REFERENCE}; blob-key="{file.key}"; '
            f'access-type="{blobstore.BLOB_KEY_HEADER}"'
        )
        outer["MIME-Version"] = "1.0"
        outer["Content-Disposition"] = disposition
        inner["Content-Type"] = file.part.content_type
        inner["MIME-Version"] = "1.0"
        inner["Content-Length"] = str(file.size)
        # as App Engine sends it: the hexadecimal form in Base64
        md5 = base64.urlsafe_b64encode(file.md5_hash.encode())
        inner["Content-MD5"] = md5.decode()
        creation = blobstore._format_creation(file.creation)
        inner[blobstore.UPLOAD_INFO_CREATION_HEADER] = creation
        if file.gs_object_name is not None:
            inner[blobstore.CLOUD_STORAGE_OBJECT_HEADER] = file.gs_object_name
        inner["Content-Disposition"] = disposition
        self._body += b"\r\n--%s\r\n%s\r\n" % (self._boundary, _head(outer))
        self._body += _head(inner) + b"\r\n"

    def body(self) -> bytes:
        """Return the complete form."""
        return bytes(self._body[2:]) + b"\r\n--%s--\r\n" % self._boundary


def _type_of_field(headers: Message) -> str:
    """Return the Content-Type of a field, which must not be that of a stored file.

    The SDK takes any part for a stored file whose Content-Type has a `blob-key`.

    Raises:
        MultipartError: it has parts of its own, or is a message.
    """
    content_type, charset = headers.get_content_type(), headers.get_param("charset")
    if headers.get_content_maintype() in {"message", "multipart"}:
        raise MultipartError(f"a field has the Content-Type {content_type!r}")
    if isinstance(charset, str) and _CHARSET.fullmatch(charset):
        return f"{content_type}; charset={charset}"
    return content_type


def _head(headers: Message) -> bytes:
    return "".join(f"{name}: {value}\r\n" for name, value in headers.items()).encode()
