"""What a query on one kind asks for, in terms of its indexes."""

from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from itertools import chain

from gae_devserver.datastore.encoding import KEY_PROPERTY, Path, ValueKey
from gae_devserver.datastore.property_index import Row

Position = tuple[ValueKey, ...]
"""What a result sorts by: a value for each order. The last one is the key."""
Order = tuple[str, bool]
"""The name of a property, and whether larger values come first."""
KEY_ORDER: Order = (KEY_PROPERTY, False)


@dataclass(frozen=True)
class Range:
    """The values that pass all of <, <=, >, >=, != and NOT_IN on one property."""

    low: ValueKey | None = None
    high: ValueKey | None = None
    low_inclusive: bool = True
    high_inclusive: bool = True
    excluded: frozenset[ValueKey] = frozenset()

    def accepts(self, value: ValueKey) -> bool:
        """Tell whether a value passes."""
        low, high = self.low, self.high
        if low is not None and not (
            value > low if value != low else self.low_inclusive
        ):
            return False
        if high is not None and not (
            value < high if value != high else self.high_inclusive
        ):
            return False
        return value not in self.excluded

    def narrowed(self, operator: str, value: ValueKey) -> "Range":
        """Return the values that also pass one more filter."""
        if operator == "!=":
            return replace(self, excluded=self.excluded | {value})
        inclusive = operator.endswith("=")
        if operator.startswith("<"):
            if self.high is None or value < self.high:
                return replace(self, high=value, high_inclusive=inclusive)
            both = inclusive and self.high_inclusive
            return replace(self, high_inclusive=both) if value == self.high else self
        if self.low is None or value > self.low:
            return replace(self, low=value, low_inclusive=inclusive)
        both = inclusive and self.low_inclusive
        return replace(self, low_inclusive=both) if value == self.low else self


@dataclass
class Conjunction:
    """Filters that an entity must pass all of."""

    equal: dict[str, set[ValueKey]] = field(default_factory=dict)
    """Values that must be there, each in any place of a list."""
    ranges: dict[str, Range] = field(default_factory=dict)
    """One value of a list must pass all of the property's inequalities."""
    ancestor: Path | None = None

    def add(self, name: str, operator: str, value: ValueKey) -> None:
        """Add a filter: = < <= > >= or !=."""
        if operator == "=":
            self.equal.setdefault(name, set()).add(value)
        else:
            self.ranges[name] = self.ranges.get(name, Range()).narrowed(operator, value)

    def accepts(self, name: str, value: ValueKey) -> bool:
        """Tell whether the filters on a property let a value pass."""
        if name in self.ranges:
            return self.ranges[name].accepts(value)
        return name not in self.equal or value in self.equal[name]

    def accepted(self, row: Row, name: str) -> list[ValueKey]:
        """Return the values of a property that the filters on it let pass."""
        values = row.values(name)
        if name in self.ranges or name in self.equal:
            return [value for value in values if self.accepts(name, value)]
        return values

    def matches(self, row: Row) -> bool:
        """Tell whether an entity passes."""
        for name, wanted in self.equal.items():
            if not wanted.issubset(row.values(name)):
                return False
        for name, accepted in self.ranges.items():
            if not any(map(accepted.accepts, row.values(name))):
                return False
        ancestor = self.ancestor
        return ancestor is None or row.path[: len(ancestor)] == ancestor


@dataclass
class IndexQuery:
    """A query on one kind. It finds what passes any of the alternatives."""

    alternatives: list[Conjunction]
    orders: tuple[Order, ...] = (KEY_ORDER,)
    """Complete: see `complete_orders`."""
    columns: tuple[str, ...] = ()
    """Properties of which each value counts for itself, as in a projection."""
    distinct: tuple[str, ...] = ()
    """Columns: of results that agree in them only the first is found."""


def complete_orders(
    explicit: Iterable[Order], alternatives: list[Conjunction], columns: Iterable[str]
) -> tuple[Order, ...]:
    """Return the orders as the datastore completes them.

    Properties with an inequality follow what is asked for, then those projected, then
    the key. A property that must be equal to a value cannot order anything, nor can one
    that stands behind the key. Source: datastore_index.py of the SDK.

    The service leaves open how it goes on where an order is not complete: "if empty,
    order is unspecified" (google/datastore/v1/query.proto). Google's emulators differ.
    """
    inequal = {name for conjunction in alternatives for name in conjunction.ranges}
    constant = set(alternatives[0].equal) if len(alternatives) == 1 else set()
    orders: dict[str, bool] = {}
    implied = ((name, False) for name in sorted(inequal - {KEY_PROPERTY}))
    for name, descending in chain(explicit, implied):
        # nothing is left to order once there is the key
        if KEY_PROPERTY not in orders and name not in constant - inequal:
            orders.setdefault(name, descending)
    for name in sorted(columns):
        orders.setdefault(name, False)
    orders.setdefault(KEY_PROPERTY, False)
    return tuple(orders.items())


def precedes(one: Position, other: Position, orders: Iterable[Order]) -> bool:
    """Tell whether one result comes before the other."""
    for mine, others, (_, descending) in zip(one, other, orders, strict=True):
        if mine != others:
            return (mine < others) != descending
    return False
