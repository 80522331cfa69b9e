"""explain_options: the indexes of a query, and what it takes to run it."""

# google-cloud-datastore has no types
# mypy: disallow-untyped-calls=False

import time
from collections.abc import Iterator
from typing import Any

import grpc
import pytest
from google.cloud import datastore
from google.cloud.datastore.query_profile import ExplainOptions
from google.protobuf.json_format import MessageToDict

from tests.helpers.calls import PROJECT
from tests.helpers.datastore_v1 import (
    AND,
    EQUAL,
    GREATER,
    HAS_ANCESTOR,
    IN,
    OR,
    RawClient,
    combine,
    entity,
    key,
    query_fields,
    where,
)
from tests.helpers.running_datastore import RunningDatastore

BELOW = where("__key__", HAS_ANCESTOR, key("P", 1))
EQUAL_A, EQUAL_B = where("a", EQUAL, 1), where("b", EQUAL, 1)
ABOVE_A, ABOVE_B = where("a", GREATER, 1), where("b", GREATER, 1)
KEYS = "(__name__ ASC)"
GROUP, ANCESTORS = "Collection group", "Includes ancestors"


def explained(raw: RawClient, analyze: bool = False, **query: Any) -> Any:
    """Return the response to a query of kind A with explain_options."""
    fields = query_fields(**{"kind": "A", **query})
    return raw.call("RunQuery", explain_options={"analyze": analyze}, **fields)


def indexes(response: Any) -> list[tuple[str, str]]:
    """Return the scope and the properties of each index in a plan."""
    plan = MessageToDict(response._pb.explain_metrics.plan_summary)
    used = plan.get("indexesUsed", [])
    return [(index["query_scope"], index["properties"]) for index in used]


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ({}, [(GROUP, KEYS)]),
        ({"kind": None}, [(GROUP, KEYS)]),
        ({"filter": BELOW}, [(GROUP, KEYS)]),
        ({"projection": ("__key__",)}, [(GROUP, KEYS)]),
        ({"kind": "__kind__"}, []),
        ({"order": ("-__key__",)}, [(GROUP, "(__name__ DESC)")]),
        ({"filter": ABOVE_A}, [(GROUP, "(a ASC, __name__ ASC)")]),
        ({"order": ("-a",)}, [(GROUP, "(a DESC, __name__ ASC)")]),
        ({"projection": ("a",)}, [(GROUP, "(a ASC, __name__ ASC)")]),
        (
            {"filter": combine(AND, EQUAL_A, EQUAL_B)},
            [(GROUP, "(a ASC, __name__ ASC)"), (GROUP, "(b ASC, __name__ ASC)")],
        ),
        (
            {"filter": combine(AND, EQUAL_A, ABOVE_B)},
            [(GROUP, "(a ASC, b ASC, __name__ ASC)")],
        ),
        (
            {"filter": combine(AND, BELOW, EQUAL_A), "order": ("-b",)},
            [(ANCESTORS, "(a ASC, b DESC, __name__ ASC)")],
        ),
        (
            {"projection": ("a", "b"), "distinct": ("b",)},
            [(GROUP, "(b ASC, a ASC, __name__ ASC)")],
        ),
        (
            {"filter": where("a", IN, [1, 2]), "order": ("b",)},
            [(GROUP, "(a ASC, b ASC, __name__ ASC)")],
        ),
        (
            {"filter": combine(OR, EQUAL_A, EQUAL_B)},
            [(GROUP, "(a ASC, __name__ ASC)"), (GROUP, "(b ASC, __name__ ASC)")],
        ),
    ],
    ids=repr,
)
def test_a_plan_has_the_indexes_that_production_needs(
    raw: RawClient, query: Any, expected: list[tuple[str, str]]
) -> None:
    """Those of single properties, merged, or a composite one; nothing is run."""
    raw.upsert(entity(key("A", 1), a=1, b=1))
    response = explained(raw, **query)
    assert indexes(response) == expected
    assert "batch" not in response
    assert "execution_stats" not in response.explain_metrics


def figures(response: Any, most: float) -> tuple[dict[str, Any], dict[str, int]]:
    """Return the statistics of a query, and what of them the service would bill.

    The whole call has taken `most` seconds.
    """
    stats = response._pb.explain_metrics.execution_stats
    assert 0 < stats.execution_duration.ToNanoseconds() < most * 1e9
    found = MessageToDict(stats.debug_stats)
    billed = {name: int(text) for name, text in found.pop("billing_details").items()}
    assert billed.pop("min_query_cost") == 0
    counts = {name: int(text) for name, text in found.items()}
    assert billed.pop("documents_billable") == counts["documents_scanned"]
    counts |= {"results": stats.results_returned, "reads": stats.read_operations}
    return counts, {name: number for name, number in billed.items() if number}


@pytest.mark.parametrize(
    ("query", "results", "documents", "entries", "reads", "billed"),
    [
        ({}, 10, 10, 10, 10, {}),
        ({"filter": where("a", EQUAL, 3)}, 1, 1, 1, 1, {}),
        ({"kind": "None"}, 0, 0, 0, 1, {}),
        ({"filter": combine(OR, EQUAL_A, where("b", EQUAL, 2))}, 4, 4, 4, 4, {}),
        # four entries with 1 in b, of which the filter on a removes one
        ({"filter": combine(AND, ABOVE_A, EQUAL_B)}, 3, 3, 4, 3, {}),
        ({"offset": 8}, 2, 10, 10, 10, {}),
        # one more entry shows whether there are more results
        ({"offset": 2, "limit": 2}, 2, 4, 5, 4, {}),
        ({"projection": ("__key__",)}, 10, 0, 10, 1, {"small_ops": 10}),
        ({"projection": ("a",)}, 10, 0, 10, 1, {"small_ops": 10}),
        ({"projection": ("b",), "distinct": ("b",)}, 3, 0, 10, 1, {}),
        (
            {"filter": combine(AND, ABOVE_A, ABOVE_B)},
            *(3, 3, 3, 4),
            {"index_entries_billable": 3},
        ),
    ],
    ids=repr,
)
def test_analyze_runs_the_query_and_counts(
    raw: RawClient,
    query: Any,
    results: int,
    documents: int,
    entries: int,
    reads: int,
    billed: dict[str, int],
) -> None:
    """The entities and entries that were read here, billed by the service's rules."""
    raw.upsert(*(entity(key("A", n), a=n, b=n % 3) for n in range(1, 11)))
    began = time.perf_counter()
    response = explained(raw, analyze=True, **query)
    took = time.perf_counter() - began
    plain = raw.run(**{"kind": "A", **query})
    assert response.batch.entity_results == plain.entity_results
    assert response.batch.end_cursor == plain.end_cursor
    assert figures(response, took) == (
        {
            "results": results,
            "documents_scanned": documents,
            "index_entries_scanned": entries,
            "reads": reads,
        },
        billed,
    )


def test_an_aggregation_is_explained(raw: RawClient) -> None:
    """It reads entries of an index: 1,000 of them cost as much as one entity."""
    for first in (1, 401, 801):
        raw.upsert(*(entity(key("P", 1, "A", first + n), a=n) for n in range(400)))
    fields = query_fields("A", filter=BELOW)
    asked = {
        "nested_query": fields.pop("query"),
        "aggregations": [{"count": {}}, {"sum": {"property": {"name": "a"}}}],
    }
    began = time.perf_counter()
    plan, analyzed = (
        raw.call(
            "RunAggregationQuery",
            aggregation_query=asked,
            explain_options={"analyze": analyze},
            **fields,
        )
        for analyze in (False, True)
    )
    took = time.perf_counter() - began
    for response in (plan, analyzed):
        assert indexes(response) == [(ANCESTORS, "(a ASC, __name__ ASC)")]
        assert "batch" in response
    assert not plan.batch.aggregation_results
    (found,) = analyzed.batch.aggregation_results
    assert found.aggregate_properties["property_1"].integer_value == 1200
    counts = {"results": 1, "documents_scanned": 0, "index_entries_scanned": 1200}
    billed = {"index_entries_billable": 1200}
    assert figures(analyzed, took) == ({**counts, "reads": 2}, billed)


def test_a_plan_reads_nothing_in_its_transaction(
    raw: RawClient, running: RunningDatastore
) -> None:
    """A change by another client does not conflict with it, but does with a query."""
    raw.upsert(entity(key("A", 1), a=1))
    codes = []
    for analyze in (False, True):
        response = raw.call(
            "RunQuery",
            explain_options={"analyze": analyze},
            read_options={"new_transaction": {}},
            **query_fields("A"),
        )
        assert response.transaction
        raw.upsert(entity(key("A", 1), a=2 + analyze))
        try:
            raw.upsert(entity(key("B", 1)), transaction=response.transaction)
            codes.append(grpc.StatusCode.OK)
        except grpc.RpcError as error:
            codes.append(error.code())
    assert codes == [grpc.StatusCode.OK, grpc.StatusCode.ABORTED]
    assert running.is_idle()


@pytest.fixture
def library(
    running: RunningDatastore, empty: None, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Any]:
    """A client of google-cloud-datastore."""
    monkeypatch.setenv("DATASTORE_EMULATOR_HOST", running.host)
    client = datastore.Client(project=PROJECT)
    yield client
    client.close()


def test_the_library_reads_the_explanation(library: Any) -> None:
    """google-cloud-datastore gets the plan without results, and the figures with."""
    made = datastore.Entity(library.key("A", 1))
    made["a"] = 3
    library.put(made)
    planned = library.query(kind="A", explain_options=ExplainOptions()).fetch()
    assert planned.explain_metrics.plan_summary.indexes_used == [
        {"properties": KEYS, "query_scope": GROUP}
    ]
    assert list(planned) == []
    with library.transaction():
        options = ExplainOptions(analyze=True)
        found = library.query(kind="A", explain_options=options).fetch()
        assert list(found) == [made]
        assert found.explain_metrics.execution_stats.read_operations == 1
        query = library.query(kind="A", explain_options=options)
        totals = library.aggregation_query(query).sum("a").fetch()
        assert [result.value for (result,) in totals] == [3]
        assert totals.explain_metrics.execution_stats.results_returned == 1
