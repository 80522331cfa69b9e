"""RPCs over HTTP, as Google's REST APIs have them: with JSON or protocol buffers."""

import json
import zlib
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

from aiohttp import hdrs, web
from google.protobuf import json_format
from google.protobuf.message import DecodeError
from google.rpc import status_pb2

from gae_devserver.http.connection import Connection
from gae_devserver.http.server import read_body
from gae_devserver.rpc.errors import (
    InvalidArgumentError,
    PermissionDeniedError,
    RpcError,
)
from gae_devserver.rpc.method import TICKET_HEADER, Method
from gae_devserver.rpc.status import StatusCode

SYSTEM_PARAMETERS = frozenset(
    {
        "$alt",
        "$prettyPrint",
        "access_token",
        "alt",
        "fields",
        "key",
        "prettyPrint",
        "quotaUser",
        "userProject",
    }
)
"""Those of every REST API of Google; only the formats have a meaning here."""

_JSON = "application/json"
_PROTOBUF = ("application/x-protobuf", "application/protobuf")
_HTTP_STATUS = {
    StatusCode.INVALID_ARGUMENT: 400,
    StatusCode.FAILED_PRECONDITION: 400,
    StatusCode.PERMISSION_DENIED: 403,
    StatusCode.NOT_FOUND: 404,
    StatusCode.ABORTED: 409,
    StatusCode.ALREADY_EXISTS: 409,
    StatusCode.UNIMPLEMENTED: 501,
    StatusCode.UNAVAILABLE: 503,
}
# what the port itself refuses, with the code that gRPC has for it
_CODE_OF_HTTP_ERROR = {
    408: StatusCode.DEADLINE_EXCEEDED,
    413: StatusCode.RESOURCE_EXHAUSTED,
    503: StatusCode.UNAVAILABLE,
}


def is_web_page(request: web.BaseRequest) -> bool:
    """Return whether a web page sends a request, of this site or of another one.

    A page can send requests that it may not read the answers of, and these have
    effects. A browser marks them, also those that it sends without asking the server.
    """
    # a URL that the user types has "none"; pages cannot change this header
    site = request.headers.get("Sec-Fetch-Site", "none")
    return hdrs.ORIGIN in request.headers or site != "none"


async def answer(
    request: web.BaseRequest, call: Callable[[], Awaitable[Any]]
) -> web.Response:
    """Answer a request with the message that `call` returns, or with its RpcError."""
    form = _Format.of(request)
    try:
        if is_web_page(request):
            raise PermissionDeniedError("web pages cannot use this API.")
        return form.message(await call())
    except RpcError as error:
        status = _HTTP_STATUS.get(error.code, 500)
        return form.error(status, error.code, str(error))
    except web.HTTPException as error:
        code = _CODE_OF_HTTP_ERROR.get(error.status, StatusCode.INVALID_ARGUMENT)
        refusal = form.error(error.status, code, (error.text or "").rstrip())
        if not error.keep_alive:
            refusal.force_close()
        return refusal


async def carry_out(request: web.BaseRequest, method: Method, message: Any) -> Any:
    """Carry out an RPC for the request of the app whose ticket there is; or for none.

    Raises:
        RpcError: the error that the client sees.
    """
    ticket = request.headers.get(TICKET_HEADER)
    encoded = message.SerializeToString() if ticket else b""
    return await method.call(message, ticket, encoded)


async def read_message(request: web.BaseRequest, message_class: Any) -> Any:
    """Read the body, which is a message in either format.

    Raises:
        InvalidArgumentError: it is not such a message.
        web.HTTPException: it cannot be read.
    """
    if _media_type(request) not in _PROTOBUF:
        return to_message(await read_json(request), message_class)
    try:
        return message_class.FromString(await _read(request))
    except DecodeError as error:
        text = f"the body is not a {message_class.DESCRIPTOR.full_name}."
        raise InvalidArgumentError(text) from error


async def read_json(request: web.BaseRequest) -> dict[str, Any]:
    """Read the body, which is a JSON object, or empty.

    Raises:
        InvalidArgumentError: it is not.
        web.HTTPException: it cannot be read.
    """
    if (media_type := _media_type(request)) != _JSON:
        # which a web page of another site cannot send
        raise InvalidArgumentError(
            f"the Content-Type is {media_type}: send the header Content-Type: {_JSON}."
        )
    body = await _read(request)
    try:
        content = json.loads(body) if body else {}
    except (ValueError, RecursionError) as error:
        raise InvalidArgumentError(f"the body is not JSON: {error}.") from error
    if not isinstance(content, dict):
        raise InvalidArgumentError("the body is not a JSON object.")
    return content


def to_message(fields: dict[str, Any], message_class: Any) -> Any:
    """Return a message with the fields that JSON has.

    Raises:
        InvalidArgumentError: there are no such fields, or not with such values.
    """
    try:
        return json_format.ParseDict(fields, message_class())
    except Exception as error:  # infinity is an OverflowError, for example
        # some reasons have several lines, and a full stop for each level
        reason = " ".join(str(error).split()).rstrip(".")
        name = message_class.DESCRIPTOR.full_name
        raise InvalidArgumentError(f"the request is not a {name}: {reason}.") from error


def _media_type(request: web.BaseRequest) -> str:
    # as Google's emulators have it
    return request.content_type if hdrs.CONTENT_TYPE in request.headers else _JSON


async def _read(request: web.BaseRequest) -> bytes:
    body = await read_body(request)
    encoding = request.headers.get(hdrs.CONTENT_ENCODING, "identity").lower()
    if encoding == "identity":
        return body
    if encoding != "gzip":
        raise InvalidArgumentError(f"the encoding {encoding!r} is not supported.")
    assert isinstance(request.protocol, Connection)
    limit = request.protocol.limits.body
    unzip = zlib.decompressobj(wbits=16 + zlib.MAX_WBITS)
    try:
        body = unzip.decompress(body, limit)
    except zlib.error as error:
        raise InvalidArgumentError(f"the body is not gzip: {error}.") from error
    if unzip.unconsumed_tail or not unzip.eof:
        text = f"the body is incomplete, or larger than {limit} bytes."
        raise InvalidArgumentError(text)
    return body


@dataclass(frozen=True)
class _Format:
    """How an answer is written."""

    is_json: bool
    indent: int | None
    as_integers: bool
    """Whether JSON has enums as integers."""

    @classmethod
    def of(cls, request: web.BaseRequest) -> "_Format":
        """Return the format that a request asks for, or else has itself."""
        query = request.query
        alt, _, options = query.get("$alt", query.get("alt", "")).partition(";")
        pretty = query.get("$prettyPrint", query.get("prettyPrint", "true"))
        return cls(
            is_json=alt == "json"
            or (alt != "proto" and _media_type(request) not in _PROTOBUF),
            indent=2 if pretty == "true" else None,
            as_integers="enum-encoding=int" in options,
        )

    def message(self, message: Any) -> web.Response:
        """Return an answer that is a message."""
        if not self.is_json:
            return self._response(200, message.SerializeToString())
        content = json_format.MessageToDict(
            message, use_integers_for_enums=self.as_integers
        )
        return self._response(200, self._json(content))

    def error(self, status: int, code: StatusCode, text: str) -> web.Response:
        """Return an answer that is an error."""
        if not self.is_json:
            message = status_pb2.Status(code=code.value, message=text)
            return self._response(status, message.SerializeToString())
        error = {"code": status, "message": text, "status": code.name}
        return self._response(status, self._json({"error": error}))

    def _json(self, content: Any) -> bytes:
        return f"{json.dumps(content, indent=self.indent)}\n".encode()

    def _response(self, status: int, body: bytes) -> web.Response:
        media_type = _JSON if self.is_json else _PROTOBUF[0]
        return web.Response(status=status, body=body, content_type=media_type)
