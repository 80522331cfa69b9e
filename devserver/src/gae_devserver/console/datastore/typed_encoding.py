"""Writes properties of entities in the JSON form that loses nothing.

What this form cannot say is written as the type "raw" with the bytes that are stored,
so that every property survives a round trip.
"""

import base64
import datetime
import math
from typing import Any

from google.appengine.datastore import datastore_stub_util
from google.appengine.datastore import entity_bytes_pb2 as entity_pb
from google.protobuf.message import DecodeError

from gae_devserver.console.datastore.typed_decoding import (
    EPOCH,
    MAX_DEPTH,
    USER_FIELDS,
    Typed,
    decode_group,
    default_meaning,
)
from gae_devserver.console.datastore.typed_keys import (
    SAFE_INTEGER,
    TypedError,
    encode_key,
    text_in,
)
from gae_devserver.datastore.encoding import ENTITY_PROTO, Stored, in_order

_PROPERTY = entity_pb.Property
_BYTES = {_PROPERTY.BLOB, _PROPERTY.BYTESTRING}
_HIDDEN = frozenset(datastore_stub_util.GetInvisibleSpecialPropertyNames())


def encode_properties(entity: Any, app_id: str, depth: int = 0) -> dict[str, Typed]:
    """Return the properties of an EntityProto, by name."""
    return {
        name: _encode_group(name, group, app_id, depth)
        for name, group in grouped(entity).items()
    }


def grouped(entity: Any) -> dict[str, list[Stored]]:
    """Return the stored values of each property of an EntityProto, by its name."""
    groups: dict[str, list[Stored]] = {}
    for indexed, stored in ((True, entity.property), (False, entity.raw_property)):
        for item in stored:
            if item.name not in _HIDDEN:
                groups.setdefault(name_of(item), []).append((indexed, item))
    return {name: in_order(group) for name, group in groups.items()}


def name_of(item: Any) -> str:
    """Return the name of a stored property; bytes that are not UTF-8 are escaped."""
    name = item.name
    return name.decode(errors="backslashreplace") if isinstance(name, bytes) else name


def _encode_group(name: str, group: list[Stored], app_id: str, depth: int) -> Typed:
    """Return a property, whose values are those of a list if there are several."""
    try:
        values = [_encode(item, indexed, app_id, depth) for indexed, item in group]
        typed = values[0]
        if group[0][1].multiple:
            typed = {"type": "list", "value": values}
        again = decode_group(name, typed, app_id, depth)
        if len(again) == len(group) and all(map(_same, again, group)):
            return typed
    except TypedError:
        pass
    return {
        "type": "raw",
        "value": [
            {"indexed": indexed, "property": _base64(item.SerializePartialToString())}
            for indexed, item in group
        ],
    }


def _same(one: Stored, other: Stored) -> bool:
    return one[0] == other[0] and _normal(one[1]) == _normal(other[1])


def _normal(item: Any) -> Any:
    """Return what is compared: the order of an entity's properties has no meaning."""
    if item.meaning != ENTITY_PROTO:
        return item.SerializePartialToString(deterministic=True)
    embedded = entity_pb.EntityProto.FromString(item.value.stringValue)
    parts = [
        sorted(((name_of(part), _normal(part)) for part in stored), key=lambda p: p[0])
        for stored in (embedded.property, embedded.raw_property)
    ]
    del embedded.property[:], embedded.raw_property[:]
    outer = _PROPERTY()
    outer.CopyFrom(item)
    outer.value.stringValue = b""
    rest = (outer, embedded)
    return parts, [m.SerializePartialToString(deterministic=True) for m in rest]


def _encode(item: Any, indexed: bool, app_id: str, depth: int) -> Typed:
    """Return one value.

    Raises:
        TypedError: only its bytes can say it.
    """
    if item.meaning == _PROPERTY.EMPTY_LIST:
        return {"type": "list", "value": [], "indexed": indexed}
    kind, value = _encode_value(item, app_id, depth)
    typed: Typed = {"type": kind, "value": value, "indexed": indexed}
    if item.meaning != default_meaning(kind, indexed):
        typed["meaning"] = item.meaning
    if item.HasField("meaning_uri"):
        typed["meaning_uri"] = text_in(item.meaning_uri)
    return typed


def _encode_value(item: Any, app_id: str, depth: int) -> tuple[str, Any]:
    value, meaning = item.value, item.meaning
    if value.HasField("stringValue"):
        return _encode_string(item, app_id, depth)
    if value.HasField("int64Value"):
        number = value.int64Value
        if meaning == _PROPERTY.GD_WHEN and (text := _encode_datetime(number)):
            return "datetime", text
        return "integer", number if abs(number) <= SAFE_INTEGER else str(number)
    if value.HasField("booleanValue"):
        return "boolean", value.booleanValue
    if value.HasField("doubleValue"):
        return "float", _encode_float(value.doubleValue)
    if value.HasField("pointvalue"):
        point = value.pointvalue
        numbers = {"latitude": point.x, "longitude": point.y}
        return "geopoint", {n: _encode_float(x) for n, x in numbers.items()}
    if value.HasField("uservalue"):
        user = value.uservalue
        fields = {
            n: getattr(user, f) for n, f in USER_FIELDS.items() if user.HasField(f)
        }
        return "user", {name: text_in(text) for name, text in fields.items()}
    if value.HasField("referencevalue"):
        key = value.referencevalue
        return "key", encode_key(key, key.pathelement, app_id)
    return "null", None


def _encode_string(item: Any, app_id: str, depth: int) -> tuple[str, Any]:
    data = item.value.stringValue
    if item.meaning == ENTITY_PROTO:
        if depth >= MAX_DEPTH:
            raise TypedError("too deep")
        embedded = entity_pb.EntityProto()
        try:
            embedded.MergeFromString(data)
        except DecodeError:
            raise TypedError("not an entity") from None
        entity: dict[str, Any] = {}
        if embedded.HasField("key"):
            key = embedded.key
            entity["key"] = encode_key(key, key.path.element, app_id)
        entity["properties"] = encode_properties(embedded, app_id, depth + 1)
        return "entity", entity
    if item.meaning in _BYTES or item.meaning_uri:
        return "bytes", _base64(data)
    try:
        return "text", data.decode()
    except UnicodeDecodeError:
        return "bytes", _base64(data)


def _encode_datetime(microseconds: int) -> str | None:
    try:
        moment = EPOCH + datetime.timedelta(microseconds=microseconds)
    except OverflowError:
        return None
    return f"{moment.isoformat()}Z"


def _encode_float(number: float) -> Any:
    # JSON has no NaN and no infinity, and a script writes -0.0 as 0.
    if math.isfinite(number) and (number or math.copysign(1, number) > 0):
        return number
    return str(number)


def _base64(data: bytes) -> str:
    return base64.b64encode(data).decode()
