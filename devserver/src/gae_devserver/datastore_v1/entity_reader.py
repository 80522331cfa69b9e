"""Converts entities of version 3 to version 1.

The rules are those of google/appengine/datastore/datastore_pbs.py.
"""

from collections import defaultdict
from typing import Any

from google.appengine.datastore import datastore_stub_util
from google.appengine.datastore import entity_bytes_pb2 as entity_pb

from gae_devserver.datastore.encoding import ENTITY_PROTO, INDEXED_ENTITY, path_of
from gae_devserver.datastore_v1.keys import write_key

PROPERTY = entity_pb.Property
EMPTY_LIST = PROPERTY.EMPTY_LIST
TIMESTAMP = PROPERTY.GD_WHEN
POINT = PROPERTY.GEORSS_POINT
INDEX_VALUE = PROPERTY.INDEX_VALUE
# Only version 1 has these meanings.
USER, COMPRESSED = 20, 22
COMPRESSED_URI = "ZLIB"
NO_USER_ID = "NO_USER_ID"
"""The meaning_uri of a user without an id: the bundled API always stores some id."""
USER_FIELDS = {
    "email": "email",
    "auth_domain": "auth_domain",
    "user_id": "obfuscated_gaiaid",
    "federated_identity": "federated_identity",
    "federated_provider": "federated_provider",
}
FIRST_SECOND, LAST_SECOND = -62_135_596_800, 253_402_300_799

_HIDDEN = frozenset(datastore_stub_util.GetInvisibleSpecialPropertyNames())


def entity_to_v1(proto: Any, into: Any) -> None:
    """Write an entity of version 3 into an empty one of version 1."""
    if proto.key.HasField("app"):
        _write_reference(proto.key, proto.key.path.element, into.key)
    properties = into.properties
    marked = False
    for stored, indexed in ((proto.property, True), (proto.raw_property, False)):
        for prop in stored:
            if prop.name in _HIDDEN:
                continue
            value = properties[prop.name]
            if prop.multiple:
                value = value.array_value.values.add()
                if not indexed and prop.stashed >= 0:
                    marked = True
            value_to_v1(prop, indexed, value)
    if marked:
        _restore_order(proto, properties)


def _restore_order(proto: Any, properties: Any) -> None:
    """Sort the values of arrays by their places, which `mark_order` has marked."""
    places: dict[str, list[int]] = defaultdict(list)
    for prop in (*proto.property, *proto.raw_property):
        if prop.multiple:
            places[prop.name].append(prop.stashed)
    for name, own in places.items():
        if max(own) >= 0:
            found = iter(own)
            values = properties[name].array_value.values
            # Called once for each value, in the stored order.
            values.sort(key=lambda _, found=found: next(found))


def _write_reference(reference: Any, elements: Any, into: Any) -> None:
    project = reference.app.rpartition("~")[2]
    write_key(
        project, reference.database_id, reference.name_space, path_of(elements), into
    )


def value_to_v1(prop: Any, indexed: bool, into: Any) -> None:
    """Write a property of version 3 as a value of version 1, which is empty."""
    value, meaning = prop.value, prop.meaning
    if meaning == EMPTY_LIST:
        into.array_value.SetInParent()
        return
    if not indexed:
        into.exclude_from_indexes = True
    if value.HasField("stringValue"):
        meaning = _string_to_v1(prop, indexed, into)
    elif value.HasField("int64Value"):
        number = value.int64Value
        if meaning == TIMESTAMP and FIRST_SECOND <= number // 10**6 <= LAST_SECOND:
            seconds, rest = divmod(number, 10**6)
            into.timestamp_value.seconds = seconds
            into.timestamp_value.nanos = rest * 1000
            meaning = 0
        else:
            into.integer_value = number
    elif value.HasField("booleanValue"):
        into.boolean_value = value.booleanValue
    elif value.HasField("doubleValue"):
        into.double_value = value.doubleValue
    elif value.HasField("referencevalue"):
        reference = value.referencevalue
        _write_reference(reference, reference.pathelement, into.key_value)
    elif value.HasField("pointvalue"):
        into.geo_point_value.latitude = value.pointvalue.x
        into.geo_point_value.longitude = value.pointvalue.y
        meaning = 0 if meaning == POINT else meaning
    elif value.HasField("uservalue"):
        _user_to_v1(prop, into.entity_value)
        meaning = USER
    else:
        into.null_value = 0
    if meaning:
        into.meaning = meaning


def _string_to_v1(prop: Any, indexed: bool, into: Any) -> int:
    """Write a string, bytes or an embedded entity; return the meaning to keep."""
    data, meaning = prop.value.stringValue, prop.meaning
    if meaning == ENTITY_PROTO:
        embedded = entity_pb.EntityProto()
        embedded.MergeFromString(data)
        entity_to_v1(embedded, into.entity_value)
        into.entity_value.SetInParent()
        if prop.meaning_uri == INDEXED_ENTITY:
            into.exclude_from_indexes = False
        return 0
    if prop.meaning_uri == COMPRESSED_URI:
        into.blob_value = data
        return COMPRESSED
    if meaning in (PROPERTY.BLOB, PROPERTY.BYTESTRING):
        into.blob_value = data
        return 0 if indexed or meaning == PROPERTY.BLOB else meaning
    try:
        into.string_value = data
    except (UnicodeDecodeError, ValueError):
        into.blob_value = data
        return meaning if meaning == INDEX_VALUE else 0
    return meaning


def hide_synthesized_id(prop: Any) -> None:
    """Mark a user from an index whose id was synthesized by the bundled API."""
    user = prop.value.uservalue
    if prop.value.HasField("uservalue") and user.obfuscated_gaiaid == (
        datastore_stub_util.SynthesizeUserId(user.email)
    ):
        prop.meaning_uri = NO_USER_ID


def _user_to_v1(prop: Any, into: Any) -> None:
    user = prop.value.uservalue
    for name, field in USER_FIELDS.items():
        given = user.HasField(field)
        if given and (name != "user_id" or prop.meaning_uri != NO_USER_ID):
            value = into.properties[name]
            value.string_value = getattr(user, field)
            value.exclude_from_indexes = True
