"""Finds the results of a query in the indexes of a kind.

Version 1 uses it for its results, version 3 to select what the SDK's stub reads.
"""

from bisect import bisect_left
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import islice, product
from typing import Any, NamedTuple

from sortedcontainers import SortedList

from gae_devserver.datastore.encoding import (
    KEY_PROPERTY,
    ValueKey,
    after,
    after_descendants,
)
from gae_devserver.datastore.index_query import (
    KEY_ORDER,
    Conjunction,
    IndexQuery,
    Order,
    Position,
    Range,
    precedes,
)
from gae_devserver.datastore.property_index import Entry, KindIndex, Row


class Hit(NamedTuple):
    """One result."""

    row: Row
    position: Position
    columns: Mapping[str, ValueKey] = {}


@dataclass
class Tally:
    """Counts the entries of indexes that a query reads."""

    entries: int = 0

    def over(self, entries: Iterable[Entry]) -> Iterator[Entry]:
        """Yield entries, and count them."""
        for entry in entries:
            self.entries += 1
            yield entry


def find(
    index: KindIndex,
    query: IndexQuery,
    start: Position | None = None,
    *,
    inclusive: bool = False,
    tally: Tally | None = None,
) -> Iterator[Hit]:
    """Yield the results in order.

    Args:
        index: the entities of the kind.
        query: the query.
        start: the position after which to begin.
        inclusive: include a result at `start` itself.
        tally: counts what is read; None costs nothing.
    """
    # A result before the start also hides later ones with the same values.
    begin = None if query.distinct else start
    hits = _scan(index, query, begin, inclusive, tally)
    if hits is None:
        return _find_sorted(index, query, start, inclusive, tally)
    if query.distinct:
        hits = _first_of_each(hits, query.distinct)
    if start is not None and begin is None:
        hits = (hit for hit in hits if _begins_at(hit, start, query.orders, inclusive))
    return hits


def _begins_at(
    hit: Hit, start: Position, orders: Iterable[Order], inclusive: bool
) -> bool:
    return precedes(start, hit.position, orders) or (
        inclusive and hit.position == start
    )


def _find_sorted(
    index: KindIndex,
    query: IndexQuery,
    start: Position | None,
    inclusive: bool,
    tally: Tally | None,
) -> Iterator[Hit]:
    """Yield results that no index has in order; the next batch continues with them."""
    found = index.unfinished.get(query) if tally is None else None
    if found is None:
        found = _sorted(_unordered(index, query, tally), query.orders)
        if query.distinct:
            found = list(_first_of_each(found, query.distinct))
        # Few are soon sorted again, and there can be many such queries.
        if tally is None and len(found) > index.sort_limit:
            index.unfinished.put(query, found)
    first = 0
    if start is not None:
        first = bisect_left(
            found,
            True,
            key=lambda hit: _begins_at(hit, start, query.orders, inclusive),
        )
    yield from islice(found, first, None)
    index.unfinished.forget(query)


def _sorted(hits: Iterable[Hit], orders: tuple[Order, ...]) -> list[Hit]:
    found = list(hits)
    # Sorting is stable, so the first order is applied last.
    for place, (_, descending) in reversed(list(enumerate(orders))):
        found.sort(key=lambda hit: hit.position[place], reverse=descending)
    return found


def _first_of_each(hits: Iterable[Hit], distinct: tuple[str, ...]) -> Iterator[Hit]:
    seen = set()
    for hit in hits:
        values = tuple(hit.columns[name] for name in distinct)
        if values not in seen:
            seen.add(values)
            yield hit


def _unordered(
    index: KindIndex, query: IndexQuery, tally: Tally | None
) -> Iterable[Hit]:
    """Return each matching result once."""
    found: dict[Any, Hit] = {}
    # those of the orders first, so that the values begin with the position
    names = dict.fromkeys([*(name for name, _ in query.orders), *query.columns])
    for conjunction in query.alternatives:
        candidates = _candidates(index, conjunction).scan()
        for row, _ in _matching(index, conjunction, candidates, tally):
            for hit in _hits(row, conjunction, query, names):
                # Without columns an entity is one result, however often it passes.
                same = hit.position if query.columns else row.path
                other = found.get(same)
                if other is None or precedes(
                    hit.position, other.position, query.orders
                ):
                    found[same] = hit
    return found.values()


def _hits(
    row: Row, conjunction: Conjunction, query: IndexQuery, names: Iterable[str]
) -> Iterator[Hit]:
    if not query.columns:
        position = _position(row, conjunction, query.orders)
        if position is not None:
            yield Hit(row, position)
        return
    for values in product(*(conjunction.accepted(row, name) for name in names)):
        columns = dict(zip(names, values, strict=True))
        yield Hit(row, values[: len(query.orders)], columns)


def _position(
    row: Row, conjunction: Conjunction, orders: tuple[Order, ...]
) -> Position | None:
    position = []
    for name, descending in orders:
        values = conjunction.accepted(row, name)
        if not values:
            # An entity without the property is not in its index.
            return None
        position.append(values[-1] if descending else values[0])
    return tuple(position)


class _Slice(NamedTuple):
    """The entries of an index from `low` up to, but without, `high`."""

    entries: "SortedList[Entry]"
    low: Entry = ()
    high: Entry | None = None
    prefix: Entry | None = None
    """What all entries have before their key, if they are in the order of keys."""

    def size(self) -> int:
        start = self.entries.bisect_left(self.low)
        if self.high is None:
            return len(self.entries) - start
        return max(0, self.entries.bisect_left(self.high) - start)

    def scan(self, *, reverse: bool = False) -> Iterator[Entry]:
        return self.entries.irange(self.low, self.high, (True, False), reverse)

    def starting_at(self, low: Entry) -> "_Slice":
        """Return the part that does not come before `low`."""
        return self._replace(low=max(self.low, low))

    def ending_before(self, high: Entry) -> "_Slice":
        """Return the part that comes before `high`."""
        return self._replace(high=high if self.high is None else min(self.high, high))


def _candidates(index: KindIndex, conjunction: Conjunction) -> _Slice:
    """Return a short part of an index that has all that can match."""
    slices = []
    equal = [
        (len(index.equal(name, value)), name, value)
        for name, values in conjunction.equal.items()
        for value in values
        if name != KEY_PROPERTY
    ]
    if equal:
        count, name, value = min(equal)
        if count <= index.sort_limit:
            found: Iterator[Entry] = ((path,) for path in index.equal(name, value))
            return _Slice(SortedList(found), prefix=())
        entries = index.entries(name)
        slices.append(_Slice(entries, (value,), (after(value),), prefix=(value,)))
    slices += [
        _range_slice(index, conjunction, name)
        for name in conjunction.ranges
        if name != KEY_PROPERTY
    ]
    filtered = {*conjunction.equal, *conjunction.ranges}
    if not slices or conjunction.ancestor or KEY_PROPERTY in filtered:
        slices.append(_key_slice(index, conjunction))
    return min(slices, key=_Slice.size)


def _range_slice(index: KindIndex, conjunction: Conjunction, name: str) -> _Slice:
    limits = conjunction.ranges.get(name, Range())
    high = None if limits.high is None else (limits.high,)
    return _Slice(index.entries(name), (limits.low,), high)


def _key_slice(index: KindIndex, conjunction: Conjunction) -> _Slice:
    part = _range_slice(index, conjunction, KEY_PROPERTY)._replace(prefix=())
    for path in conjunction.equal.get(KEY_PROPERTY, ()):
        part = part.starting_at((path,)).ending_before((after(path),))
    if (ancestor := conjunction.ancestor) is not None:
        part = part.starting_at((ancestor,)).ending_before(
            (after_descendants(ancestor),)
        )
    return part


def _scan(
    index: KindIndex,
    query: IndexQuery,
    start: Position | None,
    inclusive: bool,
    tally: Tally | None,
) -> Iterator[Hit] | None:
    """Yield results straight from an index that has them in order, if there is one."""
    (name, descending), *rest = query.orders
    if len(query.alternatives) > 1 or query.columns not in ((), (name,)):
        return None
    conjunction = query.alternatives[0]
    part = _candidates(index, conjunction)
    if name == KEY_PROPERTY:
        if part.prefix is None:
            return None
        entries = _by_key(part, part.prefix, descending, start, inclusive)
        matching = _matching(index, conjunction, entries, tally)
        return (Hit(row, entry[-1:]) for row, entry in matching)
    if rest != [KEY_ORDER] or part.size() <= index.sort_limit:
        return None
    ordered = _range_slice(index, conjunction, name)
    # A few candidates are sorted sooner than they are found in a long index.
    if ordered.size() > 8 * part.size():
        return None
    entries = _by_value(ordered, descending, start, inclusive)
    return _scan_values(index, query, entries, tally)


def _matching(
    index: KindIndex,
    conjunction: Conjunction,
    entries: Iterable[Entry],
    tally: Tally | None,
) -> Iterator[tuple[Row, Entry]]:
    for entry in entries if tally is None else tally.over(entries):
        row = index.rows[entry[-1]]
        if conjunction.matches(row):
            yield row, entry


def _scan_values(
    index: KindIndex,
    query: IndexQuery,
    entries: Iterable[Entry],
    tally: Tally | None,
) -> Iterator[Hit]:
    (conjunction,) = query.alternatives
    name = query.orders[0][0]
    for row, entry in _matching(index, conjunction, entries, tally):
        if query.columns:
            if conjunction.accepts(name, entry[0]):
                yield Hit(row, entry, {name: entry[0], KEY_PROPERTY: row.path})
        # An entity with several values is found at the first of them only.
        elif entry == _position(row, conjunction, query.orders):
            yield Hit(row, entry)


def _by_key(
    part: _Slice,
    prefix: Entry,
    descending: bool,
    start: Position | None,
    inclusive: bool,
) -> Iterator[Entry]:
    if start is not None:
        place = (*prefix, *start)
        bound = after(place) if descending == inclusive else place
        part = part.ending_before(bound) if descending else part.starting_at(bound)
    return part.scan(reverse=descending)


def _by_value(
    part: _Slice, descending: bool, start: Position | None, inclusive: bool
) -> Iterator[Entry]:
    """Yield entries by value, and those with the same value by key."""
    first = start if start is None or inclusive else after(start)
    if not descending:
        yield from (part if first is None else part.starting_at(first)).scan()
        return
    if first is not None:
        yield from part.starting_at(first).ending_before((after(first[0]),)).scan()
        part = part.ending_before(first[:1])
    while last := next(part.scan(reverse=True), None):
        yield from part.starting_at(last[:1]).scan()
        part = part.ending_before(last[:1])
