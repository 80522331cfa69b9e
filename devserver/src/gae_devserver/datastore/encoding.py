"""Encodes keys and property values as tuples that sort as the datastore sorts.

https://cloud.google.com/datastore/docs/concepts/entities#value_type_ordering
"""

import struct
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from google.appengine.datastore import entity_bytes_pb2 as entity_pb

Path = tuple[str | int, ...]
"""A key without its namespace: for each element its kind, and 0, id or 1, name."""
ValueKey = tuple[Any, ...]
"""The rank of the type, which is its field in PropertyValue, then the value."""

NULL: ValueKey = (0,)
INTEGER, BOOLEAN, STRING, DOUBLE, POINT, USER, KEY = 1, 2, 3, 4, 5, 8, 12
KEY_PROPERTY = "__key__"
ENTITY_PROTO = entity_pb.Property.ENTITY_PROTO
INDEXED_ENTITY = "INDEXED"
"""The meaning_uri of an embedded entity whose properties are indexed.

Version 3 stores embedded entities with the properties that have no index. Version 1
indexes them as "property.subproperty" unless they are excluded.
"""

Stored = tuple[bool, Any]
"""Whether a property is with the indexed ones, and the Property of version 3."""

_SIGN = 0x7FFF_FFFF_FFFF_FFFF


def path_of(elements: Iterable[Any]) -> Path:
    """Return the sortable path of a key; `elements` are those of version 3."""
    flat: list[str | int] = []
    for element in elements:
        if element.HasField("name"):
            flat += (text_of(element.type), 1, text_of(element.name))
        else:
            flat += (text_of(element.type), 0, element.id)
    return tuple(flat)


def text_of(value: str | bytes) -> str:
    """Return a text in UTF-8; protocol buffers return any other as bytes.

    Those cannot be compared with text, so one of them would break an index.
    """
    return value if isinstance(value, str) else value.decode(errors="surrogateescape")


def after(key: tuple[Any, ...]) -> tuple[Any, ...]:
    """Return what sorts directly after a path, a value or an entry of an index.

    Only a path can be a prefix of another; a kind comes next, and "" sorts before every
    kind.
    """
    return (*key, "")


def after_descendants(path: Path) -> Path:
    """Return what sorts directly after a key and all keys below it."""
    *above, last = path
    return (*above, last + 1 if isinstance(last, int) else last + "\0")


def add_path(path: Path, elements: Any) -> None:
    """Write a sortable path as the elements of a key of version 3."""
    for kind, named, identifier in zip(path[::3], path[1::3], path[2::3], strict=True):
        element = elements.add(type=kind)
        setattr(element, "name" if named else "id", identifier)


def sortable_double(value: float) -> int:
    """Return an integer that sorts as the double does: -0 before 0, NaN at the end."""
    if value != value:
        value = float("nan")
    (bits,) = struct.unpack(">q", struct.pack(">d", value))
    return bits if bits >= 0 else bits ^ _SIGN


def double_of(bits: int) -> float:
    """Return the double of a sortable integer."""
    bits = bits if bits >= 0 else bits ^ _SIGN
    return struct.unpack(">d", struct.pack(">q", bits))[0]


def value_key(value: Any) -> ValueKey:
    """Return what a PropertyValue sorts by; equal tuples are equal values."""
    if value.HasField("stringValue"):
        return (STRING, value.stringValue)
    if value.HasField("int64Value"):
        return (INTEGER, value.int64Value)
    if value.HasField("booleanValue"):
        return (BOOLEAN, value.booleanValue)
    if value.HasField("doubleValue"):
        return (DOUBLE, sortable_double(value.doubleValue))
    if value.HasField("pointvalue"):
        return (POINT, value.pointvalue.x, value.pointvalue.y)
    if value.HasField("uservalue"):
        user = value.uservalue
        texts = (user.email, user.auth_domain, user.obfuscated_gaiaid)
        return (USER, *map(text_of, texts))
    if value.HasField("referencevalue"):
        key = value.referencevalue
        path = path_of(key.pathelement)
        texts = (key.app, key.database_id, key.name_space)
        return (KEY, *map(text_of, texts), *path)
    return NULL


def property_value(key: ValueKey, into: Any) -> None:
    """Write the value that sorts by `key` into an empty PropertyValue."""
    match key:
        case (0,):
            pass
        case (1, value):
            into.int64Value = value
        case (2, value):
            into.booleanValue = value
        case (3, value):
            into.stringValue = value
        case (4, bits):
            into.doubleValue = double_of(bits)
        case (5, x, y):
            into.pointvalue.x, into.pointvalue.y = x, y
        case (8, email, domain, user_id):
            user = into.uservalue
            user.email, user.auth_domain, user.gaiaid = email, domain, 0
            user.obfuscated_gaiaid = user_id
        case (12, app, database, namespace, *path):
            reference = into.referencevalue
            reference.app = app
            if database:
                reference.database_id = database
            if namespace:
                reference.name_space = namespace
            add_path(tuple(path), reference.pathelement)


def mark_order(array: Sequence[Stored]) -> None:
    """Mark the values of an array with their places, if version 3 loses their order.

    Version 3 keeps indexed values before all others. No library reads `stashed`, so a
    marked array is like any other to them; what they write again has no marks.
    """
    places = [indexed for indexed, _ in array]
    if places != sorted(places, reverse=True):
        for place, (_, prop) in enumerate(array):
            prop.stashed = place


def in_order(array: Iterable[Stored]) -> list[Stored]:
    """Return the values of an array in their order, from those as version 3 has it."""
    # It is -1 for values without a mark.
    return sorted(array, key=lambda stored: stored[1].stashed)


def indexed_values(entity: Any, prefix: str = "") -> Iterator[tuple[str, ValueKey]]:
    """Yield the name and the value of each indexed property of an entity."""
    for item in entity.property:
        yield prefix + item.name, value_key(item.value)
    for item in entity.raw_property:
        if item.meaning == ENTITY_PROTO and item.meaning_uri == INDEXED_ENTITY:
            embedded = entity_pb.EntityProto()
            embedded.MergeFromString(item.value.stringValue)
            yield from indexed_values(embedded, f"{prefix}{item.name}.")


def values_of(name: str, entity: Any) -> Iterator[ValueKey]:
    """Yield the indexed values of one property of an entity."""
    if "." in name:  # it may be one of an embedded entity
        yield from (value for found, value in indexed_values(entity) if found == name)
        return
    for item in entity.property:
        if item.name == name:
            yield value_key(item.value)
