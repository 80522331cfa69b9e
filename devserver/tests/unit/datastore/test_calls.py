"""The datastore as the app calls it: transactions that wait, and fixed faults."""

import asyncio
from collections.abc import Callable, Coroutine, Iterator
from pathlib import Path
from typing import Any

import pytest
from google.appengine.datastore import datastore_pb
from google.appengine.runtime import apiproxy_errors

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
    app_config,
    reference,
)
from tests.helpers.waiting import settled

pytestmark = pytest.mark.asyncio

KEY = reference("Counter", "x")
OTHER = reference("Counter", "y")

Work = Coroutine[Any, Any, object]


def is_idle(datastore: DatastoreCalls) -> bool:
    """Whether no transaction is open and no lock is held: nothing has leaked."""
    open_transactions = datastore.stub._txn_map
    return not (open_transactions or datastore._owners or datastore._locks._locks)


async def begun(work: Work) -> "asyncio.Task[object]":
    """Begin something, and return when it has ended or waits."""
    task = asyncio.create_task(work)
    await settled()
    return task


async def code_of(work: Work) -> int:
    """Return the code of the ApplicationError that comes, and soon."""
    async with asyncio.timeout(10):
        with pytest.raises(apiproxy_errors.ApplicationError) as error:
            await work
    code: int = error.value.application_error
    return code


def query(kind: str = "Counter", **fields: Any) -> Message:
    """Return a query for all entities of a kind."""
    return datastore_pb.Query(app=APP_ID, kind=kind, **fields)


async def results_of(api: AppRequest, message: Message) -> list[Message]:
    """Return what a query finds in its first batch."""
    return list((await api.call("datastore_v3", "RunQuery", message)).result)


# --- many writers of one entity group ------------------------------------------------


async def test_a_second_transaction_waits_for_the_first(server: Server) -> None:
    """Of two that read one counter the second reads what the first has written."""
    one, two = server.request(), server.request()
    first, second = await one.begin(), await two.begin()
    assert await one.get(KEY, first) is None
    waiting = await begun(two.get(KEY, second))
    assert not waiting.done()
    await one.put(KEY, 1, first)
    await one.commit(first)
    assert await waiting == 1
    await two.put(KEY, 2, second)
    await two.commit(second)
    assert await one.get(KEY) == 2
    assert is_idle(server.services.datastore)


async def test_many_increments_at_once_lose_nothing_and_none_fails(
    server: Server,
) -> None:
    """50 transactions on one counter all commit at the first try, and add up."""
    requests = [server.request() for _ in range(50)]
    await asyncio.gather(*(request.increment(KEY) for request in requests))
    assert await requests[0].get(KEY) == 50
    assert is_idle(server.services.datastore)


@pytest.mark.parametrize("method", ["put", "delete"])
async def test_a_write_outside_a_transaction_waits(server: Server, method: str) -> None:
    """It comes after the transaction, which would else fail for it."""
    one, two = server.request(), server.request()
    await one.put(KEY, 5)
    transaction = await one.begin()
    await one.get(KEY, transaction)
    writing = await begun(two.put(KEY, 100) if method == "put" else two.delete(KEY))
    assert not writing.done()
    await one.put(KEY, 6, transaction)
    await one.commit(transaction)
    await writing
    assert await one.get(KEY) == (100 if method == "put" else None)
    assert is_idle(server.services.datastore)


async def test_a_read_outside_a_transaction_does_not_wait(server: Server) -> None:
    """It sees what was committed last."""
    one, two = server.request(), server.request()
    await one.put(KEY, 5)
    transaction = await one.begin()
    await one.get(KEY, transaction)
    await one.put(KEY, 6, transaction)
    async with asyncio.timeout(10):
        assert await two.get(KEY) == 5
        assert len(await results_of(two, query())) == 1


async def test_read_only_transactions_do_not_wait(server: Server) -> None:
    """Neither for a writer nor a writer for them."""
    writer, reader = server.request(), server.request()
    await writer.put(KEY, 5)
    transaction = await writer.begin()
    await writer.get(KEY, transaction)
    async with asyncio.timeout(10):
        snapshot = await reader.begin(mode=READ_ONLY)
        assert await reader.get(KEY, snapshot) == 5
        await writer.put(KEY, 6, transaction)
        await writer.commit(transaction)
        # still the state of its begin
        assert await reader.get(KEY, snapshot) == 5
        await reader.commit(snapshot)
    assert await reader.get(KEY) == 6
    assert is_idle(server.services.datastore)


@pytest.mark.parametrize("service", ["datastore_v3", "datastore_v4"])
async def test_transactions_without_a_lock_end_with_their_request(
    server: Server, service: str
) -> None:
    """Those that only read too, and those of the datastore's other API."""
    one, two = server.request(), server.request()
    request_class, _ = rpc_table.message_classes(service, "BeginTransaction")
    fields = {"app": APP_ID, "mode": READ_ONLY} if service == "datastore_v3" else {}
    await one.call(service, "BeginTransaction", request_class(**fields))
    other = await two.begin()
    assert len(server.services.datastore.stub._txn_map) == 2
    server.end(one)
    assert list(server.services.datastore.stub._txn_map) == [other.handle]
    await two.commit(other)
    assert is_idle(server.services.datastore)


async def test_a_child_has_the_lock_of_its_root(server: Server) -> None:
    """An entity group is a root entity with all that is under it."""
    one, two = server.request(), server.request()
    transaction, second = await one.begin(), await two.begin()
    await one.put(reference("Counter", "x", "Child", 1), 1, transaction)
    waiting = await begun(two.get(reference("Counter", "x", "Child", 2), second))
    assert not waiting.done()
    await one.commit(transaction)
    assert await waiting is None


async def test_an_ancestor_query_takes_the_lock(server: Server) -> None:
    """A query in a transaction reads the entity group, as a get does."""
    one, two = server.request(), server.request()
    transaction, second = await one.begin(), await two.begin()
    await one.put(KEY, 1, transaction)
    message = query(transaction=second, ancestor=KEY)
    waiting = await begun(results_of(two, message))
    assert not waiting.done()
    await one.commit(transaction)
    assert len(await waiting) == 1  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "other",
    [OTHER, reference("Counter", "x", namespace="n"), reference("Counter", 1)],
)
async def test_other_entity_groups_are_not_waited_for(
    server: Server, other: Message
) -> None:
    """Another name, namespace or id is another entity group."""
    one, two = server.request(), server.request()
    await one.put(KEY, 1, await one.begin())
    async with asyncio.timeout(10):
        await two.increment(other)


async def test_nothing_waits_for_a_new_root_entity(server: Server) -> None:
    """An entity without an id is a group that no other call can name."""
    one, two = server.request(), server.request()
    new = reference("Counter", None)
    first, second = await one.begin(), await two.begin()
    async with asyncio.timeout(10):
        mine = await one.put(new, 1, first)
        yours = await two.put(new, 2, second)
        await one.put(new, 3)
        await one.commit(first)
        await two.commit(second)
    assert mine.path.element[0].id != yours.path.element[0].id
    assert len(await results_of(one, query())) == 3
    assert is_idle(server.services.datastore)


async def test_two_that_lock_in_opposite_order_do_not_both_wait(
    server: Server,
) -> None:
    """Of a deadlock one fails at once, is rolled back, and the other goes on."""
    one, two = server.request(), server.request()
    first = await one.begin(allow_multiple_eg=True)
    second = await two.begin(allow_multiple_eg=True)
    await one.put(KEY, 1, first)
    await two.put(OTHER, 2, second)
    waiting = await begun(one.put(OTHER, 1, first))
    assert await code_of(two.put(KEY, 2, second)) == CONCURRENT_TRANSACTION
    await waiting
    await one.commit(first)
    assert (await one.get(KEY), await one.get(OTHER)) == (1, 1)
    assert await code_of(two.commit(second)) == BAD_REQUEST
    assert is_idle(server.services.datastore)


async def test_one_call_locks_its_groups_in_one_order(server: Server) -> None:
    """Two that get the same two entities, in any order, never wait in a circle."""
    requests = [server.request() for _ in range(10)]

    async def touch(number: int) -> None:
        api = requests[number]
        transaction = await api.begin(allow_multiple_eg=True)
        keys = [KEY, OTHER] if number % 2 else [OTHER, KEY]
        message = datastore_pb.GetRequest(key=keys, transaction=transaction)
        await api.call("datastore_v3", "Get", message)
        await settled(2)
        await api.commit(transaction)

    async with asyncio.timeout(5):
        await asyncio.gather(*(touch(number) for number in range(10)))
    assert is_idle(server.services.datastore)


async def test_a_wait_ends_at_the_deadline(make_server: Callable[..., Server]) -> None:
    """Then the waiter is rolled back with the error that the SDK retries."""
    server = make_server(lock_deadline=0.02)
    one, two = server.request(), server.request()
    first, second = await one.begin(), await two.begin()
    await one.put(KEY, 1, first)
    assert await code_of(two.get(KEY, second)) == CONCURRENT_TRANSACTION
    assert await code_of(two.put(KEY, 2)) == CONCURRENT_TRANSACTION
    await one.commit(first)
    assert await one.get(KEY) == 1
    assert is_idle(server.services.datastore)


async def test_a_request_does_not_wait_for_its_own_transaction(
    server: Server,
) -> None:
    """A write beside the request's own transaction goes through; the commit fails.

    That is what the stub does on dev_appserver.py. The request would otherwise wait
    for itself until the deadline.
    """
    api = server.request()
    transaction = await api.begin()
    await api.get(KEY, transaction)
    async with asyncio.timeout(10):
        await api.put(KEY, 7)
    await api.put(KEY, 1, transaction)
    assert await code_of(api.commit(transaction)) == CONCURRENT_TRANSACTION
    assert await api.get(KEY) == 7
    assert is_idle(server.services.datastore)


async def test_a_read_that_comes_too_late_ends_the_transaction(server: Server) -> None:
    """What it has read before has changed; it holds nobody up, as none rolls it back.

    The SDK's ndb raises TransactionFailedError then and sends nothing more.
    """
    api, other = server.request(), server.request()
    transaction = await api.begin(allow_multiple_eg=True)
    await api.get(KEY, transaction)
    await api.put(KEY, 7)
    assert await code_of(api.get(OTHER, transaction)) == CONCURRENT_TRANSACTION
    assert is_idle(server.services.datastore)
    async with asyncio.timeout(10):
        await other.put(KEY, 8)


async def test_two_transactions_of_one_request_do_not_wait(server: Server) -> None:
    """An independent transaction inside another one is not held up by it."""
    api = server.request()
    outer, inner = await api.begin(), await api.begin()
    await api.get(KEY, outer)
    async with asyncio.timeout(10):
        await api.put(KEY, 3, inner)
        await api.commit(inner)
    await api.rollback(outer)
    assert await api.get(KEY) == 3
    assert is_idle(server.services.datastore)


# --- ends of transactions ------------------------------------------------------------


async def test_the_end_of_a_request_rolls_its_transactions_back(
    server: Server,
) -> None:
    """A request that ends or dies in a transaction holds nobody up."""
    one, two = server.request(), server.request()
    transaction = await one.begin()
    await one.put(KEY, 1, transaction)
    incrementing = await begun(two.increment(KEY, 10))
    assert not incrementing.done()
    server.end(one)
    await incrementing
    assert await two.get(KEY) == 10
    assert await code_of(two.commit(transaction)) == BAD_REQUEST
    assert is_idle(server.services.datastore)


async def test_the_end_of_a_request_leaves_others_alone(server: Server) -> None:
    """Only the transactions of that request are rolled back."""
    one, two = server.request(), server.request()
    first, second = await one.begin(), await two.begin()
    await one.put(KEY, 1, first)
    await two.put(OTHER, 2, second)
    server.end(one)
    await two.commit(second)
    assert (await two.get(KEY), await two.get(OTHER)) == (None, 2)


async def test_the_end_of_a_request_ends_its_waiting(server: Server) -> None:
    """A call of a request that has ended does not write, and takes no lock."""
    one, two = server.request(), server.request()
    first, second = await one.begin(), await two.begin()
    await one.put(KEY, 1, first)
    waiting = await begun(two.put(KEY, 2, second))
    server.end(two)
    assert await code_of(asyncio.wait_for(waiting, 10)) == CONCURRENT_TRANSACTION
    await one.commit(first)
    assert await one.get(KEY) == 1
    assert is_idle(server.services.datastore)


async def test_a_rollback_frees(server: Server) -> None:
    """A rollback drops what was put and lets the next one in."""
    one, two = server.request(), server.request()
    transaction = await one.begin()
    await one.put(KEY, 1, transaction)
    incrementing = await begun(two.increment(KEY))
    await one.rollback(transaction)
    await incrementing
    assert await two.get(KEY) == 1
    assert is_idle(server.services.datastore)


async def test_a_commit_that_fails_frees(server: Server) -> None:
    """Also the lock of a transaction that the stub refuses to commit."""
    one, two = server.request(), server.request()
    transaction = await one.begin()
    await one.get(KEY, transaction)
    await one.put(KEY, 7)
    await one.put(KEY, 1, transaction)
    incrementing = await begun(two.increment(KEY))
    assert await code_of(one.commit(transaction)) == CONCURRENT_TRANSACTION
    await asyncio.wait_for(incrementing, 10)
    assert await two.get(KEY) == 8
    assert is_idle(server.services.datastore)


async def test_the_next_try_of_a_transaction_frees_the_last(server: Server) -> None:
    """`previous_transaction`, which a retry names, is rolled back and frees."""
    one, two = server.request(), server.request()
    transaction = await one.begin(mode=datastore_pb.BeginTransactionRequest.READ_WRITE)
    await one.put(KEY, 1, transaction)
    incrementing = await begun(two.increment(KEY, 10))
    again = await one.begin(
        mode=datastore_pb.BeginTransactionRequest.READ_WRITE,
        previous_transaction=transaction,
    )
    await asyncio.wait_for(incrementing, 10)
    assert again.handle != transaction.handle
    await one.put(KEY, (await one.get(KEY, again) or 0) + 1, again)
    await one.commit(again)
    assert await two.get(KEY) == 11
    assert is_idle(server.services.datastore)


@pytest.mark.parametrize("method", ["commit", "rollback"])
async def test_a_transaction_ends_once(api: AppRequest, method: str) -> None:
    """A commit or rollback of what has ended, or never was, is refused."""
    transaction = await api.begin()
    await api.rollback(transaction)
    assert await code_of(getattr(api, method)(transaction)) == BAD_REQUEST
    assert await code_of(api.get(KEY, transaction)) == BAD_REQUEST
    assert await code_of(api.put(KEY, 1, transaction)) == BAD_REQUEST


# --- faults of the stub --------------------------------------------------------------


async def test_handles_are_never_used_again(server: Server) -> None:
    """1,000 transactions have 1,000 handles.

    The stub's are addresses of objects, which Python uses again.
    """
    api = server.request()
    handles = set()
    for _ in range(1000):
        transaction = await api.begin()
        handles.add(transaction.handle)
        await api.rollback(transaction)
    assert len(handles) == 1000
    assert is_idle(server.services.datastore)


async def test_a_late_rollback_hits_nobody(server: Server) -> None:
    """A rollback after the end of its transaction does not end another one."""
    one, two = server.request(), server.request()
    for number in range(100):
        late = await one.begin()
        await one.rollback(late)
        transaction = await two.begin()
        await two.put(KEY, number, transaction)
        assert await code_of(one.rollback(late)) == BAD_REQUEST
        await two.commit(transaction)
        assert await two.get(KEY) == number


class CountingDict(dict[Any, Any]):
    """A dictionary that counts how often somebody goes through all of it."""

    def __init__(self) -> None:
        super().__init__()
        self.scans = 0

    def __iter__(self) -> Iterator[Any]:
        self.scans += 1
        yield from super().__iter__()

    def values(self) -> Any:
        """Return the values; it counts when somebody begins to go through them."""
        self.scans += 1
        yield from super().values()


async def test_a_commit_costs_the_same_however_much_is_stored(
    server: Server,
) -> None:
    """Neither a commit nor a query goes through all entity groups.

    The stub's default policy does with each commit, and writes its file besides; the
    other one does with each query.
    """
    api, stub = server.request(), server.services.datastore.stub
    groups = stub._meta_data = CountingDict()
    for number in range(1, 20):
        await api.put(reference("Counter", number), number)
        await api.increment(KEY)
    assert len(await results_of(api, query())) == 20
    assert len(groups) == 20
    assert groups.scans == 0


async def test_a_query_sees_what_was_just_written(api: AppRequest) -> None:
    """Queries are strongly consistent, also those without an ancestor."""
    for number in range(1, 30):
        await api.put(reference("Counter", number), number)
        assert len(await results_of(api, query(count=100))) == number


async def test_no_history_of_queries_is_kept(server: Server) -> None:
    """The stub keeps a copy of each different query for ever."""
    api = server.request()
    for number in range(50):
        await results_of(api, query(f"Kind{number}"))
    assert not server.services.datastore.stub.QueryHistory()


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
    server = make_server(config=app_config(folder=tmp_path))
    api = server.request()
    await api.put(KEY, 5)
    message = query(ancestor=KEY)
    message.order.add(property="count", direction=datastore_pb.Query.Order.DESCENDING)
    assert len(await results_of(api, message)) == 1
    server.services.close()
    assert index_yaml.read_bytes() == text
    assert [path.name for path in tmp_path.iterdir()] == ["index.yaml"]


# --- transactional tasks -------------------------------------------------------------


async def test_a_commit_adds_its_tasks(server: Server) -> None:
    """Tasks of a transaction are queued by its commit, and not before."""
    api = server.request()
    transaction = await api.begin()
    await api.put(KEY, 1, transaction)
    results = await api.bulk_add(
        add_request(url=url, transaction=transaction) for url in (b"/a", b"/b")
    )
    assert results == [0, 0]
    assert await api.tasks() == []
    await api.commit(transaction)
    assert sorted(task.url for task in await api.tasks()) == [b"/a", b"/b"]


async def test_a_transaction_of_tasks_alone_commits(server: Server) -> None:
    """It needs no entity."""
    api = server.request()
    transaction = await api.begin()
    await api.bulk_add([add_request(transaction=transaction)])
    await api.commit(transaction)
    assert len(await api.tasks()) == 1


@pytest.mark.parametrize("end", ["rollback", "end of the request"])
async def test_no_commit_no_task(server: Server, end: str) -> None:
    """What a transaction was to add goes with it."""
    api = server.request()
    transaction = await api.begin()
    await api.bulk_add([add_request(transaction=transaction)])
    if end == "rollback":
        await api.rollback(transaction)
    else:
        server.end(api)
    assert await api.tasks() == []
    assert is_idle(server.services.datastore)


async def test_a_transaction_adds_five_tasks_at_most(server: Server) -> None:
    """The sixth is refused when it is added."""
    api = server.request()
    transaction = await api.begin()
    for _ in range(5):
        await api.bulk_add([add_request(transaction=transaction)])
    await code_of(api.bulk_add([add_request(transaction=transaction)]))
    await api.commit(transaction)
    assert len(await api.tasks()) == 5


# --- reset ---------------------------------------------------------------------------


async def test_clear_forgets_entities_and_ends_transactions(server: Server) -> None:
    """Who waited for a lock fails; what was put before is gone."""
    one, two = server.request(), server.request()
    await one.put(OTHER, 5)
    first, second = await one.begin(), await two.begin()
    await one.put(KEY, 1, first)
    waiting = await begun(two.get(KEY, second))
    server.services.datastore.clear()
    assert await code_of(asyncio.wait_for(waiting, 10)) == BAD_REQUEST
    assert await code_of(one.commit(first)) == BAD_REQUEST
    assert await one.get(OTHER) is None
    assert is_idle(server.services.datastore)
