"""What decides which index a query needs: its properties, not their values."""

from typing import Any, NamedTuple

from google.appengine.datastore import datastore_index, datastore_pb

from gae_devserver.config.index_yaml import Key
from gae_devserver.datastore.encoding import KEY_PROPERTY
from gae_devserver.datastore.index_query import Order

_Filter = datastore_pb.Query.Filter
_ASCENDING = datastore_pb.Query.Order.ASCENDING
_DESCENDING = datastore_pb.Query.Order.DESCENDING
_INEQUALITIES = tuple(datastore_index.INEQUALITY_OPERATORS)


class QueryShape(NamedTuple):
    """A query without the values in its filters, for either API."""

    kind: str
    """Empty for entities of every kind."""
    has_ancestor: bool
    equal: frozenset[str]
    """Properties with an equality filter."""
    inequal: frozenset[str]
    """Properties with any other filter."""
    orders: tuple[Order, ...] = ()
    columns: tuple[str, ...] = ()
    """Properties that a projection or an aggregation reads."""
    distinct: tuple[str, ...] = ()

    @property
    def is_ordinary(self) -> bool:
        """Return whether an index can be declared: not for metadata kinds."""
        return bool(self.kind) and not self.kind.startswith("__")

    def query(self) -> Any:
        """Return a query of version 3 for the SDK's `datastore_index`.

        That module knows an inequality on one property alone, by which the results are
        ordered first. Firestore in Datastore mode allows others: any index with these
        properties serves them, as it does a projection.
        """
        query = datastore_pb.Query(app="", kind=self.kind)
        if self.has_ancestor:
            query.ancestor.SetInParent()
        for name in sorted(self.equal):
            _add_filter(query, name, _Filter.EQUAL)
        constant = self.equal - self.inequal
        orders = [order for order in self.orders if order[0] not in constant]
        first = {name for name, _ in orders[:1]} or self.inequal
        if len(self.inequal) == 1 and first == self.inequal:
            _add_filter(query, min(self.inequal), _Filter.GREATER_THAN)
        else:
            ordered = {name for name, _ in orders}
            # every index has the key
            others = self.inequal - ordered - {KEY_PROPERTY}
            query.property_name.extend(sorted(others))
        for name, descending in orders:
            direction = _DESCENDING if descending else _ASCENDING
            query.order.add(property=name, direction=direction)
        query.property_name.extend(self.columns)
        query.group_by_property_name.extend(self.distinct)
        return query


def _add_filter(query: Any, name: str, operator: int) -> None:
    query.filter.add(op=operator).property.add(name=name, multiple=False)


def of_v3(query: Any) -> QueryShape | None:
    """Return the shape of a query of version 3; None if no index can be declared."""
    names: dict[Any, set[str]] = {}
    for item in query.filter:
        names.setdefault(item.op, set()).add(item.property[0].name)
    inequal = [names.pop(operator, set()) for operator in _INEQUALITIES]
    equal, exist = names.pop(_Filter.EQUAL, set()), names.pop(_Filter.EXISTS, set())
    if names:
        return None
    return QueryShape(
        query.kind,
        query.HasField("ancestor"),
        frozenset(equal),
        frozenset().union(*inequal),
        tuple((item.property, item.direction == _DESCENDING) for item in query.order),
        (*query.property_name, *sorted(exist)),
        tuple(query.group_by_property_name),
    )


def built_in_indexes(query: Any) -> list[Any] | None:
    """Return the properties whose own indexes, merged, serve a query.

    Return None if it needs a composite index. Without properties, the index of the
    keys serves it.
    """
    required, _, _, properties = datastore_index.CompositeIndexForQuery(query)
    if required:
        return None
    return list(datastore_index.GetRecommendedIndexProperties(properties))


def best_index(query: Any) -> Key:
    """Return the index that serves a query alone."""
    _, kind, ancestor, properties = datastore_index.CompositeIndexForQuery(query)
    best = datastore_index.GetRecommendedIndexProperties(properties)
    return kind, bool(ancestor), best
