"""How the State API shows an entity in JSON.

It reads what is stored, so it shows every entity that either library can write, and
loads no pickle.
"""

import base64
import datetime
import math
from typing import Any

from google.appengine.datastore import entity_bytes_pb2 as entity_pb
from google.protobuf.message import DecodeError

from gae_devserver.console.datastore.typed_encoding import grouped
from gae_devserver.datastore.encoding import ENTITY_PROTO, Path

_PROPERTY = entity_pb.Property
_BYTES = {_PROPERTY.BLOB, _PROPERTY.BYTESTRING}
_EPOCH = datetime.datetime(1970, 1, 1)
_MAX_DEPTH = 100
"""Of entities in entities; what is deeper is shown as its bytes."""


def describe_entity(path: Path, reference: Any, entity: Any) -> dict[str, Any]:
    """Return a stored entity, with its path and its key of version 3."""
    return {
        "key": pairs_of(path),
        "urlsafe": urlsafe(reference),
        "properties": _properties(entity, 0),
    }


def pairs_of(path: Path) -> list[list[Any]]:
    """Return the kinds and ids in a key, from the root down."""
    return [list(pair) for pair in zip(path[::3], path[2::3], strict=True)]


def _properties(entity: Any, depth: int) -> dict[str, Any]:
    shown: dict[str, Any] = {}
    for name, group in grouped(entity).items():
        values = [_value(item, depth) for _, item in group]
        last = group[-1][1]
        if last.meaning == _PROPERTY.EMPTY_LIST:
            shown[name] = []
        else:
            shown[name] = values if last.multiple else values[-1]
    return shown


def plain_value(item: Any) -> Any:
    """Return one stored value as it is shown in JSON."""
    return _value(item, 0)


def _value(item: Any, depth: int) -> Any:
    value = item.value
    if value.HasField("stringValue"):
        return _string(item, depth)
    if value.HasField("int64Value"):
        number = value.int64Value
        return _time(number) if item.meaning == _PROPERTY.GD_WHEN else number
    if value.HasField("booleanValue"):
        return value.booleanValue
    if value.HasField("doubleValue"):
        # JSON has no NaN and no infinity.
        number = value.doubleValue
        return number if math.isfinite(number) else str(number)
    if value.HasField("pointvalue"):
        return f"{value.pointvalue.x},{value.pointvalue.y}"
    if value.HasField("uservalue"):
        return _text(value.uservalue.email)
    if value.HasField("referencevalue"):
        return _urlsafe_value(value.referencevalue)
    return None


def _string(item: Any, depth: int) -> Any:
    data = item.value.stringValue
    if item.meaning == ENTITY_PROTO and depth < _MAX_DEPTH:
        embedded = entity_pb.EntityProto()
        try:
            embedded.MergeFromString(data)
        except DecodeError:
            return _bytes(data)
        return _properties(embedded, depth + 1)
    # The meaning_uri says that NDB has compressed the text or the bytes.
    if item.meaning in _BYTES or item.meaning_uri:
        return _bytes(data)
    try:
        return data.decode()
    except UnicodeDecodeError:
        return _bytes(data)


def _bytes(data: bytes) -> dict[str, str]:
    return {"base64": base64.b64encode(data).decode()}


def _time(microseconds: int) -> Any:
    try:
        return str(_EPOCH + datetime.timedelta(microseconds=microseconds))
    except OverflowError:
        return microseconds


def _text(value: Any) -> Any:
    """Return text; what is not UTF-8 is bytes, if the datastore has not checked it."""
    return value.decode(errors="replace") if isinstance(value, bytes) else value


def urlsafe(reference: Any) -> str:
    """Return the text of a key that both libraries know."""
    return base64.urlsafe_b64encode(reference.SerializeToString()).decode().rstrip("=")


def _urlsafe_value(value: Any) -> str:
    reference = entity_pb.Reference(app=value.app)
    if value.database_id:
        reference.database_id = value.database_id
    if value.name_space:
        reference.name_space = value.name_space
    for element in value.pathelement:
        copy = reference.path.element.add(type=element.type)
        if element.HasField("name"):
            copy.name = element.name
        else:
            copy.id = element.id
    return urlsafe(reference)
