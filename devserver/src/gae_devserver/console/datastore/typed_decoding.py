"""Reads properties of entities in the JSON form that loses nothing.

Each property is an object with a `type`, a `value`, and whether it is `indexed`. The
page docs/state-api.md documents it.
"""

import base64
import binascii
import datetime
import re
from typing import Any

from google.appengine.datastore import entity_bytes_pb2 as entity_pb
from google.protobuf.message import DecodeError

from gae_devserver.console.datastore.typed_keys import (
    TypedError,
    decode_key,
    integer_in,
    shown,
    text_in,
)
from gae_devserver.datastore.encoding import ENTITY_PROTO, Stored, mark_order

Typed = dict[str, Any]
"""A property, or a value of a list, in JSON."""

_PROPERTY = entity_pb.Property
EPOCH = datetime.datetime(1970, 1, 1)
_MICROSECOND = datetime.timedelta(microseconds=1)
_DATETIME = re.compile(
    r"(\d{4}-\d\d-\d\d)"
    r"(?:[T ](\d\d:\d\d)(?::(\d\d)(?:\.(\d{1,6}))?)?(?:Z|\+00:00)?)?"
)
MAX_DEPTH = 20
"""Of entities in entities."""
USER_FIELDS = {
    "email": "email",
    "auth_domain": "auth_domain",
    "nickname": "nickname",
    "user_id": "obfuscated_gaiaid",
    "federated_identity": "federated_identity",
    "federated_provider": "federated_provider",
}
"""The fields of a user in JSON, and those of its message."""
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


def decode_properties(properties: Any, app_id: str, into: Any, depth: int = 0) -> None:
    """Add properties to an EntityProto.

    Raises:
        TypedError: one of them is not valid.
    """
    if not isinstance(properties, dict):
        raise TypedError("the properties must be an object")
    if depth > MAX_DEPTH:
        raise TypedError(f"entities in entities are at most {MAX_DEPTH} deep")
    for name, typed in properties.items():
        for indexed, item in decode_group(name, typed, app_id, depth):
            (into.property if indexed else into.raw_property).append(item)


def default_meaning(kind: str, indexed: bool) -> int:
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
    text_in(name, "the name of a property")
    try:
        return _decode_group(name, typed, app_id, depth)
    except TypedError as error:
        raise TypedError(f"{name}: {error}") from None


def _decode_group(name: str, typed: Any, app_id: str, depth: int) -> list[Stored]:
    if not isinstance(typed, dict) or "type" not in typed:
        raise TypedError(
            'a property is an object such as {"type": "integer", "value": 1}'
        )
    if not name:
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
    array = [_decode(name, part, app_id, depth, multiple=True) for part in value]
    mark_order(array)
    return array


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
    meaning = integer_in(typed.get("meaning", default_meaning(kind, indexed)))
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
        return (datetime.datetime.fromisoformat(text) - EPOCH) // _MICROSECOND
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
        case {"email": str(), "auth_domain": str()} if (
            value.keys() <= USER_FIELDS.keys()
        ):
            user = item.value.uservalue
            user.gaiaid = 0
            for name, text in value.items():
                setattr(user, USER_FIELDS[name], text_in(text, name))
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
