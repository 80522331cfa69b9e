"""Makes the entity that a request or the form of the console asks for."""

from collections.abc import Mapping
from typing import Any

from google.appengine.datastore import datastore_stub_util
from google.appengine.datastore import entity_bytes_pb2 as entity_pb

from gae_devserver.console.datastore import entity_form
from gae_devserver.console.datastore.typed_decoding import Typed, decode_group
from gae_devserver.console.datastore.typed_encoding import grouped
from gae_devserver.console.datastore.typed_entities import check_entity
from gae_devserver.console.datastore.typed_keys import TypedError
from gae_devserver.datastore.encoding import Stored
from gae_devserver.datastore_v1.entity_limits import MAX_ENTITY_BYTES


def key_of(fields: Mapping[str, Any]) -> Any:
    """Return the key that a request or a form names."""
    if "key" in fields:
        return fields["key"]
    identifier: Any = str(fields.get("id", "")).strip() or None
    if identifier and fields.get("id_is") == "number":
        identifier = {"id": identifier}
    path: list[Any] = [[str(fields.get("kind", "")), identifier]]
    names = ("namespace", "database")
    key = {name: str(fields[name]) for name in names if fields.get(name)}
    return {**key, "path": path}


def properties_in(
    fields: Mapping[str, Any], before: Mapping[str, Typed]
) -> dict[str, Typed]:
    """Return the typed properties that a request or a form asks for.

    Raises:
        TypedError: they are not valid.
    """
    properties = fields.get("properties")
    if properties is None:
        return entity_form.properties_in(fields, before)
    if not isinstance(properties, dict):
        raise TypedError("properties must be an object")
    return properties


def changed_entity(
    entity: Any, wanted: Mapping[str, Typed], before: Mapping[str, Typed], app_id: str
) -> Any:
    """Return an entity with other properties; those that are the same stay as stored.

    Raises:
        TypedError: the datastore would refuse it.
    """
    changed = entity_pb.EntityProto()
    changed.CopyFrom(entity)
    del changed.property[:], changed.raw_property[:]
    stored = grouped(entity)
    for name, typed in wanted.items():
        if name in before and typed == before[name]:
            items = stored[name]
        else:
            items = decode_group(name, typed, app_id)
            _complete_users(items)
        for indexed, item in items:
            (changed.property if indexed else changed.raw_property).append(item)
    check_entity(changed, app_id)
    if (size := changed.ByteSize()) > MAX_ENTITY_BYTES:
        raise TypedError(
            f"the entity has {size:,} bytes, and the limit is {MAX_ENTITY_BYTES:,}"
        )
    return changed


def _complete_users(items: list[Stored]) -> None:
    for _, item in items:
        user = item.value.uservalue
        if item.value.HasField("uservalue") and not user.obfuscated_gaiaid:
            datastore_stub_util.FillUser(item)
