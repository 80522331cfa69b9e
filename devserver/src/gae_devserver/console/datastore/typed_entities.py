"""Writes and reads whole entities in the JSON form that loses nothing."""

import base64
import hashlib
from typing import Any

from google.appengine.datastore import datastore_stub_util
from google.appengine.datastore import entity_bytes_pb2 as entity_pb
from google.appengine.runtime import apiproxy_errors
from google.protobuf.message import DecodeError

from gae_devserver.console.datastore.typed_decoding import bytes_in, decode_properties
from gae_devserver.console.datastore.typed_encoding import encode_properties
from gae_devserver.console.datastore.typed_keys import (
    TypedError,
    decode_key,
    encode_key,
)
from gae_devserver.datastore_v1.databases import Database
from gae_devserver.rpc.errors import RpcError

_OTHER_FIELDS = ("owner", "kind", "kind_uri")


def encode_entity(entity: Any, database: Database) -> dict[str, Any]:
    """Return a stored entity: its key and properties, or all its bytes."""
    app_id = database.partition.app_id
    try:
        if any(map(entity.HasField, _OTHER_FIELDS)):
            raise TypedError("only its bytes have these fields")
        key = encode_key(entity.key, entity.key.path.element, app_id)
    except TypedError:
        return {"proto": base64.b64encode(entity.SerializePartialToString()).decode()}
    if database.partition.database:
        key["database"] = database.partition.database
    return {"key": key, "properties": encode_properties(entity, app_id)}


def decode_entity(entity: Any, app_id: str) -> Any:
    """Return an EntityProto, which has no id if the key has none.

    Raises:
        TypedError: it cannot be stored.
    """
    proto = entity_pb.EntityProto()
    match entity:
        case {"proto": str() as text}:
            try:
                proto.MergeFromString(bytes_in(text))
            except DecodeError:
                raise TypedError("the bytes of proto are broken") from None
            if not proto.key.path.element:
                raise TypedError("the entity has no key")
        case {"key": key, "properties": properties, **others} if not others:
            decode_key(key, app_id, proto.key, proto.key.path.element)
            decode_properties(properties, app_id, proto)
        case _:
            raise TypedError('an entity is {"key": {...}, "properties": {...}}')
    del proto.entity_group.element[:]
    proto.entity_group.element.append(proto.key.path.element[0])
    check_entity(proto, app_id)
    return proto


def check_entity(proto: Any, app_id: str) -> None:
    """Refuse what a put of the app would be refused.

    Raises:
        TypedError: it cannot be stored.
    """
    if not proto.IsInitialized():
        raise TypedError("a part of the entity is missing")
    try:
        datastore_stub_util.CheckEntity(False, app_id, proto)
    except (apiproxy_errors.ApplicationError, RpcError) as error:
        detail = getattr(error, "error_detail", "") or str(error)
        raise TypedError(detail.rstrip(".")) from None
    except AssertionError:
        raise TypedError("the key of the entity is not valid") from None


def version_of(entity: Any) -> str:
    """Return what differs if a stored entity has changed."""
    data = entity.SerializePartialToString(deterministic=True)
    return hashlib.sha256(data).hexdigest()[:16]
