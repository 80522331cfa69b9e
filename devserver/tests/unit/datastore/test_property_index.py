"""The indexes of the datastore, held against the SDK's stub, which looks at all."""

import itertools
import math
from collections.abc import Iterator
from typing import Any

import pytest
from google.appengine.datastore import (
    datastore_pb,
    datastore_stub_util,
    entity_bytes_pb2,
)
from google.appengine.runtime import apiproxy_errors
from hypothesis import given, settings
from hypothesis import strategies as st

from gae_devserver.datastore import index_scan
from gae_devserver.datastore.encoding import (
    NULL,
    add_path,
    double_of,
    path_of,
    property_value,
    sortable_double,
    value_key,
)
from gae_devserver.datastore.index_query import KEY_ORDER, Conjunction, IndexQuery
from gae_devserver.datastore.indexed_store import IndexedStore
from gae_devserver.datastore.property_index import KindIndex, Row
from gae_devserver.datastore.stub import Datastore
from tests.helpers.calls import APP_ID, Message, reference

KIND = "Thing"
NAMES = ("a", "b", "c")
ORDER = datastore_pb.Query.Order
LESS, LESS_OR_EQUAL, GREATER, GREATER_OR_EQUAL, EQUAL = range(1, 6)


@pytest.fixture(autouse=True)
def _app_id(monkeypatch: pytest.MonkeyPatch) -> None:
    """The app id that the stub compares with."""
    monkeypatch.setenv("GAE_APPLICATION", APP_ID)


def set_value(value: object, into: Message) -> None:
    """Fill a PropertyValue."""
    match value:
        case None:
            pass
        case bool():
            into.booleanValue = value
        case int():
            into.int64Value = value
        case float():
            into.doubleValue = value
        case bytes():
            into.stringValue = value
        case ("point", float(x), float(y)):
            into.pointvalue.x, into.pointvalue.y = x, y
        case ("user", str(email)):
            into.uservalue.email, into.uservalue.auth_domain = email, "example.com"
            into.uservalue.gaiaid = 0
        case ("key", *path):
            key = reference(*path)
            into.referencevalue.app = key.app
            add_path(path_of(key.path.element), into.referencevalue.pathelement)


def entity_of(key: Message, properties: dict[str, list[object]]) -> Message:
    """Return an entity; a property with several values is a list."""
    entity = entity_bytes_pb2.EntityProto()
    entity.key.CopyFrom(key)
    entity.entity_group.element.add().CopyFrom(key.path.element[0])
    for name, values in properties.items():
        for value in values:
            item = entity.property.add(name=name, multiple=len(values) > 1)
            item.value.SetInParent()
            if isinstance(value, bytes):
                item.meaning = entity_bytes_pb2.Property.BYTESTRING
            set_value(value, item.value)
    return entity


def stored(*entities: Message) -> Datastore:
    """Return a datastore that holds these entities."""
    store = Datastore(APP_ID)
    put(store, *entities)
    return store


def put(store: Datastore, *entities: Message) -> None:
    """Put entities as the app does."""
    request = datastore_pb.PutRequest(entity=entities)
    call(store, "Put", request, datastore_pb.PutResponse())


def call(store: Datastore, method: str, request: Message, response: Message) -> Message:
    """Make a call of version 3."""
    store.MakeSyncCall("datastore_v3", method, request, response)
    return response


def pages(store: Datastore, query: Message) -> Iterator[Message]:
    """Yield the batches that the app would see of a query."""
    batch = call(store, "RunQuery", query, datastore_pb.QueryResult())
    yield batch
    while batch.more_results:
        request = datastore_pb.NextRequest(cursor=batch.cursor, compile=True, count=3)
        batch = call(store, "Next", request, datastore_pb.QueryResult())
        yield batch


def answer(store: Datastore, query: Message) -> list[Any]:
    """Return all that the app learns from a query: results, cursors, skipped ones."""
    try:
        return [
            (
                [result.SerializeToString() for result in page.result],
                page.skipped_results,
                page.compiled_cursor.SerializeToString(),
            )
            for page in pages(store, query)
        ]
    except apiproxy_errors.ApplicationError as error:
        # the stub does not take back its own cursor if an order has several values
        return [([], 0, str(error).encode())]


def without_index(store: Datastore, query: Message) -> list[Any]:
    """Return what the SDK's stub answers when it looks at every entity."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(IndexedStore, "_select", lambda *_: None)
        return answer(store, query)


numbers = st.sampled_from([-0.0, 0.0, 1.5, -2.0, math.inf, -math.inf, math.nan])
values = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-2, 3),
    st.sampled_from([b"", b"a", b"ab", b"\xff"]),
    numbers,
    st.tuples(st.just("point"), st.sampled_from([1.0, 2.0]), st.just(3.0)),
    st.tuples(st.just("user"), st.sampled_from(["a@b", "c@d"])),
    # not ids beside names: sorted lists of both are beyond the SDK on Python 3
    st.tuples(st.just("key"), st.just("K"), st.sampled_from([1, 2])),
)
keys = st.one_of(
    st.tuples(st.just(KIND), st.integers(1, 9)),
    st.tuples(st.just("P"), st.integers(1, 2), st.just(KIND), st.integers(1, 4)),
    st.tuples(st.just(KIND), st.sampled_from(["1", "n"])),
)
property_lists = st.dictionaries(
    st.sampled_from(NAMES), st.lists(values, min_size=1, max_size=3)
)


@st.composite
def queries(draw: st.DrawFn) -> Message:
    """A query that version 3 takes: inequalities on one property, ordered first."""
    query = datastore_pb.Query(app=APP_ID, kind=KIND, compile=True, count=3)

    def add(name: str, operator: int) -> None:
        item = query.filter.add(op=operator)
        wanted = item.property.add(name=name, multiple=False)
        wanted.value.SetInParent()
        value = ("key", *draw(keys)) if name == "__key__" else draw(values)
        set_value(value, wanted.value)

    for name in draw(st.lists(st.sampled_from(NAMES), max_size=2)):
        add(name, EQUAL)
    orders = draw(st.lists(st.sampled_from((*NAMES, "__key__")), max_size=2))
    inequal = draw(st.sampled_from([None, *NAMES, "__key__"]))
    if inequal:
        operators = st.sampled_from([LESS, LESS_OR_EQUAL, GREATER, GREATER_OR_EQUAL])
        for operator in draw(st.lists(operators, min_size=1, max_size=2)):
            add(inequal, operator)
        orders = [inequal, *orders] if orders else []
    for name in orders:
        query.order.add(
            property=name, direction=draw(st.sampled_from([ORDER.ASCENDING, 2]))
        )
    if draw(st.booleans()):
        query.limit = draw(st.integers(0, 5))
    query.offset = draw(st.sampled_from([0, 0, 1, 3]))
    return query


@given(
    few=st.sampled_from([0, index_scan._FEW]),
    entities=st.dictionaries(keys, property_lists, max_size=12),
    changes=st.lists(st.tuples(keys, st.none() | property_lists), max_size=4),
    query=queries(),
)
@settings(max_examples=100, deadline=None, derandomize=True)
def test_the_answers_are_those_of_the_stub(
    few: int, entities: dict[Any, Any], changes: list[Any], query: Message
) -> None:
    """With indexes a query finds the same, before and after changes, page by page."""
    with pytest.MonkeyPatch.context() as patch:
        # with 0 also the indexes are used that a few candidates are not worth
        patch.setattr(index_scan, "_FEW", few)
        compare(entities, changes, query)


def compare(entities: dict[Any, Any], changes: list[Any], query: Message) -> None:
    """Ask the same with and without indexes."""
    store = stored(*(entity_of(reference(*key), of) for key, of in entities.items()))
    assert answer(store, query) == without_index(store, query)
    for key, properties in changes:
        if properties is None:
            request = datastore_pb.DeleteRequest(key=[reference(*key)])
            call(store, "Delete", request, datastore_pb.DeleteResponse())
        else:
            put(store, entity_of(reference(*key), properties))
    expected = without_index(store, query)
    assert answer(store, query) == expected
    for _, _, cursor in expected:
        if b"Error" in cursor:
            continue
        query.compiled_cursor.ParseFromString(cursor)
        assert answer(store, query) == without_index(store, query)


@given(values, values)
def test_a_sort_key_keeps_order_and_value(one: object, other: object) -> None:
    """Sort keys compare as the SDK's own, and give the value back."""
    from google.appengine.api import datastore_types

    messages = [entity_bytes_pb2.PropertyValue() for _ in range(2)]
    set_value(one, messages[0])
    set_value(other, messages[1])
    first, second = map(value_key, messages)
    theirs, others = map(datastore_types.PropertyValueToKeyValue, messages)
    assert (first == second) == (theirs == others)
    again = entity_bytes_pb2.PropertyValue()
    property_value(first, again)
    assert value_key(again) == first


@given(st.floats(), st.floats())
def test_doubles_sort_as_integers(one: float, other: float) -> None:
    """The integers sort as the doubles, NaN last, and turn into them again."""
    keys = sortable_double(one), sortable_double(other)
    if one < other:
        assert keys[0] < keys[1]
    elif math.isnan(one) and not math.isnan(other):
        assert keys[0] > keys[1]
    assert double_of(keys[0]) == one or math.isnan(one)


def test_ids_sort_before_names_and_parents_before_children() -> None:
    """Keys sort by kind, then ids, then names; a key comes before its children."""
    paths = [
        path_of(reference(*path).path.element)
        for path in (("A", 2), ("A", 10), ("A", 10, "A", 1), ("A", "1"), ("B", 1))
    ]
    assert paths == sorted(paths)


def test_an_index_that_is_in_use_follows_changes() -> None:
    """A property index stays sorted when entities change and go."""
    index = KindIndex()
    store = stored()
    for number in (3, 1, 2):
        put(store, entity_of(reference(KIND, number), {"a": [number % 2, None]}))
    index = store.kind(("", KIND))
    one, zero = (1, 1), (1, 0)
    paths = {number: (KIND, 0, number) for number in (1, 2, 3)}
    nulls = [(NULL, paths[number]) for number in (1, 2, 3)]
    assert index.entries("a") == [
        *nulls,
        (zero, paths[2]),
        (one, paths[1]),
        (one, paths[3]),
    ]
    put(store, entity_of(reference(KIND, 1), {"a": [0]}))
    request = datastore_pb.DeleteRequest(key=[reference(KIND, 3)])
    call(store, "Delete", request, datastore_pb.DeleteResponse())
    assert index.entries("a") == [nulls[1], (zero, paths[1]), (zero, paths[2])]
    assert index.paths() == [paths[1], paths[2]]


def test_a_snapshot_keeps_what_later_changes_replace() -> None:
    """What is put, changed or deleted after a snapshot does not show in it."""
    store = stored(
        entity_of(reference(KIND, 1), {"a": [1]}),
        entity_of(reference(KIND, 2), {"a": [1]}),
    )
    snapshot = store.snapshot()
    put(store, entity_of(reference(KIND, 1), {"a": [2]}))
    put(store, entity_of(reference(KIND, 3), {"a": [1]}))
    put(store, entity_of(reference("New", 1), {}))
    request = datastore_pb.DeleteRequest(key=[reference(KIND, 2)])
    call(store, "Delete", request, datastore_pb.DeleteResponse())
    assert list(snapshot.kind(("", KIND)).rows) == [(KIND, 0, 1), (KIND, 0, 2)]
    assert len(snapshot.kind(("", KIND)).entries("a")) == 2
    assert list(snapshot.kinds()) == [("", KIND)]
    rows = [snapshot.row("", (KIND, 0, number)) for number in (1, 2, 3)]
    assert [row and row.values("a") for row in rows] == [[(1, 1)], [(1, 1)], None]
    assert snapshot.row("", ("New", 0, 1)) is None


def test_a_snapshot_is_indexed_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Keys are found without an index, and all queries on a kind share one."""
    store = stored(
        *(entity_of(reference(KIND, number), {"a": [number]}) for number in (1, 2, 3))
    )
    snapshot = store.snapshot()
    made = []
    make = KindIndex.of

    def count(rows: Any) -> KindIndex:
        made.append(make(rows))
        return made[-1]

    monkeypatch.setattr(KindIndex, "of", count)
    put(store, entity_of(reference(KIND, 1), {"a": [7]}))
    assert [bool(snapshot.row("", (KIND, 0, number))) for number in (1, 9)] == [
        True,
        False,
    ]
    assert made == []
    first = snapshot.kind(("", KIND))
    put(store, entity_of(reference(KIND, 2), {"a": [8]}))
    assert snapshot.kind(("", KIND)) is first
    assert [value for value, _ in first.entries("a")] == [(1, 1), (1, 2), (1, 3)]
    assert made == [first]


def test_a_write_outside_of_the_stub_makes_its_transactions_fail() -> None:
    """A transaction of the stub that has read the group before a write is too late."""
    key = reference(KIND, 1)
    store = stored(entity_of(key, {"a": [1]}))
    begin = datastore_pb.BeginTransactionRequest(app=APP_ID)
    transaction = call(store, "BeginTransaction", begin, datastore_pb.Transaction())
    get = datastore_pb.GetRequest(key=[key], transaction=transaction)
    call(store, "Get", get, datastore_pb.GetResponse())
    before = store.group_changes(key)
    store.write([entity_of(key, {"a": [2]})], [])
    assert store.group_changes(key) == before + 1
    late = datastore_pb.PutRequest(transaction=transaction)
    late.entity.append(entity_of(key, {"a": [3]}))
    call(store, "Put", late, datastore_pb.PutResponse())
    with pytest.raises(Exception, match="Concurrency exception"):
        call(store, "Commit", transaction, datastore_pb.CommitResponse())


def test_an_equality_query_looks_only_at_what_it_finds(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Of 2,000 entities a query with limits or filters looks at a few."""
    store = stored()
    store.write(
        (
            entity_of(reference(KIND, number + 1), {"a": [number % 100], "b": [number]})
            for number in range(2000)
        ),
        [],
    )
    looked_at: list[int] = []
    original = datastore_pb.Query

    from google.appengine.datastore import datastore_stub_util

    execute = datastore_stub_util._ExecuteQuery

    def counting(results: Any, *arguments: Any) -> Any:
        results = list(results)
        looked_at.append(len(results))
        return execute(results, *arguments)

    monkeypatch.setattr(datastore_stub_util, "_ExecuteQuery", counting)
    equal = original(app=APP_ID, kind=KIND)
    item = equal.filter.add(op=EQUAL).property.add(name="a", multiple=False)
    item.value.int64Value = 7
    assert sum(len(page.result) for page in pages(store, equal)) == 20
    first = original(app=APP_ID, kind=KIND, limit=20)
    assert sum(len(page.result) for page in pages(store, first)) == 20
    ordered = original(app=APP_ID, kind=KIND, limit=20)
    ordered.order.add(property="b", direction=2)
    assert sum(len(page.result) for page in pages(store, ordered)) == 20
    assert looked_at == [20, 20, 20]


def test_a_projection_looks_only_at_what_it_gives(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The first ten values of a property come from the begin of its index."""
    store = stored()
    store.write(
        (entity_of(reference(KIND, n + 1), {"a": [n, -n]}) for n in range(2000)), []
    )
    looked_at = []
    matches = Conjunction.matches

    def count(self: Conjunction, row: Row) -> bool:
        looked_at.append(row.path)
        return matches(self, row)

    monkeypatch.setattr(Conjunction, "matches", count)
    query = IndexQuery([Conjunction()], (("a", False), KEY_ORDER), ("a",))
    hits = itertools.islice(index_scan.find(store.kind(("", KIND)), query), 10)
    assert [hit.columns["a"] for hit in hits] == [(1, n) for n in range(-1999, -1989)]
    assert len(looked_at) == 10


def test_rows_without_index_have_no_values() -> None:
    """What stands in raw_property is in no index."""
    entity = entity_of(reference(KIND, 1), {"a": [1]})
    raw = entity.raw_property.add(name="b", multiple=False)
    raw.value.int64Value = 1
    record = type("Record", (), {"entity": entity})
    row = Row((KIND, 0, 1), record)
    assert row.values("a") == [(1, 1)]
    assert row.values("b") == []


def test_only_what_an_index_finds_is_looked_at(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """An equality query over 10,000 entities gives the stub the ten that it is to find.

    The stub by itself would look at all of them.
    """
    store = stored()
    store.write(
        (
            entity_of(reference(KIND, number + 1), {"a": [number % 1000]})
            for number in range(10_000)
        ),
        [],
    )
    query = datastore_pb.Query(app=APP_ID, kind=KIND)
    item = query.filter.add(op=EQUAL).property.add(name="a", multiple=False)
    item.value.int64Value = 7
    looked_at = []
    execute = datastore_stub_util._ExecuteQuery

    def count(records: Any, *rest: Any) -> Any:
        kept = list(records)
        looked_at.append(len(kept))
        return execute(kept, *rest)

    monkeypatch.setattr(datastore_stub_util, "_ExecuteQuery", count)
    assert sum(len(page.result) for page in pages(store, query)) == 10
    assert looked_at == [10]
    assert list(itertools.islice(store.kinds(), 2)) == [("", KIND)]
