"""Calls of Cloud Datastore's API over gRPC, and the messages that they send."""

import copy
from typing import Any

import grpc
from google.cloud.datastore_v1.types import datastore as datastore_pb
from google.cloud.datastore_v1.types import entity as entity_pb

from tests.helpers.calls import PROJECT


class RawClient:
    """Sends requests unchecked, so that a test can send invalid ones."""

    def __init__(self, host: str) -> None:
        self._channel = grpc.insecure_channel(host)
        self._timeout = 20.0

    def within(self, seconds: float) -> "RawClient":
        """Return a client whose calls fail after some seconds."""
        other = copy.copy(self)
        other._timeout = seconds
        return other

    def close(self) -> None:
        """Close the connection."""
        self._channel.close()

    def bytes(self, rpc: str, data: bytes) -> bytes:
        """Send bytes and return bytes."""
        call: Any = self._channel.unary_unary(f"/google.datastore.v1.Datastore/{rpc}")
        return call(data, timeout=self._timeout)

    def call(self, rpc: str, **fields: Any) -> Any:
        """Make a call with the fields of its request."""
        request_class = getattr(datastore_pb, f"{rpc}Request")
        request = request_class(**{"project_id": PROJECT, **fields})
        data = self.bytes(rpc, request_class.serialize(request))
        return getattr(datastore_pb, f"{rpc}Response").deserialize(data)

    def error(self, rpc: str, **fields: Any) -> tuple[grpc.StatusCode, str]:
        """Return the status and text of a call that must fail."""
        try:
            answer = self.call(rpc, **fields)
        except grpc.RpcError as error:
            return error.code(), error.details() or ""
        raise AssertionError(f"{rpc} answered {answer}")

    def commit(self, *mutations: Any, **fields: Any) -> Any:
        """Commit, without a transaction unless `fields` name one."""
        mode = 1 if "transaction" in fields else 2
        return self.call("Commit", **{"mode": mode, "mutations": mutations, **fields})

    def upsert(self, *entities: Any, **fields: Any) -> Any:
        """Put entities."""
        return self.commit(*({"upsert": entity} for entity in entities), **fields)

    def run(self, kind: str | None = None, namespace: str = "", **query: Any) -> Any:
        """Run a query and return the batch."""
        return self.call("RunQuery", **query_fields(kind, namespace, **query)).batch

    def run_error(
        self, kind: str | None = None, namespace: str = "", **query: Any
    ) -> tuple[grpc.StatusCode, str]:
        """Return the status and text of a query that must fail."""
        return self.error("RunQuery", **query_fields(kind, namespace, **query))


def query_fields(
    kind: str | None = None,
    namespace: str = "",
    *,
    read_options: Any = None,
    order: tuple[str, ...] = (),
    projection: tuple[str, ...] = (),
    distinct: tuple[str, ...] = (),
    **query: Any,
) -> dict[str, Any]:
    """Return the fields of a RunQueryRequest; the order "-a" is descending."""
    if kind is not None:
        query["kind"] = [{"name": kind}]
    query["order"] = [
        {"property": {"name": name.lstrip("-")}, "direction": 2 if "-" in name else 1}
        for name in order
    ]
    query["projection"] = [{"property": {"name": name}} for name in projection]
    query["distinct_on"] = [{"name": name} for name in distinct]
    fields: dict[str, Any] = {
        "partition_id": {"project_id": PROJECT, "namespace_id": namespace},
        "query": query,
    }
    if read_options:
        fields["read_options"] = read_options
    return fields


def key(*path: Any, namespace: str = "", database: str = "") -> Any:
    """Return a key, which is incomplete if its path ends with a kind."""
    elements = [{"kind": kind} for kind in path[::2]]
    for element, identifier in zip(elements, path[1::2], strict=False):
        element["name" if isinstance(identifier, str) else "id"] = identifier
    partition = {
        "project_id": PROJECT,
        "namespace_id": namespace,
        "database_id": database,
    }
    return entity_pb.Key(partition_id=partition, path=elements)


FIELDS = {
    bool: "boolean_value",
    int: "integer_value",
    float: "double_value",
    str: "string_value",
    bytes: "blob_value",
    entity_pb.Key: "key_value",
    entity_pb.Entity: "entity_value",
}


def value(content: Any, **fields: Any) -> Any:
    """Return a value of the type of `content`."""
    if isinstance(content, entity_pb.Value):
        return content
    if content is None:
        return entity_pb.Value(null_value=0, **fields)
    if isinstance(content, list):
        values = [value(item) for item in content]
        return entity_pb.Value(array_value={"values": values}, **fields)
    return entity_pb.Value({FIELDS[type(content)]: content, **fields})


def timestamp(seconds: int, nanos: int = 0, **fields: Any) -> Any:
    """Return a timestamp value."""
    content = {"seconds": seconds, "nanos": nanos}
    return entity_pb.Value(timestamp_value=content, **fields)


def point(latitude: float, longitude: float) -> Any:
    """Return a value with a geographical point."""
    content = {"latitude": latitude, "longitude": longitude}
    return entity_pb.Value(geo_point_value=content)


def user(email: str, **properties: str) -> Any:
    """Return a user value; its only other property is user_id."""
    properties |= {"email": email, "auth_domain": email.partition("@")[2]}
    unindexed = {
        name: value(content, exclude_from_indexes=True)
        for name, content in properties.items()
    }
    return value(entity(None, **unindexed), meaning=20)


def entity(of: Any = None, **properties: Any) -> Any:
    """Return an entity with a key, or an embedded one."""
    values = {name: value(content) for name, content in properties.items()}
    return entity_pb.Entity(key=of, properties=values)


LESS, LESS_OR_EQUAL, GREATER, GREATER_OR_EQUAL, EQUAL, IN = range(1, 7)
NOT_EQUAL, HAS_ANCESTOR, NOT_IN = 9, 11, 13
AND, OR = 1, 2


def where(name: str, operator: int, content: Any) -> dict[str, Any]:
    """Return a filter on one property."""
    return {
        "property_filter": {
            "property": {"name": name},
            "op": operator,
            "value": value(content),
        }
    }


def combine(operator: int, *filters: dict[str, Any]) -> dict[str, Any]:
    """Return a filter that joins others."""
    return {"composite_filter": {"op": operator, "filters": filters}}


def ids(batch: Any) -> list[Any]:
    """Return the ids or names of a batch's results."""
    last = (result.entity.key.path[-1] for result in batch.entity_results)
    return [element.id or element.name for element in last]
