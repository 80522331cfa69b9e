"""The datastore with indexes, compared with the SDK's stub, which has none."""

from collections.abc import Callable, Iterator
from typing import Any

import pytest
from google.appengine.api.datastore_file_stub import DatastoreFileStub
from google.appengine.api.datastore_types import Key
from google.appengine.datastore import datastore_pb, datastore_stub_util
from google.appengine.runtime import apiproxy_errors
from hypothesis import given, settings
from hypothesis import strategies as st

from gae_devserver.datastore.stub import Datastore
from tests.helpers.calls import APP_ID, Message, reference
from tests.helpers.entities import entity_of, value_of, values

KIND = "Thing"
NAMES = ("a", "b", "c")
ORDER = datastore_pb.Query.Order
LESS, LESS_OR_EQUAL, GREATER, GREATER_OR_EQUAL, EQUAL = range(1, 6)


@pytest.fixture(autouse=True)
def _app_id(monkeypatch: pytest.MonkeyPatch) -> None:
    """The app id that the stub compares with."""
    monkeypatch.setenv("GAE_APPLICATION", APP_ID)


def call(store: Any, method: str, request: Message, response: Message) -> Message:
    """Make a call of version 3."""
    store.MakeSyncCall("datastore_v3", method, request, response)
    return response


def put(store: Any, *entities: Message) -> None:
    """Put entities as the app does."""
    request = datastore_pb.PutRequest(entity=entities)
    call(store, "Put", request, datastore_pb.PutResponse())


def delete(store: Any, *key: object) -> None:
    """Delete an entity as the app does."""
    request = datastore_pb.DeleteRequest(key=[reference(*key)])
    call(store, "Delete", request, datastore_pb.DeleteResponse())


def thing(number: int, **properties: Any) -> Message:
    """Return an entity with an id and the values of its properties."""
    return entity_of(reference(KIND, number), **properties)


def pages(store: Any, query: Message) -> Iterator[Message]:
    """Yield the batches that the app would see of a query."""
    batch = call(store, "RunQuery", query, datastore_pb.QueryResult())
    yield batch
    while batch.more_results:
        request = datastore_pb.NextRequest(cursor=batch.cursor, compile=True, count=3)
        batch = call(store, "Next", request, datastore_pb.QueryResult())
        yield batch


def answer(store: Any, query: Message) -> list[Any]:
    """Return all that the app learns from a query: results, skipped ones, cursors."""
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
        # The stub refuses its own cursor if an ordered property has several values.
        return [str(error)]


keys = st.one_of(
    st.tuples(st.just(KIND), st.integers(1, 9)),
    st.tuples(st.just("P"), st.integers(1, 2), st.just(KIND), st.integers(1, 4)),
    st.tuples(st.just(KIND), st.sampled_from(["1", "n"])),
)
property_lists = st.dictionaries(
    st.sampled_from(NAMES), st.lists(values, min_size=1, max_size=3), min_size=1
)


@st.composite
def queries(draw: st.DrawFn) -> Message:
    """A query that version 3 accepts: inequalities on one property, ordered first."""
    query = datastore_pb.Query(app=APP_ID, kind=KIND, compile=True, count=3)

    def add(name: str, operator: int) -> None:
        wanted = query.filter.add(op=operator).property.add(name=name, multiple=False)
        own = keys.map(lambda path: Key.from_path(*path, _app=APP_ID))
        value = draw(own if name == "__key__" else values)
        wanted.value.CopyFrom(value_of(value))

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
        direction = draw(st.sampled_from([ORDER.ASCENDING, ORDER.DESCENDING]))
        query.order.add(property=name, direction=direction)
    if draw(st.booleans()):
        query.limit = draw(st.integers(0, 5))
    query.offset = draw(st.sampled_from([0, 0, 1, 3]))
    return query


@given(
    sort_limit=st.sampled_from([0, 500]),
    entities=st.dictionaries(keys, property_lists, min_size=3, max_size=12),
    changes=st.lists(st.tuples(keys, st.none() | property_lists), max_size=4),
    query=queries(),
)
@settings(max_examples=100, deadline=None, derandomize=True)
def test_the_answers_are_those_of_the_stub(
    sort_limit: int, entities: dict[Any, Any], changes: list[Any], query: Message
) -> None:
    """With indexes a query finds the same, before and after changes, page by page."""
    store = Datastore(APP_ID, sort_limit=sort_limit)
    plain = DatastoreFileStub(APP_ID, datastore_file=None, use_atexit=False)
    for both in (store, plain):
        put(both, *(entity_of(reference(*key), **of) for key, of in entities.items()))
    assert answer(store, query) == answer(plain, query)
    for key, properties in changes:
        for both in (store, plain):
            if properties is None:
                delete(both, *key)
            else:
                put(both, entity_of(reference(*key), **properties))
    expected = answer(plain, query)
    assert answer(store, query) == expected
    for page in expected:
        if isinstance(page, tuple):
            query.compiled_cursor.ParseFromString(page[-1])
            assert answer(store, query) == answer(plain, query)


@pytest.mark.parametrize("kind", [None, KIND, "__kind__", "__property__"])
@pytest.mark.parametrize("ancestor", [None, ("P", 1), (KIND, 1)])
def test_queries_without_an_index_are_those_of_the_stub(
    kind: str | None, ancestor: tuple[Any, ...] | None
) -> None:
    """Of all kinds, of a group, of the kinds themselves: before and after changes."""
    query = datastore_pb.Query(app=APP_ID, compile=True)
    if kind is not None:
        query.kind = kind
    if ancestor is not None:
        top = ("__kind__", "P") if kind == "__property__" else ancestor
        query.ancestor.CopyFrom(reference(*top))
    store = Datastore(APP_ID)
    plain = DatastoreFileStub(APP_ID, datastore_file=None, use_atexit=False)
    child, other = ("P", 1, KIND, 1), ("P", 1, "Other", 1)
    put_child, put_other = reference(*child), reference(*other)
    steps: list[tuple[Callable[..., None], tuple[Any, ...]]] = [
        (put, tuple(thing(number, a=[number]) for number in (1, 2, 10))),
        (put, (entity_of(reference("P", 1), b=["x"]),)),
        (put, (entity_of(put_child, a=[1], c=[1]), entity_of(put_other, a=[1]))),
        (put, (entity_of(put_child, a=["text"]),)),
        (delete, other),
        (delete, child),
    ]
    for change, arguments in steps:
        for both in (store, plain):
            change(both, *arguments)
        # Copies: the stub takes the ancestor out of some queries.
        own, same = datastore_pb.Query(), datastore_pb.Query()
        own.CopyFrom(query)
        same.CopyFrom(query)
        assert answer(store, own) == answer(plain, same)


@pytest.mark.parametrize("kind", [None, KIND])
def test_a_transaction_sees_its_entity_group_as_it_began(kind: str | None) -> None:
    """What others change after its first read, a transaction does not see."""
    store = Datastore(APP_ID)
    root, paths = ("P", 1), [("P", 1, KIND, number) for number in (1, 2, 3, 4)]
    put(store, *(entity_of(reference(*path), a=[1]) for path in paths[:3]))
    begin = datastore_pb.BeginTransactionRequest(app=APP_ID)
    transaction = call(store, "BeginTransaction", begin, datastore_pb.Transaction())
    query = datastore_pb.Query(app=APP_ID, transaction=transaction)
    query.ancestor.CopyFrom(reference(*root))
    if kind is not None:
        query.kind = kind
    before = answer(store, query)
    changed = [entity_of(reference(*path), a=[2]) for path in (paths[0], paths[3])]
    store.write(changed, [reference(*paths[1])])
    get = datastore_pb.GetRequest(transaction=transaction)
    get.key.extend(reference(*path) for path in paths)
    found = call(store, "Get", get, datastore_pb.GetResponse()).entity
    numbers = [one.entity.property[0].value.int64Value for one in found[:3]]
    assert (numbers, found[3].HasField("entity")) == ([1, 1, 1], False)
    assert answer(store, query) == before
    query.ClearField("transaction")
    assert answer(store, query) != before


def test_the_stub_reads_only_what_an_index_finds(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Of 2,000 entities the SDK's stub gets only the 20 that a query wants."""
    store = Datastore(APP_ID)
    store.write((thing(n + 1, b=[n]) for n in range(2000)), [])
    read: list[int] = []
    execute = datastore_stub_util._ExecuteQuery

    def counting(results: Any, *arguments: Any) -> Any:
        read.append(len(results))
        return execute(results, *arguments)

    monkeypatch.setattr(datastore_stub_util, "_ExecuteQuery", counting)
    query = datastore_pb.Query(app=APP_ID, kind=KIND, limit=20)
    query.order.add(property="b", direction=ORDER.DESCENDING)
    assert sum(len(page.result) for page in pages(store, query)) == 20
    assert read == [20]


def test_a_snapshot_keeps_what_later_changes_replace() -> None:
    """What is put, changed or deleted after a snapshot does not show in it."""
    store = Datastore(APP_ID)
    put(store, thing(1, a=[1]), thing(2, a=[1]), entity_of(reference("Old", 1)))
    snapshot = store.snapshot()
    put(store, thing(1, a=[2]), thing(3, a=[1]), entity_of(reference("New", 1)))
    rows = [snapshot.row("", (KIND, 0, number)) for number in (1, 2, 3)]
    assert [row and row.values("a") for row in rows] == [[(1, 1)], [(1, 1)], None]
    index = snapshot.kind(("", KIND))
    delete(store, KIND, 2)
    delete(store, "Old", 1)
    assert snapshot.kind(("", KIND)) is index, "all its queries share one index"
    assert sorted(index.rows) == [(KIND, 0, 1), (KIND, 0, 2)]
    assert [path for _, path in index.entries("a")] == sorted(index.rows)
    assert list(snapshot.kinds()) == [("", KIND), ("", "Old")]
    assert list(store.kinds()) == [("", KIND), ("", "New")]
    assert snapshot.row("", ("New", 0, 1)) is None


def test_each_snapshot_keeps_its_own_time() -> None:
    """An older snapshot has what it had, whatever a newer one has kept since."""
    store = Datastore(APP_ID)
    snapshots = {}
    for number in (1, 2, 3, 4):
        put(store, thing(1, a=[number]), thing(10 + number))
        snapshots[number] = store.snapshot()
    del snapshots[3]
    delete(store, KIND, 1)
    for number, snapshot in snapshots.items():
        row = snapshot.row("", (KIND, 0, 1))
        assert row
        assert row.values("a") == [(1, number)]
        ids = [path[-1] for path in sorted(snapshot.kind(("", KIND)).rows)]
        assert ids == [1, *range(11, 11 + number)]
