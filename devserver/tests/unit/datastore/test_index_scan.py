"""Queries on an index: the same results whichever way they are found, and cheaply."""

from collections.abc import Iterable, Mapping
from itertools import islice
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gae_devserver.datastore.encoding import KEY_PROPERTY, Path, path_of
from gae_devserver.datastore.index_query import (
    Conjunction,
    IndexQuery,
    Order,
    complete_orders,
)
from gae_devserver.datastore.index_scan import Hit, find
from gae_devserver.datastore.property_index import KindIndex, Row
from tests.helpers.calls import reference
from tests.helpers.entities import entity_of

Properties = Mapping[str, list[int]]


def row_of(key: tuple[Any, ...], properties: Properties) -> Row:
    """Return a stored entity whose properties are integers."""
    entity = entity_of(reference(*key), **properties)
    return Row(path_of(entity.key.path.element), SimpleNamespace(entity=entity))


def index_of(entities: Mapping[tuple[Any, ...], Properties], limit: int) -> KindIndex:
    """Return an index that sorts up to `limit` candidates."""
    return KindIndex.of((row_of(*entity) for entity in entities.items()), limit)


keys = st.one_of(
    st.tuples(st.just("A"), st.integers(1, 9) | st.sampled_from(["1", "n"])),
    st.tuples(st.just("P"), st.integers(1, 2), st.just("A"), st.integers(1, 4)),
)
names = st.sampled_from(["a", "b", "c"])
numbers = st.integers(0, 3)
entity_sets = st.dictionaries(
    keys,
    st.dictionaries(names, st.lists(numbers, min_size=1, max_size=3)),
    max_size=25,
)


@st.composite
def conjunctions(draw: st.DrawFn) -> Conjunction:
    """Filters on properties and on the key."""
    conjunction = Conjunction()
    for operator in draw(st.lists(st.sampled_from(["=", "<", "<=", ">", ">=", "!="]))):
        name = draw(names | st.just(KEY_PROPERTY))
        value: Path = (1, draw(numbers))
        if name == KEY_PROPERTY:
            value = path_of(reference(*draw(keys)).path.element)
        conjunction.add(name, operator, value)
    if draw(st.booleans()):
        conjunction.ancestor = ("P", 0, draw(st.sampled_from([1, 2])))
    return conjunction


@st.composite
def queries(draw: st.DrawFn) -> IndexQuery:
    """A query with any filters, orders and projected properties."""
    alternatives = draw(st.lists(conjunctions(), min_size=1, max_size=2))
    columns = tuple(draw(st.lists(names, unique=True, max_size=2)))
    distinct = columns[:1] if draw(st.booleans()) else ()
    explicit: list[Order] = draw(
        st.lists(st.tuples(names | st.just(KEY_PROPERTY), st.booleans()), max_size=2)
    )
    orders = complete_orders(explicit, alternatives, columns)
    return IndexQuery(alternatives, orders, columns, distinct)


def shown(hits: Iterable[Hit]) -> list[Any]:
    """Return what a caller reads of the results."""
    return [(hit.row.path, hit.position, dict(hit.columns)) for hit in hits]


@given(entity_sets, queries(), st.data())
@settings(max_examples=150, deadline=None, derandomize=True)
def test_indexes_have_what_sorting_finds(
    entities: Any, query: IndexQuery, data: st.DataObject
) -> None:
    """A long index gives the results of a sort, in order and after any position."""
    long, short = index_of(entities, limit=0), index_of(entities, limit=1000)
    expected = shown(find(short, query))
    assert shown(find(long, query)) == expected
    matching = {
        row.path
        for row in short.rows.values()
        if any(one.matches(row) for one in query.alternatives)
    }
    assert {path for path, _, _ in expected} <= matching
    if expected:
        place = data.draw(st.integers(0, len(expected) - 1))
        start = expected[place][1]
        for index in (long, short):
            assert shown(find(index, query, start)) == expected[place + 1 :]
            rest = find(index, query, start, inclusive=True)
            assert shown(rest) == expected[place:]


class Counted(Conjunction):
    """Filters that count how many entities are compared with them."""

    compared = 0

    def matches(self, row: Row) -> bool:
        """Count an entity and compare it."""
        self.compared += 1
        return super().matches(row)


@pytest.mark.parametrize(
    ("filters", "order", "columns", "first"),
    [
        ([("a", "=", 7)], None, (), 7),
        ([], None, (), 0),
        ([], (KEY_PROPERTY, True), (), 1999),
        ([("b", ">", 1000)], ("b", True), (), 1999),
        ([("a", "=", 7), ("b", "<", 900)], ("b", False), (), 7),
        ([], ("b", False), ("b",), 0),
    ],
)
def test_a_query_compares_only_what_it_finds(
    filters: Any, order: Order | None, columns: tuple[str, ...], first: int
) -> None:
    """Of 2,000 entities, a query for ten compares at most the 20 with one value."""
    index = index_of({("A", n + 1): {"a": [n % 100], "b": [n]} for n in range(2000)}, 1)
    conjunction = Counted()
    for name, operator, value in filters:
        conjunction.add(name, operator, (1, value))
    orders = complete_orders([order] if order else [], [conjunction], columns)
    hits = find(index, IndexQuery([conjunction], orders, columns))
    found = list(islice(hits, 10 if not filters or order == ("b", True) else None))
    assert found[0].row.path == ("A", 0, first + 1)
    assert conjunction.compared <= 20


def test_an_index_in_use_follows_changes() -> None:
    """The indexes of keys and values stay sorted when entities change."""
    index = index_of({("A", n): {"a": [n % 2, 7]} for n in (3, 1, 2)}, limit=0)
    paths = {n: ("A", 0, n) for n in (1, 2, 3)}
    assert list(index.entries("a")) == [
        ((1, 0), paths[2]),
        *(((1, 1), paths[n]) for n in (1, 3)),
        *(((1, 7), paths[n]) for n in (1, 2, 3)),
    ]
    assert list(index.entries(KEY_PROPERTY)) == [(paths[n],) for n in (1, 2, 3)]
    index.replace(paths[1], row_of(("A", 1), {"a": [0]}))
    index.replace(paths[3], None)
    assert list(index.entries("a")) == [
        *(((1, 0), paths[n]) for n in (1, 2)),
        ((1, 7), paths[2]),
    ]
    assert list(index.entries(KEY_PROPERTY)) == [(paths[n],) for n in (1, 2)]
    assert not index.equal("a", (1, 1))
