"""Finds what a query of version 3 can return in the index of its kind."""

from collections.abc import Iterable
from itertools import islice
from typing import Any

from google.appengine.datastore import datastore_pb

from gae_devserver.datastore.encoding import KEY_PROPERTY, path_of, value_key
from gae_devserver.datastore.index_query import (
    Conjunction,
    IndexQuery,
    complete_orders,
    cursor_position,
)
from gae_devserver.datastore.index_scan import Hit, find
from gae_devserver.datastore.views import View

_Filter = datastore_pb.Query.Filter
_OPERATORS = {
    _Filter.LESS_THAN: "<",
    _Filter.LESS_THAN_OR_EQUAL: "<=",
    _Filter.GREATER_THAN: ">",
    _Filter.GREATER_THAN_OR_EQUAL: ">=",
    _Filter.EQUAL: "=",
}
_DESCENDING = datastore_pb.Query.Order.DESCENDING


def select(view: View, query: Any, filters: Any, orders: Any) -> Iterable[Hit] | None:
    """Return every possible result; None if no index can answer the query."""
    if not query.HasField("kind"):
        return None
    conjunction = Conjunction()
    for item in filters:
        if item.op not in _OPERATORS:
            return None
        name, value = item.property[0].name, item.property[0].value
        if name == KEY_PROPERTY:
            wanted = path_of(value.referencevalue.pathelement)
        else:
            wanted = value_key(value)
        conjunction.add(name, _OPERATORS[item.op], wanted)
    explicit = [(order.property, order.direction == _DESCENDING) for order in orders]
    complete = complete_orders(explicit, [conjunction], ())
    start = cursor_position(query.compiled_cursor.postfix_position, complete)
    found = find(
        view.kind((query.name_space, query.kind)),
        IndexQuery([conjunction], complete),
        start,
        inclusive=True,
    )
    names = {
        *conjunction.equal,
        *conjunction.ranges,
        *(name for name, _ in complete),
    }
    # The stub cannot read properties of embedded entities and drops such results,
    # so it may need more of them than the limit.
    every = query.shallow or any("." in name for name in names)
    if every or not query.HasField("limit"):
        return found
    return islice(found, query.offset + query.limit + (start is not None))
