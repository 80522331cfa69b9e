"""What a server answers, in a form that can be compared."""

import itertools
import uuid
from typing import Any, NamedTuple

import grpc

from tests.emulators.strategies import Query
from tests.helpers.calls import PROJECT
from tests.helpers.datastore_v1 import RawClient, query_fields

Result = tuple[Any, dict[str, bytes]]
"""A key, and the properties by name."""
UNKNOWN = grpc.StatusCode.UNKNOWN
"""The status with which the emulators sometimes fail, without a reason."""


class Answer(NamedTuple):
    """The answer to a query that succeeds."""

    results: list[Result]
    skipped: int
    type: int
    more: int


def new_namespace() -> str:
    """Return a namespace without entities: other tests' use the same emulators."""
    return f"n{uuid.uuid4().hex}"


def path(key: Any) -> list[Any]:
    """Return the path of a key, without its partition."""
    return [(element.kind, element.id or element.name) for element in key.path]


def properties(entity: Any) -> dict[str, bytes]:
    """Return the properties of an entity, which may have a NaN or a list of any."""
    return {
        name: content._pb.SerializeToString(deterministic=True)
        for name, content in entity.properties.items()
    }


def results(batch: Any) -> list[Result]:
    """Return the results of a batch."""
    found = (result.entity for result in batch.entity_results)
    return [(path(entity.key), properties(entity)) for entity in found]


def answer(
    client: RawClient, kind: str | None, namespace: str, query: Query
) -> Answer | grpc.StatusCode:
    """Return the answer to a query, or the status if it fails."""
    try:
        batch = client.run(kind, namespace, **query)
    except grpc.RpcError as error:
        return error.code()
    return Answer(
        results(batch),
        batch.skipped_results,
        batch.entity_result_type,
        batch.more_results,
    )


def pages(
    client: RawClient, kind: str | None, namespace: str, query: Query, size: int
) -> list[list[Result]]:
    """Return the results of a query in pages, each from the end cursor of the last."""
    found: list[list[Result]] = []
    query = {**query, "limit": size}
    for _ in itertools.repeat(None, 50):  # fewer than 50 entities make fewer pages
        batch = client.run(kind, namespace, **query)
        if not batch.entity_results:
            return found
        found.append(results(batch))
        query = {**query, "start_cursor": batch.end_cursor, "offset": 0}
    raise AssertionError("the pages do not end")


def aggregated(
    client: RawClient, namespace: str, query: Query, aggregations: list[Any]
) -> Any:
    """Return the values of aggregations of a query of K, or the status."""
    nested = query_fields("K", namespace, **query)["query"]
    try:
        batch = client.call(
            "RunAggregationQuery",
            partition_id={"project_id": PROJECT, "namespace_id": namespace},
            aggregation_query={"nested_query": nested, "aggregations": aggregations},
        ).batch
    except grpc.RpcError as error:
        return error.code()
    (result,) = batch.aggregation_results
    return {
        name: content._pb.SerializeToString(deterministic=True)
        for name, content in result.aggregate_properties.items()
    }
