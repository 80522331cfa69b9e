"""Converts entities of version 1 to version 3, and refuses invalid ones.

The rules are those of google/appengine/datastore/datastore_pbs.py and, for refusals,
cloud_datastore_validator.py, updated to what Google's emulators do.
"""

from typing import Any

from google.appengine.datastore import datastore_stub_util
from google.appengine.datastore import entity_bytes_pb2 as entity_pb

from gae_devserver.datastore.encoding import (
    ENTITY_PROTO,
    INDEXED_ENTITY,
    add_path,
    mark_order,
)
from gae_devserver.datastore_v1.entity_limits import (
    check_indexed_values,
    checked_size,
)
from gae_devserver.datastore_v1.entity_reader import (
    COMPRESSED,
    COMPRESSED_URI,
    EMPTY_LIST,
    FIRST_SECOND,
    INDEX_VALUE,
    LAST_SECOND,
    NO_USER_ID,
    POINT,
    PROPERTY,
    TIMESTAMP,
    USER,
    USER_FIELDS,
)
from gae_devserver.datastore_v1.keys import Partition, check_name, is_reserved
from gae_devserver.rpc.errors import InvalidArgumentError, check

MAX_INDEXED_BYTES = 1500
MAX_VALUE_BYTES = 1_048_487
MAX_DEPTH = 20
"""Source of all three: "Limits" in the documentation of Datastore."""
MAX_LINK_BYTES = 2083
"""Of a string that is a link, with and without index. Source: Google's emulators."""
MAX_RATING = 100

LINK, RATING = PROPERTY.ATOM_LINK, PROPERTY.GD_RATING

Parents = tuple[str, ...]
"""The names of the properties that an embedded entity is in."""

_MEANINGS = {
    "string_value": {*range(1, 7), 8, *range(10, 13), 15, 17},
    "blob_value": {PROPERTY.BYTESTRING, COMPRESSED},
    "integer_value": {TIMESTAMP, RATING},
    "entity_value": {USER},
}
_ONLY_UNINDEXED = {PROPERTY.TEXT, COMPRESSED}


def entity_to_v3(entity: Any, partition: Partition, reference: Any) -> Any:
    """Return an entity as version 3, with a key of version 3.

    Raises:
        InvalidArgumentError: part of it cannot be stored.
    """
    size = checked_size(entity)
    proto = entity_pb.EntityProto()
    proto.key.CopyFrom(reference)
    proto.entity_group.element.append(reference.path.element[0])
    _Writer(partition).properties(entity, proto, ())
    check_indexed_values(proto, size)
    return proto


def properties_to_v3(entity: Any, partition: Partition, parents: Parents) -> Any:
    """Return the properties of an entity as version 3, without a key.

    Args:
        entity: the entity.
        partition: where it is stored.
        parents: the properties in which it is embedded, from the outermost one.

    Raises:
        InvalidArgumentError: part of it cannot be stored.
    """
    proto = entity_pb.EntityProto()
    _Writer(partition).properties(entity, proto, parents)
    return proto


def property_of(value: Any, partition: Partition, name: str) -> Any:
    """Return the PropertyValue that a filter compares with."""
    kind = value.WhichOneof("value_type")
    if kind == "array_value":
        raise InvalidArgumentError("A list value is not allowed")
    if kind == "entity_value" and value.meaning != USER:
        raise InvalidArgumentError("An entity value is not allowed")
    check(not value.exclude_from_indexes, "a filter value must be indexed")
    if value.meaning == INDEX_VALUE and kind != "timestamp_value":
        # A value that a projection has returned.
        projected, value = value, type(value)()
        value.CopyFrom(projected)
        value.ClearField("meaning")
    prop = entity_pb.Property(name=name)
    _Writer(partition).value(value, prop, name, indexed=True, parents=())
    return prop.value


class _Writer:
    """Converts properties and values to version 3."""

    def __init__(self, partition: Partition) -> None:
        self._partition = partition
        self._app_prefix = partition.app_id.removesuffix(partition.project)

    def properties(self, entity: Any, proto: Any, parents: Parents) -> None:
        check_depth(len(parents))
        taken = len(".".join((*parents, "")).encode()) if parents else 0
        # Sorted, so that equal entities are equal messages.
        for name, value in sorted(entity.properties.items()):
            check_name(name, "property.name", taken)
            if name[:2] == "__" and is_reserved(name):
                raise InvalidArgumentError(f'The property.name "{name}" is reserved.')
            if value.WhichOneof("value_type") == "array_value":
                self._array(name, value, proto, parents)
            else:
                self._add(name, value, proto, parents, multiple=False)

    def _array(self, name: str, value: Any, proto: Any, parents: Parents) -> None:
        check(
            not value.exclude_from_indexes,
            "Exclude from indexes cannot be set on a list value",
        )
        check(not value.meaning, "Meaning cannot be set on a list value.")
        indexed, raw = len(proto.property), len(proto.raw_property)
        for item in value.array_value.values:
            check(
                item.WhichOneof("value_type") != "array_value",
                "list_value cannot contain a Value containing another list_value.",
            )
            self._add(name, item, proto, parents, multiple=True)
        if len(proto.property) > indexed and len(proto.raw_property) > raw:
            lists = iter(proto.raw_property[raw:]), iter(proto.property[indexed:])
            are_indexed = map(_is_with_indexed, value.array_value.values)
            mark_order([(own, next(lists[own])) for own in are_indexed])
        if not value.array_value.values:
            empty = proto.property.add(name=name, multiple=False, meaning=EMPTY_LIST)
            empty.value.SetInParent()

    def _add(
        self, name: str, value: Any, proto: Any, parents: Parents, *, multiple: bool
    ) -> None:
        indexed = not value.exclude_from_indexes
        embedded = value.HasField("entity_value") and value.meaning != USER
        # Version 3 does not index embedded entities: meaning_uri marks indexed ones.
        into = proto.property if indexed and not embedded else proto.raw_property
        prop = into.add(name=name, multiple=multiple)
        self.value(value, prop, name, indexed=indexed, parents=parents)
        if embedded and indexed:
            prop.meaning_uri = INDEXED_ENTITY

    def value(
        self, value: Any, prop: Any, name: str, *, indexed: bool, parents: Parents
    ) -> None:
        """Write one value, which must not be an array, into a property."""
        kind = value.WhichOneof("value_type")
        check(kind, f'The value "{name}" does not contain a value.')
        meaning = value.meaning
        if meaning:
            _check_meaning(kind, meaning, indexed)
        into = prop.value
        into.SetInParent()
        match kind:
            case "string_value":
                into.stringValue = value.string_value.encode()
            case "integer_value":
                into.int64Value = value.integer_value
                if meaning:
                    _check_integer_meaning(value.integer_value, meaning)
            case "boolean_value":
                into.booleanValue = value.boolean_value
            case "double_value":
                into.doubleValue = value.double_value
            case "timestamp_value":
                into.int64Value = _microseconds(value.timestamp_value)
                meaning = TIMESTAMP
            case "key_value":
                self._key(value.key_value, into.referencevalue)
            case "blob_value":
                into.stringValue = value.blob_value
                if meaning == COMPRESSED:
                    prop.meaning_uri = COMPRESSED_URI
                if meaning != PROPERTY.BYTESTRING:
                    meaning = PROPERTY.BYTESTRING if indexed else PROPERTY.BLOB
            case "geo_point_value":
                _point(value.geo_point_value, into)
                meaning = POINT
            case "entity_value" if meaning == USER:
                check_depth(len(parents) + 1)
                _user(value.entity_value, prop)
                meaning = 0
            case "entity_value":
                embedded = entity_pb.EntityProto()
                if value.entity_value.HasField("key"):
                    self._embedded_key(value.entity_value.key, embedded.key)
                self.properties(value.entity_value, embedded, (*parents, name))
                into.stringValue = embedded.SerializePartialToString()
                meaning = ENTITY_PROTO
        if meaning:
            prop.meaning = meaning
        if into.HasField("stringValue") and kind != "entity_value":
            limit = MAX_INDEXED_BYTES if indexed else MAX_VALUE_BYTES
            if meaning == LINK:
                limit = MAX_LINK_BYTES
            check(
                len(into.stringValue) <= limit,
                f'The value of property "{name}" is longer than {limit} bytes.',
            )

    def _key(self, key: Any, into: Any) -> None:
        self._write_partition(key.partition_id, into)
        add_path(self._partition.path(key), into.pathelement)

    def _write_partition(self, partition: Any, into: Any) -> None:
        self._partition.check_any(partition)
        into.app = self._app_prefix + (partition.project_id or self._partition.project)
        if partition.database_id:
            into.database_id = partition.database_id
        if partition.namespace_id:
            into.name_space = partition.namespace_id

    def _embedded_key(self, key: Any, into: Any) -> None:
        """Write the key of an embedded entity, which may be incomplete."""
        self._write_partition(key.partition_id, into)
        self._partition.path(key, complete=None)
        for element in key.path:
            into.path.element.add(type=element.kind)
            if field := element.WhichOneof("id_type"):
                setattr(into.path.element[-1], field, getattr(element, field))


def _is_with_indexed(value: Any) -> bool:
    """Return whether version 3 keeps a value with the indexed properties."""
    is_embedded = value.HasField("entity_value") and value.meaning != USER
    return not (is_embedded or value.exclude_from_indexes)


def check_depth(depth: int) -> None:
    """Check how many entities a value is in.

    Raises:
        InvalidArgumentError: they are more than any entity can have.
    """
    if depth > MAX_DEPTH:
        raise InvalidArgumentError(
            f"At most {MAX_DEPTH} nested entity values are supported."
        )


def _check_meaning(kind: str, meaning: int, indexed: bool) -> None:
    if meaning == INDEX_VALUE:
        raise InvalidArgumentError("Projection property cannot be used.")
    if meaning not in _MEANINGS.get(kind, ()):
        raise InvalidArgumentError(f"Unexpected value meaning {meaning}.")
    if indexed and meaning in _ONLY_UNINDEXED:
        raise InvalidArgumentError(f"Indexed value has meaning {meaning}.")


def _check_integer_meaning(value: int, meaning: int) -> None:
    if meaning == TIMESTAMP and FIRST_SECOND <= value // 10**6 <= LAST_SECOND:
        raise InvalidArgumentError(
            "A timestamp in range [0001-01-01T00:00:00Z, 9999-12-31T23:59:59.999999Z]"
            " must be stored as a timestamp value."
        )
    check(
        meaning != RATING or 0 <= value <= MAX_RATING,
        f"Percent value outside permitted range [0, {MAX_RATING}].",
    )


def _microseconds(timestamp: Any) -> int:
    check(
        FIRST_SECOND <= timestamp.seconds <= LAST_SECOND
        and 0 <= timestamp.nanos < 10**9,
        "Timestamp is outside of the range of years 1 to 9999.",
    )
    return timestamp.seconds * 10**6 + timestamp.nanos // 1000


def _point(point: Any, into: Any) -> None:
    for value, limit, what in (
        (point.latitude, 90.0, "latitude"),
        (point.longitude, 180.0, "longitude"),
    ):
        check(
            abs(value) <= limit,
            f"Geo point {what} outside permitted range {-limit} to {limit}.",
        )
    into.pointvalue.x, into.pointvalue.y = point.latitude, point.longitude


def _user(entity: Any, prop: Any) -> None:
    check(not entity.HasField("key"), "The user entity has a key.")
    user = prop.value.uservalue
    user.gaiaid = 0
    for name, value in entity.properties.items():
        check(name in USER_FIELDS, f'The user entity property "{name}" is not allowed.')
        check(
            value.HasField("string_value"),
            f'The user entity property "{name}" is the wrong type.',
        )
        check(
            value.exclude_from_indexes, f'The user entity property "{name}" is indexed.'
        )
        setattr(user, USER_FIELDS[name], value.string_value)
    for name in ("email", "auth_domain"):
        check(
            user.HasField(name),
            f'The user entity is missing required property "{name}".',
        )
    if not user.HasField("obfuscated_gaiaid"):
        datastore_stub_util.FillUser(prop)
        prop.meaning_uri = NO_USER_ID
