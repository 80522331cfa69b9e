"""What a query on one kind asks for, in terms of its indexes."""

from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from itertools import chain
from typing import Any

from gae_devserver.datastore.encoding import (
    KEY_PROPERTY,
    Path,
    ValueKey,
    after,
    path_of,
    value_key,
)
from gae_devserver.datastore.property_index import Row

Position = tuple[ValueKey, ...]
"""What a result sorts by: a value for each order. The last one is the key."""
Order = tuple[str, bool]
"""The name of a property, and whether larger values come first."""
KEY_ORDER: Order = (KEY_PROPERTY, False)


@dataclass(frozen=True)
class Range:
    """The values that pass all of <, <=, >, >=, != and NOT_IN on one property."""

    low: ValueKey = ()
    """The first value of the range."""
    high: ValueKey | None = None
    """The first value after the range; None: it has no end."""
    excluded: frozenset[ValueKey] = frozenset()

    def accepts(self, value: ValueKey) -> bool:
        """Return whether a value passes."""
        return (
            self.low <= value
            and (self.high is None or value < self.high)
            and value not in self.excluded
        )

    def narrowed(self, operator: str, value: ValueKey) -> "Range":
        """Return the values that also pass one more filter."""
        if operator == "!=":
            return replace(self, excluded=self.excluded | {value})
        bound = after(value) if operator in {">", "<="} else value
        if operator.startswith(">"):
            return replace(self, low=max(self.low, bound))
        return replace(self, high=bound if self.high is None else min(self.high, bound))


@dataclass
class Conjunction:
    """Filters of which an entity must pass all."""

    equal: dict[str, set[ValueKey]] = field(default_factory=dict)
    """Values that a property must have, each at any place of a list."""
    ranges: dict[str, Range] = field(default_factory=dict)
    """The inequalities of a property; one value of a list must pass them all."""
    ancestor: Path | None = None

    def add(self, name: str, operator: str, value: ValueKey) -> None:
        """Add a filter: = < <= > >= or !=."""
        if operator == "=":
            self.equal.setdefault(name, set()).add(value)
        else:
            self.ranges[name] = self.ranges.get(name, Range()).narrowed(operator, value)

    def accepts(self, name: str, value: ValueKey) -> bool:
        """Return whether a value passes the filters on its property."""
        if name in self.ranges:
            return self.ranges[name].accepts(value)
        return name not in self.equal or value in self.equal[name]

    def accepted(self, row: Row, name: str) -> list[ValueKey]:
        """Return the values of a property that pass the filters on it."""
        values = row.values(name)
        if name not in self.ranges and name not in self.equal:
            return values
        return [value for value in values if self.accepts(name, value)]

    def covers(self, position: Position, orders: Iterable[Order]) -> bool:
        """Return whether an entity at a position can pass."""
        return self._is_below_ancestor(position[-1]) and all(
            self.accepts(name, value)
            for (name, _), value in zip(orders, position, strict=True)
        )

    def matches(self, row: Row) -> bool:
        """Return whether an entity passes."""
        for name, wanted in self.equal.items():
            if not wanted.issubset(row.values(name)):
                return False
        for name, accepted in self.ranges.items():
            if not any(map(accepted.accepts, row.values(name))):
                return False
        return self._is_below_ancestor(row.path)

    def _is_below_ancestor(self, path: Path) -> bool:
        ancestor = self.ancestor
        return ancestor is None or path[: len(ancestor)] == ancestor


@dataclass
class IndexQuery:
    """A query on one kind: it finds entities that pass any of the alternatives."""

    alternatives: list[Conjunction]
    orders: tuple[Order, ...] = (KEY_ORDER,)
    """Complete: see `complete_orders`."""
    columns: tuple[str, ...] = ()
    """Properties of which each value makes its own result, as in a projection."""
    distinct: tuple[str, ...] = ()
    """Columns: of results with the same values in them, only the first is found."""


def complete_orders(
    explicit: Iterable[Order], alternatives: list[Conjunction], columns: Iterable[str]
) -> tuple[Order, ...]:
    """Return the orders as the datastore completes them.

    After the explicit ones come properties with an inequality, then projected ones,
    then the key. A property with an equality filter orders nothing, nor does one after
    the key. Source: datastore_index.py of the SDK.

    The service does not specify the rest of an incomplete order: "if empty, order is
    unspecified" (google/datastore/v1/query.proto). Google's emulators differ.
    """
    inequal = {name for conjunction in alternatives for name in conjunction.ranges}
    constant = set(alternatives[0].equal) if len(alternatives) == 1 else set()
    orders: dict[str, bool] = {}
    implied = ((name, False) for name in sorted(inequal - {KEY_PROPERTY}))
    for name, descending in chain(explicit, implied):
        # The key is unique, so nothing after it has an effect.
        if KEY_PROPERTY not in orders and name not in constant - inequal:
            orders.setdefault(name, descending)
    for name in sorted(columns):
        orders.setdefault(name, False)
    orders.setdefault(KEY_PROPERTY, False)
    return tuple(orders.items())


def cursor_position(cursor: Any, orders: Iterable[Order]) -> Position | None:
    """Return the position in a cursor of version 3; None if the orders are others."""
    values = {item.property_name: value_key(item.value) for item in cursor.index_value}
    if cursor.HasField("key"):
        values[KEY_PROPERTY] = path_of(cursor.key.path.element)
    names = [name for name, _ in orders]
    return tuple(values[name] for name in names) if values.keys() == {*names} else None


def precedes(one: Position, other: Position, orders: Iterable[Order]) -> bool:
    """Return whether one result comes before the other."""
    for mine, others, (_, descending) in zip(one, other, orders, strict=True):
        if mine != others:
            return (mine < others) != descending
    return False
