"""Finds what a query asks for in the indexes of a kind.

Both APIs come here: version 1 for its results, version 3 for a first selection.
"""

from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Iterator, Mapping
from itertools import chain, islice, product
from typing import Any, NamedTuple

from gae_devserver.datastore.encoding import KEY_PROPERTY, Path, ValueKey
from gae_devserver.datastore.index_query import (
    KEY_ORDER,
    Conjunction,
    IndexQuery,
    Order,
    Position,
    Range,
    precedes,
)
from gae_devserver.datastore.property_index import Entry, KindIndex, Row, value_range

_FEW = 500
"""So many candidates are sorted sooner than another index is looked at."""


class Hit(NamedTuple):
    """One result."""

    row: Row
    position: Position
    columns: Mapping[str, ValueKey] = {}


def find(
    index: KindIndex,
    query: IndexQuery,
    start: Position | None = None,
    *,
    inclusive: bool = False,
) -> Iterator[Hit]:
    """Yield the results in order.

    Args:
        index: the entities of the kind.
        query: what to find.
        start: the position after which to begin.
        inclusive: a result at `start` itself is wanted too.
    """
    # the first of its kind counts, also where that one comes before the start
    begin = None if query.distinct else start
    hits = _scan(index, query, begin, inclusive)
    if hits is None:
        begin = None
        hits = iter(_sorted(_unordered(index, query), query.orders))
    if query.distinct:
        hits = _first_of_each(hits, query.distinct)
    if start is not None and begin is None:
        hits = (
            hit
            for hit in hits
            if precedes(start, hit.position, query.orders)
            or (inclusive and hit.position == start)
        )
    return hits


def _sorted(hits: Iterable[Hit], orders: tuple[Order, ...]) -> list[Hit]:
    found = list(hits)
    if not any(descending for _, descending in orders):
        found.sort(key=lambda hit: hit.position)
        return found
    # sorting is stable: the last order first, the first order last
    for place, (_, descending) in reversed(list(enumerate(orders))):
        _sort_by(found, place, descending)
    return found


def _sort_by(hits: list[Hit], place: int, descending: bool) -> None:
    hits.sort(key=lambda hit: hit.position[place], reverse=descending)


def _first_of_each(hits: Iterable[Hit], distinct: tuple[str, ...]) -> Iterator[Hit]:
    seen = set()
    for hit in hits:
        values = tuple(hit.columns[name] for name in distinct)
        if values not in seen:
            seen.add(values)
            yield hit


def _unordered(index: KindIndex, query: IndexQuery) -> Iterable[Hit]:
    """Look at each candidate and return what passes, each result once."""
    found: dict[Any, Hit] = {}
    for conjunction in query.alternatives:
        for path in _smallest(index, conjunction).paths():
            row = index.rows[path]
            if not conjunction.matches(row):
                continue
            for hit in _hits(row, conjunction, query):
                # one entity is one result, unless its values count for themselves
                same = hit.position if query.columns else path
                other = found.get(same)
                if other is None or precedes(
                    hit.position, other.position, query.orders
                ):
                    found[same] = hit
    return found.values()


def _hits(row: Row, conjunction: Conjunction, query: IndexQuery) -> Iterator[Hit]:
    if not query.columns:
        position = _position(row, conjunction, query.orders)
        if position is not None:
            yield Hit(row, position)
        return
    names = list(
        dict.fromkeys(chain((name for name, _ in query.orders), query.columns))
    )
    for values in product(*(conjunction.accepted(row, name) for name in names)):
        columns = dict(zip(names, values, strict=True))
        yield Hit(row, tuple(columns[name] for name, _ in query.orders), columns)


def _position(
    row: Row, conjunction: Conjunction, orders: tuple[Order, ...]
) -> Position | None:
    position = []
    for name, descending in orders:
        values = conjunction.accepted(row, name)
        if not values:
            return None  # without the property it is not in the index
        position.append(values[-1] if descending else values[0])
    return tuple(position)


class _Slice(NamedTuple):
    """Part of an index that holds all the entities that pass a filter."""

    items: list[Any]
    low: int
    high: int
    by_key: bool = True
    """Sorted by key: a list of keys, or entries that all have one value."""

    def paths(self) -> Iterator[Path]:
        items = islice(self.items, self.low, self.high)
        return (item[1] if type(item[0]) is tuple else item for item in items)

    def place(self, path: Path, *, behind: bool) -> int:
        """Return where a key is or would be, or the place behind it."""
        key: Path | Entry = path
        if self.low < self.high and type(self.items[self.low][0]) is tuple:
            key = (self.items[self.low][0], path)
        side = bisect_right if behind else bisect_left
        return side(self.items, key, self.low, self.high)


def _smallest(index: KindIndex, conjunction: Conjunction) -> _Slice:
    """Return a short part of an index that has all that can match."""
    filtered = {*conjunction.equal, *conjunction.ranges}
    slices = []
    equal = [
        (len(index.equal(name, value)), name, value)
        for name, values in conjunction.equal.items()
        for value in values
        if name != KEY_PROPERTY
    ]
    if equal:
        count, name, value = min(equal)
        if count <= _FEW:
            return _Slice(sorted(index.equal(name, value)), 0, count)
        entries = index.entries(name)
        slices.append(_Slice(entries, *value_range(entries, value, value)))
    slices += [
        _range_slice(index, conjunction, name)
        for name in conjunction.ranges
        if name != KEY_PROPERTY
    ]
    if not slices or conjunction.ancestor or KEY_PROPERTY in filtered:
        slices.append(_key_slice(index, conjunction))
    return min(slices, key=lambda part: part.high - part.low)


def _range_slice(index: KindIndex, conjunction: Conjunction, name: str) -> _Slice:
    entries = index.entries(name)
    limits = conjunction.ranges.get(name, Range())
    low, high = value_range(
        entries, limits.low, limits.high, limits.low_inclusive, limits.high_inclusive
    )
    return _Slice(entries, low, high, by_key=False)


def _key_slice(index: KindIndex, conjunction: Conjunction) -> _Slice:
    if KEY_PROPERTY in conjunction.equal:
        paths = [path for path in conjunction.equal[KEY_PROPERTY] if path in index.rows]
        return _Slice(paths, 0, len(paths) if len(paths) == 1 else 0)
    paths = index.paths()
    low, high = 0, len(paths)
    limits = conjunction.ranges.get(KEY_PROPERTY, Range())
    if limits.low is not None:
        low = (bisect_left if limits.low_inclusive else bisect_right)(paths, limits.low)
    if limits.high is not None:
        side = bisect_right if limits.high_inclusive else bisect_left
        high = side(paths, limits.high)
    if (ancestor := conjunction.ancestor) is not None:
        length = len(ancestor)
        low = max(low, bisect_left(paths, ancestor))
        key = lambda path: path[:length]  # noqa: E731 - two calls read it
        high = min(high, bisect_right(paths, ancestor, key=key))
    return _Slice(paths, low, max(low, high))


def _scan(
    index: KindIndex, query: IndexQuery, start: Position | None, inclusive: bool
) -> Iterator[Hit] | None:
    """Yield results straight from an index that has them in order, if there is one."""
    (name, descending), *rest = query.orders
    if len(query.alternatives) > 1 or query.columns not in ((), (name,)):
        return None
    conjunction = query.alternatives[0]
    part = _smallest(index, conjunction)
    if name == KEY_PROPERTY:
        if not part.by_key:
            return None
        return _scan_keys(index, conjunction, part, descending, start, inclusive)
    if rest != [KEY_ORDER] or part.high - part.low <= _FEW:
        return None
    ordered = _range_slice(index, conjunction, name)
    # few candidates are sorted sooner than a long index is searched for them
    if ordered.high - ordered.low > 8 * (part.high - part.low):
        return None
    entries = _in_order(ordered, descending, start, inclusive)
    return _scan_values(index, query, entries)


def _scan_keys(
    index: KindIndex,
    conjunction: Conjunction,
    part: _Slice,
    descending: bool,
    start: Position | None,
    inclusive: bool,
) -> Iterator[Hit]:
    if start is not None:
        place = part.place(start[0], behind=descending == inclusive)
        part = part._replace(high=place) if descending else part._replace(low=place)
    paths: Iterable[Path] = part.paths()
    for path in reversed(list(paths)) if descending else paths:
        row = index.rows[path]
        if conjunction.matches(row):
            yield Hit(row, (path,))


def _scan_values(
    index: KindIndex, query: IndexQuery, entries: Iterator[Entry]
) -> Iterator[Hit]:
    (conjunction,) = query.alternatives
    name = query.orders[0][0]
    for entry in entries:
        value, path = entry
        row = index.rows[path]
        if not conjunction.matches(row):
            continue
        if query.columns:
            if conjunction.accepts(name, value):
                yield Hit(row, entry, {name: value, KEY_PROPERTY: path})
        elif entry == _position(row, conjunction, query.orders):
            # else it is an entity with several values, of which another comes first
            yield Hit(row, entry)


def _in_order(
    part: _Slice, descending: bool, start: Position | None, inclusive: bool
) -> Iterator[Entry]:
    entries, low, high, _ = part
    side = bisect_left if inclusive else bisect_right
    if not descending:
        if start is not None:
            low = side(entries, start, low, high)
        yield from islice(entries, low, high)
        return
    while high > low:
        value = entries[high - 1][0]
        begin = bisect_left(entries, (value,), low, high)
        first = begin
        if start is not None and value >= start[0]:
            first = side(entries, start, begin, high) if value == start[0] else high
        # among equal values the keys go up
        yield from islice(entries, first, high)
        high = begin
