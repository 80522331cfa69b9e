"""Writes and reads the properties of entities in the JSON form that loses nothing.

Each property is an object with a `type`, a `value`, and whether it is `indexed`. The
distribution's README documents it. What this form cannot say is written as the type
"raw" with the bytes that are stored, so that every property survives a round trip.
"""

import base64
import binascii
import datetime
import math
import re
from typing import Any

from google.appengine.datastore import datastore_stub_util
from google.appengine.datastore import entity_bytes_pb2 as entity_pb
from google.protobuf.message import DecodeError

from gae_devserver.console.typed_keys import (
    SAFE_INTEGER,
    TypedError,
    decode_key,
    encode_key,
    integer_in,
    shown,
    text_in,
)
from gae_devserver.datastore.encoding import ENTITY_PROTO

Typed = dict[str, Any]
"""A property, or a value of a list, in JSON."""
Stored = tuple[bool, Any]
"""Whether it is indexed, and the Property of version 3."""

_PROPERTY = entity_pb.Property
_BYTES = {_PROPERTY.BLOB, _PROPERTY.BYTESTRING}
_HIDDEN = frozenset(datastore_stub_util.GetInvisibleSpecialPropertyNames())
_EPOCH = datetime.datetime(1970, 1, 1)
_MICROSECOND = datetime.timedelta(microseconds=1)
_DATETIME = re.compile(
    r"(\d{4}-\d\d-\d\d)"
    r"(?:[T ](\d\d:\d\d)(?::(\d\d)(?:\.(\d{1,6}))?)?(?:Z|\+00:00)?)?"
)
_MAX_DEPTH = 20
_USER = {
    "email": "email",
    "auth_domain": "auth_domain",
    "nickname": "nickname",
    "user_id": "obfuscated_gaiaid",
    "federated_identity": "federated_identity",
    "federated_provider": "federated_provider",
}
TYPES = (
    "text",
    "integer",
    "float",
    "boolean",
    "datetime",
    "null",
    "bytes",
    "key",
    "geopoint",
    "user",
    "entity",
    "list",
)
"""The types that a property may get; "raw" is only for what is stored already."""


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
    return groups


def name_of(item: Any) -> str:
    """Return the name of a stored property; bytes that are not UTF-8 are escaped."""
    name = item.name
    return name.decode(errors="backslashreplace") if isinstance(name, bytes) else name


def decode_properties(properties: Any, app_id: str, into: Any, depth: int = 0) -> None:
    """Add properties to an EntityProto.

    Raises:
        TypedError: one of them is not valid.
    """
    if not isinstance(properties, dict):
        raise TypedError("the properties must be an object")
    if depth > _MAX_DEPTH:
        raise TypedError(f"entities in entities are at most {_MAX_DEPTH} deep")
    for name, typed in properties.items():
        for indexed, item in decode_group(name, typed, app_id, depth):
            (into.property if indexed else into.raw_property).append(item)


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
    if item.meaning != _default_meaning(kind, indexed):
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
        fields = {n: getattr(user, f) for n, f in _USER.items() if user.HasField(f)}
        return "user", {name: text_in(text) for name, text in fields.items()}
    if value.HasField("referencevalue"):
        key = value.referencevalue
        return "key", encode_key(key, key.pathelement, app_id)
    return "null", None


def _encode_string(item: Any, app_id: str, depth: int) -> tuple[str, Any]:
    data = item.value.stringValue
    if item.meaning == ENTITY_PROTO:
        if depth >= _MAX_DEPTH:
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
        moment = _EPOCH + datetime.timedelta(microseconds=microseconds)
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


def _default_meaning(kind: str, indexed: bool) -> int:
    """Return the meaning of values that either library writes, if none is named."""
    meanings: dict[str, int] = {
        "datetime": _PROPERTY.GD_WHEN,
        "bytes": _PROPERTY.BYTESTRING if indexed else _PROPERTY.BLOB,
        "geopoint": _PROPERTY.GEORSS_POINT,
        "entity": ENTITY_PROTO,
    }
    return meanings.get(kind, 0)


def decode_group(name: str, typed: Any, app_id: str, depth: int = 0) -> list[Stored]:
    """Return the stored properties that a property consists of.

    Raises:
        TypedError: it is not valid; the message names the property.
    """
    try:
        return _decode_group(name, typed, app_id, depth)
    except TypedError as error:
        raise TypedError(f"{name}: {error}") from None


def _decode_group(name: str, typed: Any, app_id: str, depth: int) -> list[Stored]:
    if not isinstance(typed, dict) or "type" not in typed:
        raise TypedError(
            'a property is an object such as {"type": "integer", "value": 1}'
        )
    if not text_in(name, "the name"):
        raise TypedError("the name of a property is empty")
    kind, value = typed["type"], typed.get("value")
    if kind not in ("list", "raw"):
        return [_decode(name, typed, app_id, depth, multiple=False)]
    if not isinstance(value, list):
        raise TypedError(f"the value of a {kind} is {shown(value)}, not a list")
    if kind == "raw":
        return [_decode_raw(part) for part in value]
    if not value:
        item = _PROPERTY(name=name, multiple=False, meaning=_PROPERTY.EMPTY_LIST)
        item.value.SetInParent()
        return [(typed.get("indexed", True) is True, item)]
    return [_decode(name, part, app_id, depth, multiple=True) for part in value]


def _decode_raw(part: Any) -> Stored:
    match part:
        case {"indexed": bool() as indexed, "property": str() as text}:
            item = _PROPERTY()
            try:
                item.MergeFromString(bytes_in(text))
            except DecodeError:
                raise TypedError("the bytes of a raw property are broken") from None
            return indexed, item
    raise TypedError('a raw value is {"indexed": true, "property": "BASE64"}')


def _decode(
    name: str, typed: Any, app_id: str, depth: int, *, multiple: bool
) -> Stored:
    if not isinstance(typed, dict):
        raise TypedError('a value is an object such as {"type": "integer", "value": 1}')
    kind, value = typed.get("type"), typed.get("value")
    indexed = typed.get("indexed", kind != "entity")
    if not isinstance(indexed, bool):
        raise TypedError('"indexed" is true or false')
    item = _PROPERTY(name=name, multiple=multiple)
    into = item.value
    into.SetInParent()
    match kind:
        case "null" if value is None:
            pass
        case "boolean" if isinstance(value, bool):
            into.booleanValue = value
        case "integer":
            into.int64Value = integer_in(value)
        case "float":
            into.doubleValue = _float_in(value)
        case "text":
            into.stringValue = text_in(value).encode()
        case "bytes":
            into.stringValue = bytes_in(value)
        case "datetime":
            into.int64Value = _microseconds_in(value)
        case "key":
            decode_key(
                value, app_id, into.referencevalue, into.referencevalue.pathelement
            )
        case "geopoint":
            _decode_point(value, into.pointvalue)
        case "user":
            _decode_user(value, item)
        case "entity":
            into.stringValue = _decode_entity(value, app_id, depth)
        case "null" | "boolean":
            raise TypedError(f"{shown(value)} is no value of the type {kind}")
        case "list":
            raise TypedError("a list has no lists in it")
        case _:
            raise TypedError(
                f"there is no type {shown(kind)}; the types are {', '.join(TYPES)}"
            )
    meaning = integer_in(typed.get("meaning", _default_meaning(kind, indexed)))
    if meaning:
        try:
            item.meaning = meaning
        except ValueError:
            raise TypedError(f"there is no meaning {meaning}") from None
    if "meaning_uri" in typed:
        item.meaning_uri = text_in(typed["meaning_uri"], "meaning_uri")
    return indexed, item


def bytes_in(value: Any) -> bytes:
    """Return the bytes in a base64 text.

    Raises:
        TypedError: it is none.
    """
    try:
        return base64.b64decode("".join(text_in(value).split()), validate=True)
    except (binascii.Error, ValueError):
        raise TypedError(f"{shown(value)} is not in base64") from None


def _float_in(value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        raise TypedError(f"{shown(value)} is no number")
    try:
        return float(value)
    except (ValueError, OverflowError):
        raise TypedError(f"{shown(value)} is no number") from None


def _microseconds_in(value: Any) -> int:
    match = _DATETIME.fullmatch(value.strip()) if isinstance(value, str) else None
    try:
        if match is None:
            raise ValueError
        date, minutes, seconds, fraction = match.groups()
        fraction = (fraction or "").ljust(6, "0")
        text = f"{date}T{minutes or '00:00'}:{seconds or '00'}.{fraction}"
        return (datetime.datetime.fromisoformat(text) - _EPOCH) // _MICROSECOND
    except ValueError:
        raise TypedError(
            f"{shown(value)} is no date and time in UTC such as 2026-01-02T03:04:05Z"
        ) from None


def _decode_point(value: Any, into: Any) -> None:
    match value:
        case {"latitude": latitude, "longitude": longitude} if len(value) == 2:
            into.x, into.y = _float_in(latitude), _float_in(longitude)
        case _:
            raise TypedError('a point is {"latitude": 52.5, "longitude": 13.4}')


def _decode_user(value: Any, item: Any) -> None:
    match value:
        case {"email": str(), "auth_domain": str()} if value.keys() <= _USER.keys():
            user = item.value.uservalue
            user.gaiaid = 0
            for name, text in value.items():
                setattr(user, _USER[name], text_in(text, name))
            return
    raise TypedError('a user is {"email": "a@example.com", "auth_domain": "gmail.com"}')


def _decode_entity(value: Any, app_id: str, depth: int) -> bytes:
    if not isinstance(value, dict) or not value.keys() <= {"key", "properties"}:
        raise TypedError('an entity is {"properties": {...}}')
    embedded = entity_pb.EntityProto()
    if "key" in value:
        key = embedded.key
        decode_key(value["key"], app_id, key, key.path.element)
    decode_properties(value.get("properties", {}), app_id, embedded, depth + 1)
    data: bytes = embedded.SerializePartialToString()
    return data
