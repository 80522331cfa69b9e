"""RunAggregationQuery as bare requests: counts, sums and averages."""

from typing import Any

import grpc
import pytest

from tests.helpers.datastore_v1 import (
    EQUAL,
    IN,
    NOT_EQUAL,
    OR,
    RawClient,
    combine,
    entity,
    key,
    query_fields,
    where,
)
from tests.helpers.running_datastore import RunningDatastore

COUNT: dict[str, Any] = {"count": {}}


def total(name: str, alias: str = "") -> dict[str, Any]:
    """Return a sum aggregation."""
    return {"sum": {"property": {"name": name}}, "alias": alias}


def average(name: str, alias: str = "") -> dict[str, Any]:
    """Return an average aggregation."""
    return {"avg": {"property": {"name": name}}, "alias": alias}


def aggregate(raw: RawClient, *aggregations: Any, **query: Any) -> dict[str, Any]:
    """Return the results of aggregations over kind A, as plain values."""
    fields = query_fields("A", **query)
    nested = fields.pop("query")
    answer = raw.call(
        "RunAggregationQuery",
        aggregation_query={"nested_query": nested, "aggregations": aggregations},
        **fields,
    )
    found = answer.batch.aggregation_results[0].aggregate_properties
    kinds = {
        name: result._pb.WhichOneof("value_type") for name, result in found.items()
    }
    return {
        name: None if kind == "null_value" else getattr(found[name], kind)
        for name, kind in kinds.items()
    }


@pytest.mark.parametrize(
    ("aggregations", "query", "expected"),
    [
        (
            [{**COUNT, "alias": "all"}, COUNT, {"count": {"up_to": 3}}],
            {},
            {"all": 7, "property_1": 7, "property_2": 3},
        ),
        ([{"count": {"up_to": 0}}], {}, {"property_1": 0}),
        (
            [{**COUNT, "alias": "property_2"}, COUNT],
            {},
            {"property_2": 7, "property_1": 7},
        ),
        ([COUNT], {"offset": 5, "limit": 4}, {"property_1": 2}),
        (
            [COUNT],
            {"filter": combine(OR, where("n", IN, [1, 3]), where("n", EQUAL, 3))},
            {"property_1": 2},
        ),
        ([COUNT], {"filter": where("n", NOT_EQUAL, 4)}, {"property_1": 6}),
    ],
    ids=["names", "numbers", "up-to-0", "limit", "or", "not"],
)
def test_counts_have_limits_and_names(
    raw: RawClient, aggregations: Any, query: Any, expected: Any
) -> None:
    """A count is within offset, limit and up_to, under its alias or a number."""
    raw.upsert(*(entity(key("A", number), n=number) for number in range(1, 8)))
    assert aggregate(raw, *aggregations, **query) == expected


LARGEST = 2**63 - 1


@pytest.mark.parametrize(
    ("values", "the_sum", "the_average"),
    [
        ([1, 2, "no", None], 3, 1.5),
        ([1.5, 2], 3.5, 1.75),
        ([], 0, None),
        ([LARGEST, 3], float(2**63), float(2**62)),
        ([LARGEST, 7.0, -(2**63)], 6.0, 2.0),
        ([LARGEST, 7.0, float("inf")], float("inf"), float("inf")),
        ([1e308, 1e308, 1], float("inf"), float("inf")),
    ],
    ids=["integers", "mixed", "nothing", "overflow", "exact", "infinite", "too-large"],
)
def test_sums_and_averages_are_over_numbers(
    raw: RawClient, values: list[Any], the_sum: Any, the_average: Any
) -> None:
    """Other values are skipped; a sum of integers is exact as long as it fits."""
    raw.upsert(
        entity(key("A", 99)),
        *(entity(key("A", n + 1), n=number) for n, number in enumerate(values)),
    )
    found = aggregate(raw, total("n", "sum"), average("n", "average"))
    assert found == {"sum": the_sum, "average": the_average}
    kind = type(found["sum"])
    assert kind is type(the_sum)


KEYS_ONLY = {"projection": [{"property": {"name": "__key__"}}]}


@pytest.mark.parametrize(
    ("aggregations", "nested"),
    [
        ([], {}),
        ([{}], {}),
        ([COUNT] * 6, {}),
        ([{**COUNT, "alias": "a"}, {**COUNT, "alias": "a"}], {}),
        ([COUNT, total("n"), {**COUNT, "alias": "property_1"}], {}),
        ([{**COUNT, "alias": "property_1"}, total("n")], {}),
        ([{**COUNT, "alias": "x" * 1501}], {}),
        ([{**COUNT, "alias": "__a__"}], {}),
        ([{"count": {"up_to": -1}}], {}),
        ([total("__key__")], {}),
        ([total("")], {}),
        ([total("n")], KEYS_ONLY),
        ([COUNT], {"kind": [{"name": ""}]}),
        ([COUNT], {"kind": [{"name": "__kind__"}]}),
        ([total("n")], {"projection": [{"property": {"name": "m"}}]}),
    ],
    ids=repr,
)
def test_an_invalid_aggregation_is_refused(
    raw: RawClient, running: RunningDatastore, aggregations: Any, nested: Any
) -> None:
    """An invalid query ends the transaction that it began: no client has its id."""
    code, _ = raw.error(
        "RunAggregationQuery",
        aggregation_query={"aggregations": aggregations, "nested_query": nested},
        read_options={"new_transaction": {}},
    )
    assert code == grpc.StatusCode.INVALID_ARGUMENT
    assert running.is_idle()
