"""Writes entities and their versions as version 1."""

from collections.abc import Iterable
from typing import Any

from google.appengine.datastore import entity_bytes_pb2 as entity_pb

from gae_devserver.datastore.encoding import property_value
from gae_devserver.datastore.index_scan import Hit
from gae_devserver.datastore.property_index import Row
from gae_devserver.datastore_v1 import messages
from gae_devserver.datastore_v1.entity_reader import (
    INDEX_VALUE,
    USER,
    entity_to_v1,
    hide_synthesized_id,
    value_to_v1,
)
from gae_devserver.datastore_v1.property_paths import PropertyPath, by_first_name


def set_time(version: int, into: Any) -> None:
    """Write the time of a version, which is in microseconds since the epoch."""
    seconds, rest = divmod(version, 10**6)
    into.seconds, into.nanos = seconds, rest * 1000


def entity_of(row: Row) -> Any:
    """Return the entity as version 1; it is shared, so do not change it."""
    if row.converted is None:
        row.converted = messages.Entity()
        entity_to_v1(row.record.entity, row.converted)
    return row.converted


def write_entity(row: Row, into: Any, mask: list[PropertyPath] | None = None) -> None:
    """Write an entity, or only the properties in `mask`, into an EntityResult."""
    if mask is None:
        into.entity.CopyFrom(entity_of(row))
    else:
        entity = entity_of(row)
        into.entity.key.CopyFrom(entity.key)
        _write_masked(entity, into.entity, mask)
    write_version(row, into)


def write_version(row: Row, into: Any) -> None:
    """Write the version of an entity and the times of its change and its creation."""
    # Entities of metadata kinds have no version.
    if row.version:
        into.version = row.version
        set_time(row.version, into.update_time)
        set_time(row.created, into.create_time)


def write_projection(hit: Hit, names: Iterable[str], into: Any) -> None:
    """Write the projected values of a result into an entity."""
    for name in names:
        prop = entity_pb.Property(name=name, meaning=INDEX_VALUE)
        property_value(hit.columns[name], prop.value)
        hide_synthesized_id(prop)
        value_to_v1(prop, True, into.properties[name])


def _write_masked(entity: Any, into: Any, mask: list[PropertyPath]) -> None:
    for name, deeper in by_first_name(mask).items():
        if name not in entity.properties:
            continue
        value = entity.properties[name]
        if [] in deeper:
            into.properties[name].CopyFrom(value)
        elif value.HasField("entity_value") and value.meaning != USER:
            found = messages.Entity()
            _write_masked(value.entity_value, found, deeper)
            if found.properties:
                part = into.properties[name]
                part.entity_value.CopyFrom(found)
                part.exclude_from_indexes = value.exclude_from_indexes
