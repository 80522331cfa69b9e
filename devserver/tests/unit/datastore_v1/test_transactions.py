"""Transactions through Cloud NDB and as bare requests: conflicts, locks, expiry."""

# the models of a library without types
# mypy: disallow-subclassing-any=False, disallow-untyped-decorators=False

import asyncio
import gc
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import grpc
import pytest
from google.cloud import ndb
from google.cloud.datastore_v1.types import TransactionOptions
from google.cloud.datastore_v1.types import datastore as datastore_pb

from gae_devserver.datastore.calls import DatastoreCalls
from gae_devserver.datastore.entity_locks import EntityGroupLocks
from gae_devserver.datastore.property_index import KindIndex
from gae_devserver.datastore.stub import Datastore
from gae_devserver.datastore.views import Snapshot
from gae_devserver.datastore_v1.databases import Databases
from gae_devserver.datastore_v1.keys import Partition
from gae_devserver.datastore_v1.limits import DEFAULT_LIMITS, Limits
from gae_devserver.datastore_v1.server import DatastoreV1
from gae_devserver.datastore_v1.transactions import Transactions
from gae_devserver.rpc.errors import RpcError
from gae_devserver.testing import wait_until
from tests.helpers.calls import APP_ID, PROJECT
from tests.helpers.datastore_v1 import (
    HAS_ANCESTOR,
    RawClient,
    entity,
    ids,
    key,
    query_fields,
    where,
)
from tests.helpers.running_datastore import IMPATIENT, RunningDatastore
from tests.helpers.waiting import settled

INVALID = grpc.StatusCode.INVALID_ARGUMENT
ABORTED = grpc.StatusCode.ABORTED
EXISTS = grpc.StatusCode.ALREADY_EXISTS
A1, A2 = key("A", 1), key("A", 2)


@pytest.fixture
def raw(raw: RawClient) -> RawClient:
    """A client of a datastore with one entity, A 1."""
    raw.upsert(entity(A1, n=1))
    return raw


@pytest.fixture
def thread() -> Iterator[ThreadPoolExecutor]:
    """A thread for a call that has to wait."""
    with ThreadPoolExecutor(1) as executor:
        yield executor


def begin(raw: RawClient, **options: Any) -> bytes:
    """Begin a transaction, read-write by default."""
    options = options or {"read_write": {}}
    return raw.call("BeginTransaction", transaction_options=options).transaction


def read(raw: RawClient, transaction: bytes | None = None, of: Any = A1) -> int | None:
    """Return n of an entity, or None if there is no such entity."""
    options = {"transaction": transaction} if transaction else {}
    answer = raw.call("Lookup", keys=[of], read_options=options)
    return (
        answer.found[0].entity.properties["n"].integer_value if answer.found else None
    )


def write(raw: RawClient, transaction: bytes, n: int, of: Any = A1) -> None:
    """Commit a transaction with one new value."""
    raw.commit({"upsert": entity(of, n=n)}, transaction=transaction)


def commit_error(raw: RawClient, transaction: bytes, *mutations: Any) -> Any:
    """Return the status code of a commit that fails."""
    fields = {"mode": 1, "transaction": transaction, "mutations": mutations}
    return raw.error("Commit", **fields)[0]


def read_error(raw: RawClient, transaction: bytes, of: Any = A1) -> Any:
    """Return the status code of a lookup that fails."""
    options = {"transaction": transaction}
    return raw.error("Lookup", keys=[of], read_options=options)[0]


def contend(raw: RawClient, *of: Any) -> None:
    """Let transactions fail because of entities, so that the next ones wait."""
    for one in of:
        for _ in range(2):
            first, second = begin(raw), begin(raw)
            n = read(raw, first, one) or 0
            read(raw, second, one)
            write(raw, first, n + 1, one)
            assert commit_error(raw, second, {"upsert": entity(one)}) == ABORTED
            raw.upsert(entity(one, n=n))


def count_of(kind: type) -> int:
    """Return how many objects of a class there are."""
    gc.collect()
    return sum(type(found) is kind for found in gc.get_objects())


# --- what a transaction sees and does ------------------------------------------------


def test_nothing_is_written_before_the_commit(raw: RawClient) -> None:
    """Another reader sees all changes at once, after the commit."""
    transaction = begin(raw)
    assert read(raw, transaction) == 1
    raw.commit(
        {"update": entity(A1, n=2)},
        {"insert": entity(A2, n=2)},
        {"delete": A2},
        {"insert": entity(A2, n=3)},
        transaction=transaction,
    )
    assert (read(raw), read(raw, of=A2)) == (2, 3)


@pytest.mark.parametrize(
    "operations",
    [
        ("insert", "insert"),
        ("update", "insert"),
        ("upsert", "insert"),
        ("delete", "update"),
    ],
    ids="-".join,
)
def test_an_impossible_sequence_is_refused(
    raw: RawClient, operations: tuple[str, str]
) -> None:
    """Some mutations of one entity cannot follow each other."""
    mutations = [
        {operation: A1 if operation == "delete" else entity(A1)}
        for operation in operations
    ]
    assert commit_error(raw, begin(raw), *mutations) == INVALID
    assert read(raw) == 1


@pytest.mark.parametrize("how", ["commit", "failed-commit", "rollback", "reset"])
def test_a_transaction_that_has_ended_is_refused(
    raw: RawClient, running: RunningDatastore, how: str
) -> None:
    """Only a rollback may be repeated."""
    transaction = begin(raw)
    assert read(raw, transaction) == 1
    match how:
        case "commit":
            write(raw, transaction, 2)
        case "failed-commit":
            assert commit_error(raw, transaction, {"insert": entity(A1)}) == EXISTS
        case "rollback":
            raw.call("Rollback", transaction=transaction)
        case "reset":
            running.clear()
    assert running.is_idle()
    assert commit_error(raw, transaction) == INVALID
    assert read_error(raw, transaction) == INVALID
    options = {"transaction": transaction}
    assert raw.run_error("A", read_options=options)[0] == INVALID
    raw.call("Rollback", transaction=transaction)


@pytest.mark.asyncio
@pytest.mark.parametrize("database", ["", "named"])
async def test_a_commit_that_waits_during_a_reset(database: str) -> None:
    """It fails, in any database, and writes nothing afterwards."""
    calls = DatastoreCalls(Datastore(APP_ID), EntityGroupLocks())
    server = DatastoreV1(calls, APP_ID)
    of = key("A", 1, database=database)

    async def call(rpc: str, **fields: Any) -> Any:
        fields |= {"project_id": PROJECT, "database_id": database}
        request = getattr(datastore_pb, f"{rpc}Request")(**fields)
        method = server.rpcs[f"google.datastore.v1.Datastore/{rpc}"]
        return await method.call(type(request).pb(request))

    async def begin_and_read() -> bytes:
        options: Any = {"new_transaction": {"read_write": {}}}
        answer = await call("Lookup", keys=[of], read_options=options)
        return bytes(answer.transaction)

    put = [{"upsert": entity(of, n=2)}]
    for _ in range(2):
        first, second = await begin_and_read(), await begin_and_read()
        await call("Commit", mode=1, transaction=first, mutations=put)
        with pytest.raises(RpcError, match="contention"):
            await call("Commit", mode=1, transaction=second, mutations=put)
        await call("Commit", mode=2, mutations=[{"delete": of}])
    await begin_and_read()
    waiting = asyncio.create_task(call("Commit", mode=2, mutations=put))
    await settled()
    assert not waiting.done()
    calls.clear()
    server.clear()
    with pytest.raises(RpcError, match="reset"):
        await waiting
    assert (await call("Lookup", keys=[of])).missing


@pytest.mark.parametrize("unknown", [b"", b"x", b"1", b"-1", b"\xff" * 40, b"9" * 99])
def test_an_unknown_transaction_is_refused(raw: RawClient, unknown: bytes) -> None:
    """An id that the server never gave out is invalid in every request."""
    assert raw.error("Rollback", transaction=unknown)[0] == INVALID
    assert commit_error(raw, unknown) == INVALID
    assert read_error(raw, unknown) == INVALID
    if unknown:
        again = {"read_write": {"previous_transaction": unknown}}
        assert raw.error("BeginTransaction", transaction_options=again)[0] == INVALID


def test_a_transaction_belongs_to_one_database(raw: RawClient) -> None:
    """Another database cannot use it, and a rollback there does not end it."""
    transaction = begin(raw)
    other = {"database_id": "other", "transaction": transaction}
    assert raw.error("Commit", mode=1, **other)[0] == INVALID
    raw.call("Rollback", **other)
    write(raw, transaction, 2)
    assert read(raw) == 2


@pytest.mark.parametrize(
    ("mode", "selector"),
    [
        (1, {}),
        (0, {}),
        (2, {"single_use_transaction": {"read_write": {}}}),
        (1, {"single_use_transaction": {"read_only": {}}}),
    ],
    ids=["without", "unspecified", "not-transactional", "read-only"],
)
def test_a_commit_needs_the_transaction_that_its_mode_says(
    raw: RawClient, mode: int, selector: Any
) -> None:
    """A transactional commit has a read-write transaction, another one has none."""
    mutations = [{"upsert": entity(A1, n=2)}]
    error = raw.error("Commit", mode=mode, mutations=mutations, **selector)
    assert error[0] == INVALID
    assert read(raw) == 1


def test_a_transaction_can_begin_with_a_read_or_a_commit(
    raw: RawClient, running: RunningDatastore
) -> None:
    """Reads may have new_transaction, and a commit may have single_use_transaction."""
    options: dict[str, Any] = {"new_transaction": {"read_write": {}}}
    answer = raw.call("Lookup", keys=[A1], read_options=options)
    write(raw, answer.transaction, 2)
    fields = query_fields("A", read_options={"new_transaction": {"read_only": {}}})
    answer = raw.call("RunQuery", **fields)
    assert ids(answer.batch) == [1]
    assert commit_error(raw, answer.transaction, {"upsert": entity(A1)}) == INVALID
    once = {"mode": 1, "mutations": [{"upsert": entity(A1, n=3)}]}
    raw.call("Commit", **once, single_use_transaction={"read_write": {}})
    assert read(raw) == 3
    assert running.is_idle()


def test_a_read_only_transaction_sees_one_moment(raw: RawClient) -> None:
    """Lookups and queries do not see what others write after it began."""
    transaction = begin(raw, read_only={})
    raw.upsert(entity(A1, n=2), entity(A2, n=1), entity(key("B", 1)))
    assert read(raw, transaction) == 1
    assert read(raw, transaction, of=A2) is None
    options = {"transaction": transaction}
    below = where("__key__", HAS_ANCESTOR, A2)
    found = [
        ids(raw.run("A", read_options=options)),
        ids(raw.run(read_options=options)),
        ids(raw.run("__kind__", read_options=options)),
        ids(raw.run("A", filter=below, read_options=options)),
    ]
    assert found == [[1], [1], ["A"], []]
    assert commit_error(raw, transaction, {"upsert": entity(A1, n=3)}) == INVALID
    assert read(raw) == 2


def test_a_lookup_of_the_past_builds_no_index(raw: RawClient) -> None:
    """The index of a large kind would hold up every other request."""
    transaction = begin(raw, read_only={})
    raw.upsert(entity(A1, n=2))
    before = count_of(KindIndex)
    assert read(raw, transaction) == 1
    assert count_of(KindIndex) == before


@pytest.mark.parametrize("rpc", ["Commit", "Rollback"])
def test_a_read_only_transaction_frees_its_snapshot_at_its_end(
    raw: RawClient, rpc: str
) -> None:
    """While there is one, every write keeps what it replaces."""
    before = count_of(Snapshot)
    transaction = begin(raw, read_only={})
    assert read(raw, transaction) == 1
    assert count_of(Snapshot) == before + 1
    fields = {"mode": 1} if rpc == "Commit" else {}
    raw.call(rpc, transaction=transaction, **fields)
    wait_until(lambda: count_of(Snapshot) == before, "the end of the snapshot")


def test_more_than_25_entity_groups(raw: RawClient) -> None:
    """There is no limit on entity groups, as in Firestore in Datastore mode."""
    transaction = begin(raw)
    keys = [key("G", n) for n in range(1, 41)]
    options = {"transaction": transaction}
    assert len(raw.call("Lookup", keys=keys, read_options=options).missing) == 40
    raw.commit(*({"upsert": entity(k)} for k in keys), transaction=transaction)
    assert len(ids(raw.run("G"))) == 40


# --- conflicts -----------------------------------------------------------------------


@pytest.mark.parametrize(
    "running", [Limits(patience=1000, glance=0.01)], indirect=True, ids=["glance"]
)
def test_an_entity_is_the_unit_of_transactions(raw: RawClient) -> None:
    """Those that read one entity, or write others of its group, go on and succeed."""
    sibling, other = key("A", 1, "C", 1), key("A", 1, "C", 2)
    transactions = [begin(raw) for _ in range(3)]
    for transaction in transactions:
        assert read(raw, transaction) == 1
        assert read(raw, transaction, key("A", 1, "C", 9)) is None
    raw.upsert(entity(sibling, n=1))
    write(raw, transactions[0], 2, sibling)
    write(raw, transactions[1], 3, other)
    write(raw, transactions[2], 4)
    assert [read(raw, of=of) for of in (sibling, other, A1)] == [2, 3, 4]


@pytest.mark.parametrize(
    "running", [Limits(patience=1000, glance=1000)], indirect=True, ids=["glance"]
)
@pytest.mark.parametrize("of", [A1, A2], ids=["entity", "missing-entity"])
def test_a_reader_waits_for_one_that_writes_next(
    raw: RawClient, running: RunningDatastore, thread: ThreadPoolExecutor, of: Any
) -> None:
    """Of two transactions that change one entity, the second begins with the change."""
    first, second = begin(raw), begin(raw)
    read(raw, first, of)
    waiting = thread.submit(read, raw, second, of)
    running.wait_for_waiter()
    write(raw, first, 5, of)
    assert waiting.result(20) == 5
    write(raw, second, 6, of)
    assert read(raw, of=of) == 6


@pytest.mark.parametrize(
    "running", [Limits(patience=1000, glance=0.01)], indirect=True, ids=["glance"]
)
def test_readers_of_an_entity_that_is_not_written_share_it(
    raw: RawClient, running: RunningDatastore
) -> None:
    """After one has waited in vain, those that follow do not wait."""
    transactions = [begin(raw), begin(raw)]
    assert [read(raw, transaction) for transaction in transactions] == [1, 1]
    for transaction in transactions:
        raw.call("Rollback", transaction=transaction)
    before = running.waits
    assert before
    assert [read(raw, begin(raw)) for _ in range(3)] == [1, 1, 1]
    assert running.waits == before


@IMPATIENT
def test_a_transaction_that_writes_nothing_does_not_fail(raw: RawClient) -> None:
    """It has seen what was stored at its last read."""
    transaction = begin(raw)
    assert read(raw, transaction) == 1
    raw.upsert(entity(A1, n=2))
    assert not raw.commit(transaction=transaction).mutation_results


@IMPATIENT
def test_a_write_that_changes_nothing_is_no_conflict(raw: RawClient) -> None:
    """The entity keeps its version."""
    transaction = begin(raw)
    assert read(raw, transaction) == 1
    assert ids(raw.run("A", read_options={"transaction": transaction})) == [1]
    raw.upsert(entity(A1, n=1))
    write(raw, transaction, 2)
    assert read(raw) == 2


def test_of_a_write_skew_one_fails(raw: RawClient) -> None:
    """Of two that read the same entities and write different ones, one is aborted."""
    first, second = begin(raw), begin(raw)
    for transaction in (first, second):
        assert (read(raw, transaction), read(raw, transaction, A2)) == (1, None)
    write(raw, first, 2, A1)
    assert commit_error(raw, second, {"upsert": entity(A2, n=2)}) == ABORTED


def test_contended_transactions_take_turns(
    raw: RawClient, running: RunningDatastore, thread: ThreadPoolExecutor
) -> None:
    """After conflicts, the second reads an entity as the first has written it."""
    contend(raw, A1)
    first, second = begin(raw), begin(raw)
    assert read(raw, first) == 1
    waiting = thread.submit(read, raw, second)
    running.wait_for_waiter()
    write(raw, first, 2)
    assert waiting.result(20) == 2
    write(raw, second, 3)
    assert read(raw) == 3
    assert running.is_idle()


@pytest.mark.parametrize("how", ["lookup", "query", "ancestor-query"])
@pytest.mark.parametrize("transactional", [True, False])
def test_a_write_waits_for_the_one_whose_turn_it_is(
    raw: RawClient,
    running: RunningDatastore,
    thread: ThreadPoolExecutor,
    how: str,
    transactional: bool,
) -> None:
    """A write of a contended entity does not abort the transaction that has read it."""
    contend(raw, A1)
    before = running.waits
    first, other = begin(raw), begin(raw)
    options = {"transaction": first}
    match how:
        case "lookup":
            assert read(raw, first) == 1
        case "query":
            assert ids(raw.run("A", read_options=options)) == [1]
        case _:
            below = where("__key__", HAS_ANCESTOR, A1)
            assert ids(raw.run(filter=below, read_options=options)) == [1]
    sibling = key("A", 1, "C", 1)
    if how != "lookup":
        sibling = key("C", 1)
    write(raw, other, 1, sibling)
    assert running.waits == before
    if transactional:
        waiting = thread.submit(write, raw, begin(raw), 3)
    else:
        waiting = thread.submit(raw.upsert, entity(A1, n=3))
    running.wait_for_waiter()
    write(raw, first, 2)
    waiting.result(20)
    assert read(raw) == 3
    assert running.is_idle()


def test_readers_of_an_entity_that_is_not_contended_any_more(
    raw: RawClient, running: RunningDatastore
) -> None:
    """They do not wait any more after others that had their turn have not written."""
    contend(raw, A1)
    for _ in range(3):
        transaction = begin(raw)
        assert read(raw, transaction) == 1
        raw.call("Rollback", transaction=transaction)
    before = running.waits
    assert [read(raw, begin(raw)) for _ in range(2)] == [1, 1]
    assert running.waits == before


@IMPATIENT
@pytest.mark.parametrize("of", [A1, A2], ids=["entity", "missing-entity"])
def test_a_transaction_does_not_wait_forever(raw: RawClient, of: Any) -> None:
    """A transaction stops waiting for a lock; its commit fails if another wrote."""
    first, second = begin(raw), begin(raw)
    assert read(raw, first, of) == read(raw, second, of)
    write(raw, first, 2, of)
    assert commit_error(raw, second, {"upsert": entity(of, n=3)}) == ABORTED
    assert read(raw, of=of) == 2


@IMPATIENT
@pytest.mark.parametrize(
    ("rpc", "what"),
    [
        ("Lookup", {"keys": [A2]}),
        ("RunQuery", {"query": {"kind": [{"name": "B"}]}}),
    ],
    ids=["Lookup", "RunQuery"],
)
def test_a_transaction_ends_with_an_aborted_read(
    raw: RawClient, running: RunningDatastore, rpc: str, what: Any
) -> None:
    """A write that does not wait any longer aborts the next read of the transaction.

    Cloud NDB sends the read again, and begins another transaction only after the server
    answers that the old one does not exist.
    """
    transaction = begin(raw)
    read(raw, transaction)
    raw.upsert(entity(A1, n=2))
    options = {"transaction": transaction}
    codes = [raw.error(rpc, read_options=options, **what)[0] for _ in range(2)]
    assert codes == [ABORTED, INVALID]
    assert commit_error(raw, transaction, {"upsert": entity(A1, n=3)}) == INVALID
    raw.call("Rollback", transaction=transaction)
    assert read(raw) == 2
    assert running.is_idle()


def test_a_deadlock_ends(
    raw: RawClient, running: RunningDatastore, thread: ThreadPoolExecutor
) -> None:
    """If two transactions wait for each other, one commits and one is aborted."""
    raw.upsert(entity(A2, n=1))
    contend(raw, A1, A2)
    first, second = begin(raw), begin(raw)
    assert (read(raw, first, A1), read(raw, second, A2)) == (1, 1)
    waiting = thread.submit(read, raw, first, A2)
    running.wait_for_waiter()
    assert read(raw, second, A1) == 1  # at once, as it would wait forever
    write(raw, second, 2, A1)
    with pytest.raises(grpc.RpcError) as error:
        waiting.result(20)
    assert error.value.code() == ABORTED
    assert commit_error(raw, first, {"upsert": entity(A2, n=5)}) == INVALID
    assert (read(raw), read(raw, of=A2)) == (2, 1)


def test_a_retry_ends_the_transaction_before(
    raw: RawClient, running: RunningDatastore
) -> None:
    """A transaction that begins with previous_transaction ends that one."""
    first = begin(raw)
    assert read(raw, first) == 1
    second = begin(raw, read_write={"previous_transaction": first})
    assert read(raw, second) == 1
    assert commit_error(raw, first) == INVALID
    write(raw, second, 2)
    assert running.is_idle()


@pytest.mark.parametrize("running", [Limits(idle_seconds=0.2)], indirect=True)
def test_a_transaction_expires(raw: RawClient, running: RunningDatastore) -> None:
    """A transaction that no client ends loses its locks, and is no longer valid."""
    options: dict[str, Any] = {"new_transaction": {"read_write": {}}}
    answer = raw.call("Lookup", keys=[A1], read_options=options)
    wait_until(running.is_idle, "the end of the transaction")
    assert commit_error(raw, answer.transaction) == INVALID
    raw.call("Rollback", transaction=answer.transaction)
    assert raw.upsert(entity(A1)).mutation_results


class FastLoop(asyncio.SelectorEventLoop):
    """An event loop whose clock a test puts forward."""

    ahead = 0.0

    def time(self) -> float:
        """Return the time, of the loop's timers too."""
        return super().time() + self.ahead


@pytest.mark.parametrize(
    ("step", "lasts"), [(50, 300), (70, 70)], ids=["in-use", "idle"]
)
def test_how_long_a_transaction_lasts(step: int, lasts: int) -> None:
    """A transaction expires 60 s after its last use, and 270 s after its begin."""
    loop = FastLoop()

    async def use_every_step() -> float:
        calls = DatastoreCalls(Datastore(APP_ID), EntityGroupLocks())
        databases = Databases(calls, APP_ID, DEFAULT_LIMITS, storage=None)
        database = databases.get(Partition(APP_ID, ""))
        transactions = Transactions()
        transaction = transactions.begin(database, TransactionOptions.pb()())
        while transactions and loop.ahead < 1000:
            transactions.get(database, transaction.id)
            loop.ahead += step
            await settled()
        return loop.ahead

    with asyncio.Runner(loop_factory=lambda: loop) as runner:
        assert runner.run(use_every_step()) == lasts


# --- through Cloud NDB ---------------------------------------------------------------


class Tally(ndb.Model):
    """A counter."""

    count = ndb.IntegerProperty(default=0)


def increment(of: Any, amount: int = 1) -> None:
    """Add to a counter."""
    counter = of.get()
    counter.count += amount
    counter.put()


def test_two_transactions_of_one_thread(client: ndb.Client) -> None:
    """Tasklets that change one entity side by side all finish, some in a retry."""
    with client.context():
        of = Tally(id="x").put()

        @ndb.transactional_tasklet()
        def add(amount: int, delay: float) -> Any:
            counter = yield of.get_async()
            yield ndb.sleep(delay)
            counter.count += amount
            yield counter.put_async()

        futures = [add(100, 0.0), add(10, 0.01), add(1, 0.02)]
        ndb.Future.wait_all(futures)
        assert [future.exception() for future in futures] == [None] * 3
    with client.context():
        assert of.get().count == 111


def test_what_a_transaction_of_cloud_ndb_can_do(context: Any) -> None:
    """A transaction may be nested, fail, only read, make ids, insert and delete."""
    of = Tally(id="x").put()

    @ndb.transactional()
    def add_and_make(fails: bool = False) -> Any:
        ndb.transaction(lambda: increment(of), join=True)
        new = Tally(count=7).put()
        if fails:
            raise LookupError
        return new

    with pytest.raises(LookupError):
        add_and_make(fails=True)
    assert Tally.query().count() == 1
    new = add_and_make()
    assert (new.get().count, of.get().count) == (7, 1)
    assert ndb.transaction(lambda: of.get().count, read_only=True) == 1
    assert ndb.transaction(lambda: Tally.get_or_insert("y", count=3)).count == 3
    ndb.transaction(lambda: ndb.delete_multi([of, new]))
    assert Tally.query().fetch(keys_only=True) == [ndb.Key(Tally, "y")]
