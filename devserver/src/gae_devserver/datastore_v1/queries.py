"""Checks queries of version 1, and converts them to queries of the indexes.

The rules are those of Google's Firestore emulator in Datastore mode: one query may have
any number of inequalities, OR, IN, NOT_IN and !=.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from itertools import product
from typing import Any

from gae_devserver.datastore.encoding import KEY_PROPERTY, Path, ValueKey, value_key
from gae_devserver.datastore.index_query import (
    Conjunction,
    IndexQuery,
    Order,
    Range,
    complete_orders,
)
from gae_devserver.datastore_v1 import cursors, messages, metadata_kinds
from gae_devserver.datastore_v1.entity_writer import property_of
from gae_devserver.datastore_v1.keys import Partition, check_name, is_reserved
from gae_devserver.rpc.errors import InvalidArgumentError, check, refuse_if

MAX_ALTERNATIVES = 30
MAX_NOT_IN = 10
MAX_INEQUAL_PROPERTIES = 10
MAX_CONDITIONS = 100
"""Distinct filters, after IN and OR are expanded, plus orders.

Source: Google's Firestore emulator in Datastore mode.
"""

_OPERATORS = messages.PropertyFilter.Operator
_COMPARISONS = {
    _OPERATORS.EQUAL: "=",
    _OPERATORS.LESS_THAN: "<",
    _OPERATORS.LESS_THAN_OR_EQUAL: "<=",
    _OPERATORS.GREATER_THAN: ">",
    _OPERATORS.GREATER_THAN_OR_EQUAL: ">=",
    _OPERATORS.NOT_EQUAL: "!=",
}
_ANCESTOR = "ancestor"
_COMPOSITES = messages.CompositeFilter.Operator
_DESCENDING = messages.PropertyOrder.Direction.DESCENDING

Atom = tuple[str, str, ValueKey]
"""Property, comparison and value of one filter."""


@dataclass
class ParsedQuery:
    """A query of version 1, checked and converted."""

    namespace: str
    kind: str
    """Empty for entities of every kind."""
    search: IndexQuery
    keys_only: bool
    projection: tuple[str, ...]
    """Empty for whole entities."""
    ancestor: Path | None
    limit: int | None
    offset: int
    start_cursor: bytes
    start: cursors.Place | None
    """The place that `start_cursor` points to."""
    end: cursors.Place | None


def parse(
    query: Any, namespace: str, partition: Partition, aggregated: Iterable[str] = ()
) -> ParsedQuery:
    """Check and convert a query.

    Args:
        query: the query of version 1.
        namespace: the namespace to search.
        partition: the project and database.
        aggregated: properties that an aggregation reads.

    Raises:
        InvalidArgumentError: the service would refuse the query too.
    """
    refuse_if(query.HasField("find_nearest"), "find_nearest (vector search)")
    check(len(query.kind) <= 1, "multiple kinds not supported")
    kind = query.kind[0].name if query.kind else ""
    if query.kind:
        check_name(kind, "kind")
    check(query.limit.value >= 0, "Limit must be non-negative.")
    check(query.offset >= 0, "Offset must be non-negative.")
    names = [item.property.name for item in query.projection]
    projection = tuple(name for name in names if name != KEY_PROPERTY)
    distinct = tuple(item.name for item in query.distinct_on)
    for name in (*projection, *distinct):
        _check_projected(name)
    check(
        len(set(projection)) == len(projection),
        "Cannot project a property multiple times.",
    )
    check(
        len(set(distinct)) == len(distinct),
        "Cannot group by a property multiple times.",
    )
    alternatives = _Filters(namespace, partition).alternatives(query)
    explicit = _orders(query, distinct)
    if not kind:
        _check_kindless(alternatives, explicit)
    equal = {name for conjunction in alternatives for name in conjunction.equal}
    check(
        equal.isdisjoint(projection),
        "Cannot use projection on a property with an equality filter.",
    )
    check(
        equal.isdisjoint(distinct),
        "Cannot use group by on a property with an equality filter.",
    )
    columns = tuple(dict.fromkeys((*projection, *distinct, *aggregated)))
    orders = complete_orders(explicit, alternatives, columns)
    search = IndexQuery(alternatives, orders, columns, distinct)
    metadata_kinds.check_query(kind, search)
    where = (namespace, kind, partition)
    return ParsedQuery(
        namespace,
        kind,
        search,
        keys_only=bool(names) and not projection,
        projection=projection,
        ancestor=alternatives[0].ancestor,
        limit=query.limit.value if query.HasField("limit") else None,
        offset=query.offset,
        start_cursor=query.start_cursor,
        start=_place(query.start_cursor, search, *where),
        end=_place(query.end_cursor, search, *where),
    )


def _place(
    cursor: bytes, search: IndexQuery, namespace: str, kind: str, partition: Partition
) -> cursors.Place | None:
    if not cursor:
        return None
    orders = search.orders
    place = cursors.decode(cursor, orders, namespace, kind, partition)
    check(
        any(one.covers(place.position, orders) for one in search.alternatives),
        "The cursor position is outside the range of the query: the cursor is of a"
        " query with another ancestor or other filters.",
    )
    return place


def _check_projected(name: str) -> None:
    check_name(name, "property.name")
    check(
        not is_reserved(name), f"projections are not supported for the property: {name}"
    )


def _orders(query: Any, distinct: tuple[str, ...]) -> list[Order]:
    orders = [
        (item.property.name, item.direction == _DESCENDING) for item in query.order
    ]
    names = [name for name, _ in orders]
    for name in names:
        check_name(name, "property.name")
        check(
            names.count(name) == 1,
            f"order by clause cannot contain duplicate fields {name}",
        )
    check(
        set(names[: len(distinct)]) <= set(distinct),
        "All group by properties must be ordered before any non group by properties.",
    )
    missing = (name for name in distinct if name not in names)
    return (
        orders[: len(distinct)]
        + [(name, False) for name in missing]
        + (orders[len(distinct) :])
    )


def _check_kindless(alternatives: list[Conjunction], orders: list[Order]) -> None:
    for conjunction in alternatives:
        for name in (*conjunction.equal, *conjunction.ranges):
            check(name == KEY_PROPERTY, f"kind is required for filter: {name}")
    check(
        all(order == (KEY_PROPERTY, False) for order in orders),
        "kind is required for all orders except __key__ ascending",
    )


class _Filters:
    """Expands a tree of filters into alternatives; an entity must match one of them."""

    def __init__(self, namespace: str, partition: Partition) -> None:
        self._namespace = namespace
        self._partition = partition
        self._operators: list[int] = []

    def alternatives(self, query: Any) -> list[Conjunction]:
        atoms: list[list[Atom]] = [[]]
        if query.HasField("filter"):
            atoms = self._expand(query.filter)
        self._check_combination()
        conditions = len({atom for alternative in atoms for atom in alternative})
        check(
            conditions + len(query.order) <= MAX_CONDITIONS,
            f"The query may not have more than {MAX_CONDITIONS} filters + sort orders +"
            " ancestor total.",
        )
        conjunctions = []
        for alternative in atoms:
            conjunction = Conjunction()
            ancestors = set()
            for name, comparison, value in alternative:
                if comparison == _ANCESTOR:
                    conjunction.ancestor = value
                    ancestors.add(value)
                else:
                    conjunction.add(name, comparison, value)
            check(len(ancestors) <= 1, "duplicate ancestor or parent constraint")
            conjunctions.append(conjunction)
        check(
            len({conjunction.ancestor for conjunction in conjunctions}) == 1,
            "All disjunctions must have a common and unique ancestor constraint.",
        )
        inequal = {name for conjunction in conjunctions for name in conjunction.ranges}
        check(
            len(inequal) <= MAX_INEQUAL_PROPERTIES,
            f"The query contains {len(inequal)} distinct inequality fields. A query may"
            f" not have more than {MAX_INEQUAL_PROPERTIES}.",
        )
        for conjunction in conjunctions:
            # An index with all of them finds the results of every alternative, so an
            # entity needs all of them, whatever the order is.
            for name in inequal - {KEY_PROPERTY} - conjunction.equal.keys():
                conjunction.ranges.setdefault(name, Range())
        return conjunctions

    def _expand(self, node: Any) -> list[list[Atom]]:
        match node.WhichOneof("filter_type"):
            case "property_filter":
                found = self._property_filter(node.property_filter)
            case "composite_filter":
                found = self._composite_filter(node.composite_filter)
            case None:
                raise InvalidArgumentError("A filter must have a type.")
        check(
            len(found) <= MAX_ALTERNATIVES,
            f"The query has more than {MAX_ALTERNATIVES} disjunctions after IN and OR"
            " are expanded.",
        )
        return found

    def _composite_filter(self, node: Any) -> list[list[Atom]]:
        check(node.filters, "A composite filter must have at least one sub-filter.")
        parts = [self._expand(part) for part in node.filters]
        if node.op == _COMPOSITES.OR:
            self._operators.append(_OPERATORS.IN)
            return [atoms for part in parts for atoms in part]
        check(node.op == _COMPOSITES.AND, "a composite filter must specify an operator")
        found = parts[0]
        for part in parts[1:]:
            found = [one + other for one, other in product(found, part)]
            if len(found) > MAX_ALTERNATIVES:
                break  # _expand refuses it; the whole product could be huge
        return found

    def _property_filter(self, node: Any) -> list[list[Atom]]:
        name, operator, value = node.property.name, node.op, node.value
        check_name(name, "property.name")
        self._operators.append(operator)
        if operator in _COMPARISONS:
            return [[(name, _COMPARISONS[operator], self._value(name, value))]]
        if operator == _OPERATORS.HAS_ANCESTOR:
            check(name == KEY_PROPERTY, "property must be __key__")
            check(value.HasField("key_value"), "HAS_ANCESTOR requires a key value")
            return [[(name, _ANCESTOR, self._key(value.key_value))]]
        if operator not in (_OPERATORS.IN, _OPERATORS.NOT_IN):
            check(operator, "a property filter must specify an operator")
            raise InvalidArgumentError(f"unknown filter operator {operator}")
        negative = operator == _OPERATORS.NOT_IN
        what, limit = ("NOT_IN", MAX_NOT_IN) if negative else ("IN", MAX_ALTERNATIVES)
        values = value.array_value.values
        check(values, f"{what} requires a non-empty ArrayValue.")
        check(len(values) <= limit, f"{what} supports up to {limit} values.")
        keys = list(dict.fromkeys(self._value(name, item) for item in values))
        if negative:
            return [[(name, "!=", key) for key in keys]]
        return [[(name, "=", key)] for key in keys]

    def _value(self, name: str, value: Any) -> ValueKey:
        if name != KEY_PROPERTY:
            return value_key(property_of(value, self._partition, name))
        check(value.HasField("key_value"), "__key__ filter value must be a Key")
        return self._key(value.key_value)

    def _key(self, key: Any) -> Path:
        namespace = key.partition_id.namespace_id
        check(
            namespace == self._namespace,
            f"The query namespace is '{self._namespace}' but __key__ filter namespace"
            f" is '{namespace}'.",
        )
        return self._partition.address(key)[1]

    def _check_combination(self) -> None:
        negative = [
            operator
            for operator in self._operators
            if operator in (_OPERATORS.NOT_EQUAL, _OPERATORS.NOT_IN)
        ]
        check(
            len(negative) <= 1,
            "Only a single 'NOT_EQUAL' or 'NOT_IN' is allowed per query.",
        )
        check(
            _OPERATORS.NOT_IN not in negative or _OPERATORS.IN not in self._operators,
            "'NOT_IN' cannot be used in the same query with 'IN' or 'OR'.",
        )
