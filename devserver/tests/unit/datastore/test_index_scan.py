"""Queries on an index: the same results whichever way they are found, and cheaply."""

from collections.abc import Iterable, Mapping
from itertools import islice
from typing import Any

import pytest
from google.appengine.datastore.datastore_stub_util import EntityRecord
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
    return Row(path_of(entity.key.path.element), EntityRecord(entity))


def index_of(entities: Mapping[tuple[Any, ...], Properties], limit: int) -> KindIndex:
    """Return an index that sorts up to `limit` candidates."""
    return KindIndex.of((row_of(*entity) for entity in entities.items()), limit)


keys = st.one_of(
    st.tuples(st.just("A"), st.integers(1, 9) | st.sampled_from(["1", "n"])),
    st.tuples(st.just("P"), st.integers(1, 2), st.just("A"), st.integers(1, 4)),
)
names = st.sampled_from(["a", "b", "c"])
numbers = st.integers(0, 3)
some_numbers = st.lists(numbers, min_size=1, max_size=3)
entity_sets = st.dictionaries(
    keys,
    st.fixed_dictionaries({"a": some_numbers}, optional={"b": some_numbers}),
    min_size=3,
    max_size=12,
)


@st.composite
def conjunctions(draw: st.DrawFn) -> Conjunction:
    """Filters on properties and on the key."""
    conjunction = Conjunction()
    operators = st.sampled_from(["=", "<", "<=", ">", ">=", "!="])
    for operator in draw(st.lists(operators, max_size=2)):
        name = draw(names | st.just(KEY_PROPERTY))
        value: Path = (1, draw(numbers))
        if name == KEY_PROPERTY:
            value = path_of(reference(*draw(keys)).path.element)
        conjunction.add(name, operator, value)
    conjunction.ancestor = draw(st.sampled_from([None, None, ("P", 0, 1), ("P", 0, 2)]))
    return conjunction


@st.composite
def queries(draw: st.DrawFn) -> IndexQuery:
    """Half of the queries have an order that an index has."""
    if draw(st.booleans()):
        name = draw(st.sampled_from(["a", "a", "b", KEY_PROPERTY]))
        explicit = [(name, draw(st.booleans()))]
        projected = draw(st.booleans()) and name != KEY_PROPERTY
        columns: tuple[str, ...] = (name,) if projected else ()
        alternatives = [draw(conjunctions())]
    else:
        orders = st.tuples(names | st.just(KEY_PROPERTY), st.booleans())
        explicit = draw(st.lists(orders, max_size=2))
        columns = tuple(draw(st.lists(names, unique=True, max_size=2)))
        alternatives = draw(st.lists(conjunctions(), min_size=1, max_size=2))
    distinct = columns[:1] if draw(st.booleans()) else ()
    complete = complete_orders(explicit, alternatives, columns)
    return IndexQuery(alternatives, complete, columns, distinct)


def shown(hits: Iterable[Hit]) -> list[Any]:
    """Return what a caller reads of the results."""
    return [(hit.row.path, hit.position, dict(hit.columns)) for hit in hits]


@given(entity_sets, queries())
@settings(max_examples=300, deadline=None, derandomize=True)
def test_indexes_have_what_sorting_finds(entities: Any, query: IndexQuery) -> None:
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
    for place, (_, start, _) in enumerate(expected):
        for index in (long, short):
            assert shown(find(index, query, start)) == expected[place + 1 :]
            rest = find(index, query, start, inclusive=True)
            assert shown(rest) == expected[place:]


own_names = st.sampled_from([f"p{number}" for number in range(20)])
changes = st.tuples(keys, st.dictionaries(own_names, some_numbers, max_size=4))


@given(st.lists(st.one_of(changes, keys, own_names), min_size=20, max_size=60))
@settings(max_examples=40, deadline=None, derandomize=True)
def test_indexes_follow_changes(steps: list[Any]) -> None:
    """An index that a query has used, also of a new property, has all later changes."""
    index = KindIndex()
    for step in [*steps, *(f"p{number}" for number in range(20))]:
        if isinstance(step, str):
            expected = KindIndex.of(index.rows.values()).entries(step)
            assert list(index.entries(step)) == list(expected)
            for value, path in expected:
                assert path in index.equal(step, value)
        elif isinstance(step[1], dict):
            row = row_of(*step)
            index.replace(row.path, row)
        else:
            index.replace(path_of(reference(*step).path.element), None)


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


@pytest.mark.parametrize("columns", [(), ("a", "b")])
def test_the_rest_of_a_sorted_query_is_not_sorted_again(
    columns: tuple[str, ...],
) -> None:
    """Each batch continues with what the one before it has sorted, until a change."""
    entities = {("A", n + 1): {"a": [n % 5], "b": [n]} for n in range(100)}
    index = index_of(entities, 1)
    conjunction = Counted()
    order: list[Order] = [("a", True), ("b", False)]
    orders = complete_orders(order, [conjunction], columns)
    query = IndexQuery([conjunction], orders, columns)
    first = list(islice(find(index, query), 10))
    again = IndexQuery([conjunction], orders, columns)
    second = list(islice(find(index, again, first[-1].position), 10))
    assert conjunction.compared == 100
    # The first result of the next batch is deleted, and a new one is in its place.
    gone = next(find(index, query, second[-1].position)).row
    index.replace(gone.path, None)
    new = row_of(("A", 1000), {"a": [3], "b": [0]})
    index.replace(new.path, new)
    rest = [hit.row.path for hit in find(index, query, second[-1].position)]
    assert rest[0] == new.path
    assert gone.path not in rest
    assert len(rest) == 80
    # It was read to its end.
    compared = conjunction.compared
    assert next(find(index, query))
    assert conjunction.compared == compared + 100


def test_few_results_are_not_remembered() -> None:
    """An app can ask for the first result of many queries that differ in a value."""
    index = index_of({("A", n + 1): {"a": [n // 5], "b": [n]} for n in range(20)}, 5)
    conjunction = Counted()
    conjunction.add("a", "=", (1, 2))
    orders = complete_orders([("b", True)], [conjunction], ())
    for times in (1, 2):
        assert next(find(index, IndexQuery([conjunction], orders))).row.path[-1] == 15
        assert conjunction.compared == 5 * times
