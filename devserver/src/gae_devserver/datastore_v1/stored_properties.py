"""Reads and replaces single properties of entities of version 3.

Version 1 does not know all that version 3 can store. So a change of some properties is
made in version 3: all others, which the bundled API may have written, stay as they are.
"""

from collections.abc import Collection, Iterable
from typing import Any

from google.appengine.datastore import entity_bytes_pb2 as entity_pb

from gae_devserver.datastore.encoding import ENTITY_PROTO, INDEXED_ENTITY
from gae_devserver.datastore_v1.property_paths import PropertyPath, by_first_name


def property_of(entity: Any, name: str) -> Any:
    """Return an entity with all values of one property, and nothing else."""
    found = entity_pb.EntityProto()
    found.property.extend(prop for prop in entity.property if prop.name == name)
    found.raw_property.extend(prop for prop in entity.raw_property if prop.name == name)
    return found


def replace_properties(entity: Any, names: Collection[str], by: Any) -> None:
    """Replace all values of some properties by those that another entity has of them.

    All at once, because each call looks at every property.
    """
    for stored, given in (
        (entity.property, by.property),
        (entity.raw_property, by.raw_property),
    ):
        old = [prop for prop in stored if prop.name in names]
        new = [prop for prop in given if prop.name in names]
        if old != new:
            changed = [prop for prop in stored if prop.name not in names] + new
            # Sorted as `entity_to_v3` does, so that equal entities are equal messages.
            changed.sort(key=_sortable_name)
            del stored[:]
            stored.extend(changed)


def _sortable_name(prop: Any) -> bytes:
    # Protocol buffers return a name that is not UTF-8 as bytes.
    name: str | bytes = prop.name
    return name.encode() if isinstance(name, str) else name


def embedded_entity(entity: Any, name: str) -> Any:
    """Return a copy of the entity in a property; None if it has another value."""
    found = property_of(entity, name)
    if found.property or len(found.raw_property) != 1:
        return None
    (prop,) = found.raw_property
    if prop.meaning != ENTITY_PROTO or prop.multiple:
        return None
    embedded = entity_pb.EntityProto()
    embedded.MergeFromString(prop.value.stringValue)
    return embedded


def embed_entity(entity: Any, name: str, embedded: Any) -> None:
    """Write an entity into a property, which stays unindexed if it was."""
    found = property_of(entity, name)
    if embedded_entity(entity, name) is None:
        found = entity_pb.EntityProto()
        found.raw_property.add(
            name=name,
            multiple=False,
            meaning=ENTITY_PROTO,
            meaning_uri=INDEXED_ENTITY,
        )
    found.raw_property[0].value.stringValue = embedded.SerializePartialToString()
    replace_properties(entity, {name}, found)


def write_masked(given: Any, into: Any, mask: Iterable[PropertyPath]) -> None:
    """Write only the properties in `mask` from one entity into another.

    Those that the given entity lacks are deleted.
    """
    below = by_first_name(mask)
    whole = {name for name, paths in below.items() if [] in paths}
    replace_properties(into, whole, given)
    for name in below.keys() - whole:
        paths = below[name]
        old, new = embedded_entity(into, name), embedded_entity(given, name)
        inner = entity_pb.EntityProto() if old is None else old
        write_masked(entity_pb.EntityProto() if new is None else new, inner, paths)
        if old is None:
            if not (inner.property or inner.raw_property):
                # Nothing was written, and there was nothing to delete.
                continue
            # What is new has an index if it has one in the given entity.
            replace_properties(into, {name}, given)
        embed_entity(into, name, inner)
