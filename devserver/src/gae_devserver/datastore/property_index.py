"""Sorted indexes over the entities of a kind, as the real datastore keeps them.

Keys and property values become tuples that sort as the datastore sorts:
https://cloud.google.com/datastore/docs/concepts/entities#value_type_ordering
"""

import struct
from bisect import bisect_left, bisect_right, insort
from collections.abc import Collection, Iterable, Iterator
from operator import itemgetter
from typing import Any

from google.appengine.datastore import entity_bytes_pb2 as entity_pb

Path = tuple[str | int, ...]
"""A key without its namespace: kind, 0, id or kind, 1, name; again for each child."""
ValueKey = tuple[Any, ...]
"""The rank of the type, which is its field in PropertyValue, then the value."""
Entry = tuple[ValueKey, Path]

NULL: ValueKey = (0,)
INTEGER, BOOLEAN, STRING, DOUBLE, POINT, USER, KEY = 1, 2, 3, 4, 5, 8, 12
KEY_PROPERTY = "__key__"
ENTITY_PROTO = entity_pb.Property.ENTITY_PROTO
INDEXED_ENTITY = "INDEXED"
"""The meaning_uri of an embedded entity whose properties are indexed.

Version 3 keeps embedded entities among the properties without index; version 1 has
them indexed as "property.subproperty" unless they are excluded.
"""

_SIGN = 0x7FFF_FFFF_FFFF_FFFF


def path_of(elements: Iterable[Any]) -> Path:
    """Return the sortable path of a key; `elements` are those of version 3."""
    flat: list[str | int] = []
    for element in elements:
        if element.HasField("name"):
            flat += (element.type, 1, element.name)
        else:
            flat += (element.type, 0, element.id)
    return tuple(flat)


def add_path(path: Path, elements: Any) -> None:
    """Write a sortable path as the elements of a key of version 3."""
    for kind, named, identifier in zip(path[::3], path[1::3], path[2::3], strict=True):
        element = elements.add(type=kind)
        setattr(element, "name" if named else "id", identifier)


def sortable_double(value: float) -> int:
    """Return an integer that sorts as the double does: -0 before 0, NaN at the end."""
    if value != value:
        value = float("nan")
    bits: int = struct.unpack(">q", struct.pack(">d", value))[0]
    return bits if bits >= 0 else bits ^ _SIGN


def double_of(bits: int) -> float:
    """Return the double of a sortable integer."""
    bits = bits if bits >= 0 else bits ^ _SIGN
    value: float = struct.unpack(">d", struct.pack(">q", bits))[0]
    return value


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
        return (USER, user.email, user.auth_domain, user.obfuscated_gaiaid)
    if value.HasField("referencevalue"):
        key = value.referencevalue
        path = path_of(key.pathelement)
        return (KEY, key.app, key.database_id, key.name_space, *path)
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


class Row:
    """A stored entity and what the indexes say of it."""

    __slots__ = ("_values", "converted", "path", "record")

    def __init__(self, path: Path, record: Any) -> None:
        self.path = path
        self.record = record
        """The stub's EntityRecord; it is never changed, only replaced."""
        self.converted: Any = None
        """The entity in version 1, once somebody has asked for it."""
        self._values: dict[str, list[ValueKey]] | None = None

    def values(self, name: str) -> list[ValueKey]:
        """Return the different indexed values of a property, in order."""
        return self.properties().get(name, [])

    def properties(self) -> dict[str, list[ValueKey]]:
        """Return all indexed values; the key is the only value of "__key__"."""
        if self._values is None:
            found: dict[str, set[ValueKey]] = {}
            for name, key in indexed_values(self.record.entity):
                found.setdefault(name, set()).add(key)
            self._values = {name: sorted(keys) for name, keys in found.items()}
            self._values[KEY_PROPERTY] = [self.path]
        return self._values


def indexed_values(entity: Any, prefix: str = "") -> Iterator[tuple[str, ValueKey]]:
    """Yield the property and the value of what is indexed of an entity."""
    for item in entity.property:
        yield prefix + item.name, value_key(item.value)
    for item in entity.raw_property:
        if item.meaning == ENTITY_PROTO and item.meaning_uri == INDEXED_ENTITY:
            embedded = entity_pb.EntityProto()
            embedded.MergeFromString(item.value.stringValue)
            yield from indexed_values(embedded, f"{prefix}{item.name}.")


_value = itemgetter(0)


class KindIndex:
    """The entities of one kind in one namespace, by key and by property.

    What has a value is known at once. A sorted list is made when it is first asked
    for and kept in order from then on: most properties never need one.
    """

    def __init__(self) -> None:
        self.rows: dict[Path, Row] = {}
        self.changes = 0
        """Goes up with each change of an entity."""
        self._equal: dict[str, dict[ValueKey, set[Path]]] = {}
        self._paths: list[Path] | None = None
        self._entries: dict[str, list[Entry]] = {}

    @classmethod
    def of(cls, rows: Iterable[Row]) -> "KindIndex":
        """Return an index of rows, which may be of several kinds."""
        index = cls()
        for row in rows:
            index.replace(row.path, row)
        return index

    def paths(self) -> list[Path]:
        """Return all keys in order."""
        if self._paths is None:
            self._paths = sorted(self.rows)
        return self._paths

    def equal(self, name: str, value: ValueKey) -> Collection[Path]:
        """Return the keys of the entities that have a value, in no order."""
        return self._equal.get(name, {}).get(value, ())

    def entries(self, name: str) -> list[Entry]:
        """Return the index of a property: value and key, in order."""
        if name not in self._entries:
            self._entries[name] = sorted(
                (value, path)
                for value, paths in self._equal.get(name, {}).items()
                for path in paths
            )
        return self._entries[name]

    def replace(self, path: Path, row: Row | None) -> Row | None:
        """Put `row` in place of what has this key, or nothing; return the old row."""
        self.changes += 1
        old = self.rows.pop(path, None)
        if row is not None:
            self.rows[path] = row
        if self._paths is not None and (old is None) != (row is None):
            if row is not None:
                insort(self._paths, path)
            else:
                del self._paths[bisect_left(self._paths, path)]
        before = old.properties() if old else {}
        after = row.properties() if row else {}
        for name, values in before.items():
            for value in values:
                if value not in after.get(name, ()):
                    self._remove(name, value, path)
        for name, values in after.items():
            for value in values:
                if value not in before.get(name, ()):
                    self._add(name, value, path)
        return old

    def _add(self, name: str, value: ValueKey, path: Path) -> None:
        if name == KEY_PROPERTY:
            return
        self._equal.setdefault(name, {}).setdefault(value, set()).add(path)
        if name in self._entries:
            insort(self._entries[name], (value, path))

    def _remove(self, name: str, value: ValueKey, path: Path) -> None:
        if name == KEY_PROPERTY:
            return
        paths = self._equal[name][value]
        paths.remove(path)
        if not paths:
            del self._equal[name][value]
        if name in self._entries:
            entries = self._entries[name]
            del entries[bisect_left(entries, (value, path))]


def value_range(
    entries: list[Entry],
    low: ValueKey | None,
    high: ValueKey | None,
    low_inclusive: bool = True,
    high_inclusive: bool = True,
) -> tuple[int, int]:
    """Return where the entries with values between `low` and `high` begin and end."""
    start, stop = 0, len(entries)
    if low is not None:
        side = bisect_left if low_inclusive else bisect_right
        start = side(entries, low, key=_value)
    if high is not None:
        side = bisect_right if high_inclusive else bisect_left
        stop = side(entries, high, key=_value)
    return start, max(start, stop)
