"""Explains queries: the indexes that they use, and what it takes to run them.

https://cloud.google.com/datastore/docs/query-explain-analyze-report-reference
"""

import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

from google.appengine.datastore import datastore_index

from gae_devserver.datastore.encoding import KEY_PROPERTY
from gae_devserver.datastore.query_shape import (
    QueryShape,
    best_index,
    built_in_indexes,
)
from gae_devserver.datastore_v1 import messages
from gae_devserver.datastore_v1.run_query import Search

_RESULT = messages.EntityResult.ResultType
_KEY_NAME = "__name__"
"""What the service calls the key in the properties of an index."""
_ENTRIES_OF_A_READ = 1000


def is_executed(request: Any) -> bool:
    """Return whether a request wants results, not only the plan of its query."""
    return not request.HasField("explain_options") or request.explain_options.analyze


@contextmanager
def explained(request: Any, response: Any, search: Search) -> Iterator[None]:
    """Explain a query in the response, if the request asks for it.

    The block runs the query, unless the client wants only its plan.
    """
    if not request.HasField("explain_options"):
        yield
        return
    metrics = response.explain_metrics
    metrics.plan_summary.SetInParent()
    for scope, properties in sorted(set(_indexes(search.shapes))):
        index = metrics.plan_summary.indexes_used.add()
        index.update({"query_scope": scope, "properties": properties})
    began = time.perf_counter_ns()
    yield
    if request.explain_options.analyze:
        stats = metrics.execution_stats
        stats.execution_duration.FromNanoseconds(time.perf_counter_ns() - began)
        _count(response.batch, search, stats)


def _indexes(shapes: Iterable[QueryShape]) -> Iterator[tuple[str, str]]:
    """Yield the scope and the properties of each index that a query needs."""
    for shape in shapes:
        if shape.kind.startswith("__"):
            continue  # what a metadata kind lists is in no index
        query = shape.query()
        built_in = built_in_indexes(query)
        if built_in is None:
            _, has_ancestor, properties = best_index(query)
            scope = "Includes ancestors" if has_ancestor else "Collection group"
            yield scope, _in_words(properties)
        else:
            for single in [[one] for one in built_in] or [[]]:
                yield "Collection group", _in_words(single)


def _in_words(properties: Iterable[Any]) -> str:
    directions = {
        _KEY_NAME if one.name == KEY_PROPERTY else one.name: one.direction
        for one in properties
    }
    # every index ends with the key
    directions.setdefault(_KEY_NAME, datastore_index.ASCENDING)
    words = (
        f"{name} {'DESC' if direction == datastore_index.DESCENDING else 'ASC'}"
        for name, direction in directions.items()
    )
    return f"({', '.join(words)})"


def _count(batch: Any, search: Search, into: Any) -> None:
    """Write how much this server has read, and what the service would bill for that.

    Source of the rules: "Read operations" and "Small operations" on
    https://cloud.google.com/datastore/pricing, and its "Minimum charge for queries".
    """
    assert search.tally is not None
    scanned = search.tally.entries
    documents = small = billable = 0
    if isinstance(batch, messages.QueryResultBatch):
        into.results_returned = len(batch.entity_results)
        # an offset saves the client the results, but not the service
        found = batch.skipped_results + len(batch.entity_results)
        if batch.entity_result_type == _RESULT.FULL:
            documents = found
        elif not search.query.search.distinct:
            small = found
        if any(map(_has_several_ranges, search.shapes)):
            billable = scanned
    else:
        into.results_returned = len(batch.aggregation_results)
        billable = scanned
    into.read_operations = max(1, documents + -(-billable // _ENTRIES_OF_A_READ))
    into.debug_stats.update(
        {
            "documents_scanned": str(documents),
            "index_entries_scanned": str(scanned),
            "billing_details": {
                "documents_billable": str(documents),
                "index_entries_billable": str(billable),
                "small_ops": str(small),
                "min_query_cost": "0",
            },
        }
    )


def _has_several_ranges(shape: QueryShape) -> bool:
    """Return whether the service bills the entries of indexes that a query reads."""
    ranges = shape.inequal | ({KEY_PROPERTY} & shape.equal)
    ordered = {name for name, _ in shape.orders}
    return bool(ranges) and len(ranges | (ordered - shape.equal)) > 1
