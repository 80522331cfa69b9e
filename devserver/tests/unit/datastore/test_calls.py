"""The datastore as the app calls it: transactions that wait, and fixed bugs."""

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from google.appengine.datastore import datastore_pb

from gae_devserver.datastore.calls import DatastoreCalls
from gae_devserver.services import rpc_table
from tests.helpers.calls import (
    APP_ID,
    BAD_REQUEST,
    CONCURRENT_TRANSACTION,
    READ_ONLY,
    AppRequest,
    Message,
    Server,
    add_request,
    application,
    code_of,
    reference,
)
from tests.helpers.waiting import settled

pytestmark = pytest.mark.asyncio

KEY = reference("Counter", "x")
OTHER = reference("Counter", "y")

Work = Coroutine[Any, Any, object]


@pytest_asyncio.fixture
async def datastore(server: Server) -> AsyncIterator[DatastoreCalls]:
    """The datastore, in which each test ends all transactions and leaves no lock."""
    yield server.services.datastore
    assert server.services.datastore.is_idle()


@pytest.fixture
def one(server: Server, datastore: DatastoreCalls) -> AppRequest:
    """A request that the app is handling."""
    return server.request()


@pytest.fixture
def two(server: Server) -> AppRequest:
    """Another request at the same time."""
    return server.request()


async def waiting(work: Work) -> "asyncio.Task[Any]":
    """Begin something that waits."""
    task = asyncio.create_task(work)
    await settled()
    assert not task.done()
    return task


def query(kind: str = "Counter", **fields: Any) -> Message:
    """Return a query for all entities of a kind."""
    return datastore_pb.Query(app=APP_ID, kind=kind, **fields)


async def results_of(api: AppRequest, message: Message) -> list[Message]:
    """Return what a query finds in its first batch."""
    return list((await api.call("datastore_v3", "RunQuery", message)).result)


# --- locks of entity groups ----------------------------------------------------------


@pytest.mark.parametrize("method", ["put", "delete"])
async def test_a_write_outside_a_transaction_waits(
    one: AppRequest, two: AppRequest, method: str
) -> None:
    """A write waits for the end of a transaction, which would otherwise fail."""
    transaction = await one.begin()
    await one.get(KEY, transaction)
    writing = await waiting(two.put(KEY, 100) if method == "put" else two.delete(KEY))
    await one.put(KEY, 6, transaction)
    await one.commit(transaction)
    await writing
    assert await one.get(KEY) == (100 if method == "put" else None)


async def test_reads_outside_of_read_write_transactions_do_not_wait(
    one: AppRequest, two: AppRequest
) -> None:
    """Reads see the last commit; in a read-only transaction, as of its begin."""
    await one.put(KEY, 5)
    transaction = await one.begin()
    await one.put(KEY, 6, transaction)
    async with asyncio.timeout(10):
        assert await two.get(KEY) == 5
        assert len(await results_of(two, query())) == 1
        snapshot = await two.begin(mode=READ_ONLY)
        assert await two.get(KEY, snapshot) == 5
        await one.commit(transaction)
        assert await two.get(KEY, snapshot) == 5
        assert await two.get(KEY) == 6
    await two.commit(snapshot)


@pytest.mark.parametrize("service", ["datastore_v3", "datastore_v4"])
async def test_transactions_without_a_lock_end_with_their_request(
    server: Server,
    datastore: DatastoreCalls,
    one: AppRequest,
    two: AppRequest,
    service: str,
) -> None:
    """A request's end also ends its read-only and its datastore_v4 transactions."""
    request_class, _ = rpc_table.message_classes(service, "BeginTransaction")
    fields = {"app": APP_ID, "mode": READ_ONLY} if service == "datastore_v3" else {}
    await one.call(service, "BeginTransaction", request_class(**fields))
    other = await two.begin()
    server.end(one)
    assert datastore.stub.open_transactions() == [other.handle]
    await two.commit(other)


@pytest.mark.parametrize(
    "work",
    [
        lambda api, transaction: api.get(
            reference("Counter", "x", "Child", 2), transaction
        ),
        lambda api, transaction: results_of(
            api, query(transaction=transaction, ancestor=KEY)
        ),
    ],
    ids=["child", "ancestor query"],
)
async def test_a_transaction_locks_the_whole_entity_group(
    one: AppRequest, two: AppRequest, work: Callable[[AppRequest, Message], Work]
) -> None:
    """An entity group is a root entity with all entities below it."""
    first, second = await one.begin(), await two.begin()
    await one.put(reference("Counter", "x", "Child", 1), 1, first)
    reading = await waiting(work(two, second))
    await one.commit(first)
    await reading
    await two.commit(second)


@pytest.mark.parametrize(
    "other",
    [OTHER, reference("Counter", "x", namespace="n"), reference("Counter", 1)],
)
async def test_other_entity_groups_do_not_wait(
    one: AppRequest, two: AppRequest, other: Message
) -> None:
    """Another name, namespace or id is another entity group."""
    transaction = await one.begin()
    await one.put(KEY, 1, transaction)
    async with asyncio.timeout(10):
        await two.increment(other)
    await one.commit(transaction)


async def test_nothing_waits_for_a_new_root_entity(
    one: AppRequest, two: AppRequest
) -> None:
    """An entity without an id is a group that no other call can name."""
    new = reference("Counter", None)
    first, second = await one.begin(), await two.begin()
    async with asyncio.timeout(10):
        mine, yours = await one.put(new, 1, first), await two.put(new, 2, second)
        await one.put(new, 3)
        await one.commit(first)
        await two.commit(second)
    assert mine.path.element[0].id != yours.path.element[0].id
    assert len(await results_of(one, query())) == 3


async def test_of_a_deadlock_one_fails_at_once(
    one: AppRequest, two: AppRequest
) -> None:
    """One of the two is rolled back, and the other transaction continues."""
    first = await one.begin(allow_multiple_eg=True)
    second = await two.begin(allow_multiple_eg=True)
    await one.put(KEY, 1, first)
    await two.put(OTHER, 2, second)
    putting = await waiting(one.put(OTHER, 1, first))
    assert await code_of(two.put(KEY, 2, second)) == CONCURRENT_TRANSACTION
    await putting
    await one.commit(first)
    assert (await one.get(KEY), await one.get(OTHER)) == (1, 1)
    assert await code_of(two.commit(second)) == BAD_REQUEST


async def test_one_call_locks_its_groups_in_one_order(
    server: Server, datastore: DatastoreCalls
) -> None:
    """Calls that get the same two entities, in any order, never form a deadlock."""

    async def touch(*keys: Message) -> None:
        api = server.request()
        transaction = await api.begin(allow_multiple_eg=True)
        message = datastore_pb.GetRequest(key=keys, transaction=transaction)
        await api.call("datastore_v3", "Get", message)
        await settled(2)
        await api.commit(transaction)

    async with asyncio.timeout(10):
        orders = [(KEY, OTHER), (OTHER, KEY)] * 5
        await asyncio.gather(*(touch(*order) for order in orders))


async def test_a_wait_ends_at_the_deadline(make_server: Callable[..., Server]) -> None:
    """The waiter is rolled back with the error that the SDK retries."""
    server = make_server(lock_deadline=0.02)
    one, two = server.request(), server.request()
    first, second = await one.begin(), await two.begin()
    await one.put(KEY, 1, first)
    assert await code_of(two.get(KEY, second)) == CONCURRENT_TRANSACTION
    assert await code_of(two.put(KEY, 2)) == CONCURRENT_TRANSACTION
    await one.commit(first)
    assert await one.get(KEY) == 1
    assert server.services.datastore.is_idle()


# --- transactions of one request -----------------------------------------------------


async def test_a_request_does_not_wait_for_its_own_transaction(
    one: AppRequest, two: AppRequest
) -> None:
    """A write beside the request's own transaction passes; then the commit fails.

    dev_appserver.py does the same. The request would otherwise wait for itself. The
    failed commit releases the lock.
    """
    transaction = await one.begin()
    await one.get(KEY, transaction)
    async with asyncio.timeout(10):
        await one.put(KEY, 7)
    await one.put(KEY, 1, transaction)
    incrementing = await waiting(two.increment(KEY))
    assert await code_of(one.commit(transaction)) == CONCURRENT_TRANSACTION
    await asyncio.wait_for(incrementing, 10)
    assert await one.get(KEY) == 8


async def test_a_read_that_comes_too_late_ends_the_transaction(
    one: AppRequest,
) -> None:
    """If earlier reads have become invalid, the transaction ends without a rollback.

    The SDK's ndb raises TransactionFailedError and sends nothing more.
    """
    transaction = await one.begin(allow_multiple_eg=True)
    await one.get(KEY, transaction)
    await one.put(KEY, 7)
    assert await code_of(one.get(OTHER, transaction)) == CONCURRENT_TRANSACTION


async def test_two_transactions_of_one_request_do_not_wait(one: AppRequest) -> None:
    """An independent transaction inside another one does not wait for it."""
    outer, inner = await one.begin(), await one.begin()
    await one.get(KEY, outer)
    async with asyncio.timeout(10):
        await one.put(KEY, 3, inner)
        await one.commit(inner)
    await one.rollback(outer)
    assert await one.get(KEY) == 3


# --- ends of transactions ------------------------------------------------------------


async def test_the_end_of_a_request_rolls_its_transactions_back(
    server: Server, one: AppRequest, two: AppRequest
) -> None:
    """A request's end releases its locks and drops its tasks, not those of others."""
    first, other = await one.begin(), await two.begin()
    await one.put(KEY, 1, first)
    await one.bulk_add([add_request(transaction=first)])
    await two.put(OTHER, 2, other)
    incrementing = await waiting(two.increment(KEY, 10))
    server.end(one)
    await incrementing
    await two.commit(other)
    assert (await two.get(KEY), await two.get(OTHER)) == (10, 2)
    assert await code_of(two.commit(first)) == BAD_REQUEST
    assert await two.tasks() == []


async def test_the_end_of_a_request_ends_its_waiting(
    server: Server, one: AppRequest, two: AppRequest
) -> None:
    """A call of a request that has ended does not write, and takes no lock."""
    first, second = await one.begin(), await two.begin()
    await one.put(KEY, 1, first)
    putting = await waiting(two.put(KEY, 2, second))
    server.end(two)
    assert await code_of(asyncio.wait_for(putting, 10)) == CONCURRENT_TRANSACTION
    await one.commit(first)
    assert await one.get(KEY) == 1


@pytest.mark.parametrize("how", ["rollback", "retry"])
async def test_a_rollback_releases_the_lock(
    one: AppRequest, two: AppRequest, how: str
) -> None:
    """The next retry rolls back too: it names its `previous_transaction`."""
    read_write = datastore_pb.BeginTransactionRequest.READ_WRITE
    transaction = await one.begin(mode=read_write)
    await one.put(KEY, 1, transaction)
    incrementing = await waiting(two.increment(KEY, 10))
    if how == "rollback":
        await one.rollback(transaction)
    else:
        again = await one.begin(mode=read_write, previous_transaction=transaction)
    await asyncio.wait_for(incrementing, 10)
    assert await two.get(KEY) == 10
    if how == "retry":
        await one.put(KEY, 11, again)
        await one.commit(again)
        assert await two.get(KEY) == 11


@pytest.mark.parametrize("method", ["commit", "rollback"])
async def test_a_transaction_ends_once(one: AppRequest, method: str) -> None:
    """All calls with a transaction that has ended are refused."""
    transaction = await one.begin()
    await one.rollback(transaction)
    assert await code_of(getattr(one, method)(transaction)) == BAD_REQUEST
    assert await code_of(one.get(KEY, transaction)) == BAD_REQUEST
    assert await code_of(one.put(KEY, 1, transaction)) == BAD_REQUEST


async def test_clear_forgets_entities_and_ends_transactions(
    datastore: DatastoreCalls, one: AppRequest, two: AppRequest
) -> None:
    """A call that waits for a lock fails; entities are gone."""
    await one.put(OTHER, 5)
    first, second = await one.begin(), await two.begin()
    await one.put(KEY, 1, first)
    reading = await waiting(two.get(KEY, second))
    datastore.clear()
    assert await code_of(asyncio.wait_for(reading, 10)) == BAD_REQUEST
    assert await code_of(one.commit(first)) == BAD_REQUEST
    assert await one.get(OTHER) is None


# --- bugs of the stub ----------------------------------------------------------------


async def test_a_late_rollback_ends_no_other_transaction(
    one: AppRequest, two: AppRequest
) -> None:
    """Handles are never reused. The stub's are addresses, which Python reuses."""
    handles = set()
    for number in range(100):
        late = await one.begin()
        await one.rollback(late)
        transaction = await two.begin()
        handles |= {late.handle, transaction.handle}
        await two.put(KEY, number, transaction)
        assert await code_of(one.rollback(late)) == BAD_REQUEST
        await two.commit(transaction)
        assert await two.get(KEY) == number
    assert len(handles) == 200


class CountingDict(dict[Any, Any]):
    """A dictionary that counts the loops over all of it."""

    scans = 0

    def __iter__(self) -> Iterator[Any]:
        self.scans += 1
        yield from super().__iter__()

    def values(self) -> Any:
        """Yield the values, and count that."""
        self.scans += 1
        yield from super().values()


async def test_a_commit_costs_the_same_however_much_is_stored(
    datastore: DatastoreCalls, one: AppRequest
) -> None:
    """No commit and no query loops over all entity groups.

    The stub's default policy does so in each commit, its other policy in each query.
    """
    groups = datastore.stub._meta_data = CountingDict()
    for number in range(1, 20):
        await one.put(reference("Counter", number), number)
        await one.increment(KEY)
    assert len(await results_of(one, query())) == 20
    assert len(groups) == 20
    assert groups.scans == 0


async def test_an_entity_group_has_a_version(one: AppRequest) -> None:
    """Each commit raises the version that google.appengine.ext.db.metadata reads."""
    group = datastore_pb.GetRequest(
        key=[reference("Counter", "x", "__entity_group__", 1)]
    )
    versions = []
    for count in (1, 2):
        await one.put(KEY, count)
        (found,) = (await one.call("datastore_v3", "Get", group)).entity
        (version,) = found.entity.property
        versions.append(version.value.int64Value)
    assert 0 < versions[0] < versions[1]


async def test_no_history_of_queries_is_kept(
    datastore: DatastoreCalls, one: AppRequest
) -> None:
    """The stub keeps a copy of each different query forever."""
    for number in range(50):
        await results_of(one, query(f"Kind{number}"))
    assert not datastore.stub.QueryHistory()


async def test_index_yaml_is_not_written(
    make_server: Callable[..., Server],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A query that needs a composite index works and leaves the app's file alone."""
    index_yaml = tmp_path / "index.yaml"
    text = b"indexes:\n# AUTOGENERATED\n\n# my own comment\n"
    index_yaml.write_bytes(text)
    monkeypatch.chdir(tmp_path)
    server = make_server(app=application(folder=tmp_path))
    api = server.request()
    await api.put(KEY, 5)
    message = query(ancestor=KEY)
    message.order.add(property="count", direction=datastore_pb.Query.Order.DESCENDING)
    assert len(await results_of(api, message)) == 1
    server.services.close()
    assert index_yaml.read_bytes() == text
    assert [path.name for path in tmp_path.iterdir()] == ["index.yaml"]
