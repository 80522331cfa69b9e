"""Transactions through Cloud NDB and as bare requests: conflicts, locks, expiry."""

# the models of a library without types
# mypy: disallow-subclassing-any=False, disallow-untyped-decorators=False

import threading
import time
import weakref
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import grpc
import pytest
from google.cloud import ndb
from google.cloud.ndb import _retry

from gae_devserver.datastore.property_index import KindIndex
from gae_devserver.datastore_v1 import transactions
from tests.helpers.datastore_v1 import (
    HAS_ANCESTOR,
    RawClient,
    entity,
    ids,
    key,
    query_fields,
    where,
)
from tests.helpers.running_datastore import RunningDatastore

INVALID = grpc.StatusCode.INVALID_ARGUMENT
ABORTED = grpc.StatusCode.ABORTED
A1, A2 = key("A", 1), key("A", 2)


@pytest.fixture(scope="module")
def running() -> Iterator[RunningDatastore]:
    """A server for all tests of the module."""
    running = RunningDatastore()
    yield running
    running.stop()


@pytest.fixture(autouse=True)
def _quick_retries(monkeypatch: pytest.MonkeyPatch) -> None:
    """Cloud NDB sleeps a second before it tries again; here it does not."""
    monkeypatch.setattr(_retry, "_DEFAULT_INITIAL_DELAY", 0.001)


@pytest.fixture
def client(running: RunningDatastore) -> Iterator[ndb.Client]:
    """A client of an empty datastore."""
    running.clear()
    client = running.client()
    yield client
    client.stub.close()
    assert is_idle(running)


@pytest.fixture
def context(client: ndb.Client) -> Iterator[Any]:
    """A context without cache."""
    with client.context(cache_policy=False) as context:
        yield context


@pytest.fixture
def raw(running: RunningDatastore) -> Iterator[RawClient]:
    """A connection to a datastore with one entity, A 1."""
    running.clear()
    client = RawClient(running.host)
    client.upsert(entity(A1, n=1))
    yield client
    client.close()


def is_idle(running: RunningDatastore) -> bool:
    """Whether no transaction is open and no lock is held: nothing has leaked."""
    return not (running.server._transactions._open or running.calls.locks._locks)


def begin(raw: RawClient, **options: Any) -> bytes:
    """Begin a transaction; read-write unless told otherwise."""
    options = options or {"read_write": {}}
    answer = raw.call("BeginTransaction", transaction_options=options)
    identifier: bytes = answer.transaction
    return identifier


def read(raw: RawClient, transaction: bytes | None = None, of: Any = A1) -> int | None:
    """Return n of an entity, or None if there is no such entity."""
    options = {"transaction": transaction} if transaction else {}
    answer = raw.call("Lookup", keys=[of], read_options=options)
    if not answer.found:
        return None
    found: int = answer.found[0].entity.properties["n"].integer_value
    return found


def write(raw: RawClient, transaction: bytes, n: int, of: Any = A1) -> None:
    """Commit a transaction with one new value."""
    raw.commit({"upsert": entity(of, n=n)}, transaction=transaction)


def commit_error(raw: RawClient, transaction: bytes, *mutations: Any) -> Any:
    """Return the status code of a commit that fails."""
    return raw.error(
        "Commit", mode=1, transaction=transaction, mutations=list(mutations)
    )[0]


def in_thread(work: Callable[[], Any]) -> "Waiting":
    """Do something in a thread."""
    return Waiting(work)


class Waiting:
    """A call that may have to wait."""

    def __init__(self, work: Callable[[], Any]) -> None:
        self._executor = ThreadPoolExecutor(1)
        self._future = self._executor.submit(work)

    def is_waiting_at(self, running: RunningDatastore) -> None:
        """Return as soon as the server has it wait for a lock."""
        deadline = time.monotonic() + 10
        waits = lambda: any(  # noqa: E731 - it runs in another thread
            lock.waiters for lock in running.calls.locks._locks.values()
        )
        while not running.do(waits):
            assert time.monotonic() < deadline
            assert not self._future.done()

    def result(self) -> Any:
        """Return the result."""
        try:
            return self._future.result(20)
        finally:
            self._executor.shutdown()


# --- what a transaction sees and does ------------------------------------------------


def test_nothing_is_written_before_the_commit(raw: RawClient) -> None:
    """Another reader sees the change after the commit, all at once."""
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
)
def test_some_sequences_make_no_sense(
    raw: RawClient, operations: tuple[str, str]
) -> None:
    """Mutations of one entity that cannot follow each other are refused."""
    mutations = [
        {operation: A1 if operation == "delete" else entity(A1)}
        for operation in operations
    ]
    assert commit_error(raw, begin(raw), *mutations) == INVALID
    assert read(raw) == 1


def test_a_rollback_leaves_everything_as_it_was(raw: RawClient) -> None:
    """After a rollback the transaction is over; to repeat it is no error."""
    transaction = begin(raw)
    assert read(raw, transaction) == 1
    raw.call("Rollback", transaction=transaction)
    raw.call("Rollback", transaction=transaction)
    assert commit_error(raw, transaction) == INVALID


def test_a_transaction_ends_with_its_commit(raw: RawClient) -> None:
    """After a commit, good or bad, reads and commits of it are refused."""
    good, bad = begin(raw), begin(raw)
    write(raw, good, 2)
    assert commit_error(raw, bad, {"insert": entity(A1)}) == (
        grpc.StatusCode.ALREADY_EXISTS
    )
    for transaction in (good, bad):
        assert commit_error(raw, transaction) == INVALID
        options = {"transaction": transaction}
        assert raw.error("Lookup", keys=[A1], read_options=options)[0] == INVALID
        assert raw.run_error("A", read_options=options)[0] == INVALID
        raw.call("Rollback", transaction=transaction)


@pytest.mark.parametrize("unknown", [b"", b"x", b"1", b"-1", b"\xff" * 40, b"9" * 99])
def test_an_unknown_transaction_is_refused(raw: RawClient, unknown: bytes) -> None:
    """A transaction that never was is INVALID_ARGUMENT everywhere."""
    assert raw.error("Rollback", transaction=unknown)[0] == INVALID
    assert commit_error(raw, unknown) == INVALID
    options = {"transaction": unknown}
    assert raw.error("Lookup", keys=[A1], read_options=options)[0] == INVALID
    if unknown:
        again = {"read_write": {"previous_transaction": unknown}}
        assert raw.error("BeginTransaction", transaction_options=again)[0] == INVALID


def test_a_commit_says_what_it_is(raw: RawClient) -> None:
    """A transactional commit has a transaction, another has none."""
    mutations = [{"upsert": entity(A1)}]
    assert raw.error("Commit", mode=1, mutations=mutations)[0] == INVALID
    assert raw.error("Commit", mutations=mutations)[0] == INVALID
    own = begin(raw)
    error = raw.error("Commit", mode=2, transaction=own, mutations=mutations)
    assert error[0] == INVALID
    raw.call("Rollback", transaction=own)


def test_a_transaction_can_begin_with_a_read_or_a_commit(
    raw: RawClient, running: RunningDatastore
) -> None:
    """new_transaction of reads and single_use_transaction of a commit."""
    options: dict[str, Any] = {"new_transaction": {"read_write": {}}}
    answer = raw.call("Lookup", keys=[A1], read_options=options)
    write(raw, answer.transaction, 2)
    fields = query_fields("A", read_options={"new_transaction": {"read_only": {}}})
    answer = raw.call("RunQuery", **fields)
    assert ids(answer.batch) == [1]
    write_mutation = {"upsert": entity(A1, n=4)}
    assert commit_error(raw, answer.transaction, write_mutation) == INVALID
    once = {"mode": 1, "mutations": [{"upsert": entity(A1, n=3)}]}
    raw.call("Commit", **once, single_use_transaction={"read_write": {}})
    assert read(raw) == 3
    error = raw.error("Commit", **once, single_use_transaction={"read_only": {}})
    assert error[0] == INVALID
    assert running.do(lambda: is_idle(running))


def test_a_read_only_transaction_sees_one_moment(raw: RawClient) -> None:
    """What others write after its begin does not show, in lookups or queries."""
    transaction = begin(raw, read_only={})
    raw.upsert(entity(A1, n=2), entity(A2, n=1), entity(key("B", 1)))
    assert read(raw, transaction) == 1
    assert read(raw, transaction, of=A2) is None
    options = {"transaction": transaction}
    assert ids(raw.run("A", read_options=options)) == [1]
    assert ids(raw.run(read_options=options)) == [1]
    assert ids(raw.run("__kind__", read_options=options)) == ["A"]
    below = where("__key__", HAS_ANCESTOR, A2)
    assert ids(raw.run("A", filter=below, read_options=options)) == []
    mutation = {"upsert": entity(A1, n=3)}
    assert commit_error(raw, transaction, mutation) == INVALID
    assert read(raw) == 2


def test_a_lookup_of_the_past_needs_no_index(
    raw: RawClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An index of a large kind would hold up everybody else for its making."""
    transaction = begin(raw, read_only={})
    raw.upsert(entity(A1, n=2))
    monkeypatch.setattr(KindIndex, "of", None)
    assert read(raw, transaction) == 1


def test_more_than_25_entity_groups(raw: RawClient) -> None:
    """There is no limit on entity groups, as in Firestore in Datastore mode."""
    transaction = begin(raw)
    keys = [key("G", n) for n in range(1, 41)]
    options = {"transaction": transaction}
    assert len(raw.call("Lookup", keys=keys, read_options=options).missing) == 40
    raw.commit(*({"upsert": entity(k)} for k in keys), transaction=transaction)
    assert len(ids(raw.run("G"))) == 40


# --- conflicts -----------------------------------------------------------------------


def test_a_second_transaction_waits_for_the_first(
    raw: RawClient, running: RunningDatastore
) -> None:
    """Of two that read one entity the second reads what the first has written."""
    first, second = begin(raw), begin(raw)
    assert read(raw, first) == 1
    waiting = in_thread(lambda: read(raw, second))
    waiting.is_waiting_at(running)
    write(raw, first, 2)
    assert waiting.result() == 2
    write(raw, second, 3)
    assert read(raw) == 3
    assert running.do(lambda: is_idle(running))


def test_a_write_without_a_read_waits_for_its_turn(
    raw: RawClient, running: RunningDatastore
) -> None:
    """A commit of what it has not read does not abort the one that has."""
    first, second = begin(raw), begin(raw)
    assert read(raw, first) == 1
    waiting = in_thread(lambda: write(raw, second, 3))
    waiting.is_waiting_at(running)
    write(raw, first, 2)
    waiting.result()
    assert read(raw) == 3


def test_a_transaction_does_not_wait_for_ever(
    raw: RawClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It goes on without the lock, and is aborted if it should have had it."""
    monkeypatch.setattr(transactions, "PATIENCE", 0.05)
    first, second = begin(raw), begin(raw)
    assert read(raw, first) == read(raw, second) == 1
    write(raw, first, 2)
    assert commit_error(raw, second, {"upsert": entity(A1, n=3)}) == ABORTED
    assert read(raw) == 2


def test_the_one_with_the_lock_may_be_the_one_that_loses(
    raw: RawClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A write that did not wait any longer aborts the transaction that it crossed."""
    monkeypatch.setattr(transactions, "PATIENCE", 0.05)
    transaction = begin(raw)
    assert read(raw, transaction) == 1
    raw.upsert(entity(A1, n=2))
    options = {"transaction": transaction}
    assert raw.error("Lookup", keys=[A2], read_options=options)[0] == ABORTED
    assert commit_error(raw, transaction, {"upsert": entity(A1, n=3)}) == INVALID
    assert read(raw) == 2


@pytest.mark.parametrize(
    ("rpc", "what"),
    [
        ("Lookup", {"keys": [A2]}),
        ("RunQuery", {"query": {"kind": [{"name": "B"}]}}),
    ],
)
def test_a_transaction_ends_with_an_aborted_read(
    raw: RawClient,
    running: RunningDatastore,
    monkeypatch: pytest.MonkeyPatch,
    rpc: str,
    what: Any,
) -> None:
    """Sent again, the read hears that there is nothing to go on with.

    Cloud NDB does send it again, and begins another transaction only when it hears so.
    """
    monkeypatch.setattr(transactions, "PATIENCE", 0.0)
    transaction = begin(raw)
    read(raw, transaction)
    raw.upsert(entity(A1, n=2))
    options = {"transaction": transaction}
    codes = [raw.error(rpc, read_options=options, **what)[0] for _ in range(2)]
    assert codes == [ABORTED, INVALID]
    raw.call("Rollback", transaction=transaction)
    assert running.do(lambda: is_idle(running))


def test_a_missing_entity_is_read_like_any_other(
    raw: RawClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two transactions that find nothing cannot both insert."""
    monkeypatch.setattr(transactions, "PATIENCE", 0.05)
    first, second = begin(raw), begin(raw)
    assert read(raw, first, A2) is read(raw, second, A2) is None
    write(raw, first, 1, A2)
    assert commit_error(raw, second, {"upsert": entity(A2, n=2)}) == ABORTED


@pytest.mark.parametrize(
    ("kind", "change"),
    [
        ("A", {"upsert": entity(key("A", 9), n=9)}),
        ("A", {"delete": A1}),
        ("B", {"upsert": entity(key("B", 9), n=9)}),
        (None, {"upsert": entity(key("B", 9), n=9)}),
    ],
)
def test_a_query_in_a_transaction_has_to_stay_true(
    raw: RawClient, kind: str | None, change: Any
) -> None:
    """A change of what a query has looked through aborts the transaction."""
    transaction, other = begin(raw), begin(raw)
    raw.run(kind, read_options={"transaction": transaction})
    raw.run("C", read_options={"transaction": other})
    raw.commit(change)
    mutation = {"upsert": entity(key("X", 1))}
    assert commit_error(raw, transaction, mutation) == ABORTED
    raw.commit(mutation, transaction=other)


def test_an_ancestor_query_locks_its_group(
    raw: RawClient, running: RunningDatastore
) -> None:
    """A write below the ancestor waits for the transaction that has searched there."""
    child = key("A", 1, "C", 1)
    transaction = begin(raw)
    below = where("__key__", HAS_ANCESTOR, A1)
    found = raw.run(filter=below, read_options={"transaction": transaction})
    assert len(found.entity_results) == 1
    waiting = in_thread(lambda: raw.upsert(entity(child, n=1)))
    waiting.is_waiting_at(running)
    write(raw, transaction, 2)
    waiting.result()
    assert read(raw, of=child) == 1


def test_a_deadlock_ends(raw: RawClient, running: RunningDatastore) -> None:
    """Two that each want what the other has read: one commits, one is aborted."""
    raw.upsert(entity(A2, n=1))
    first, second = begin(raw), begin(raw)
    assert (read(raw, first, A1), read(raw, second, A2)) == (1, 1)
    waiting = in_thread(lambda: read(raw, first, A2))
    waiting.is_waiting_at(running)
    assert read(raw, second, A1) == 1  # at once: to wait would be for ever
    write(raw, second, 2, A1)
    with pytest.raises(grpc.RpcError) as error:
        waiting.result()
    assert error.value.code() == ABORTED
    assert commit_error(raw, first, {"upsert": entity(A2, n=5)}) == INVALID
    assert (read(raw), read(raw, of=A2)) == (2, 1)


def test_retrying_names_the_one_before(
    raw: RawClient, running: RunningDatastore
) -> None:
    """A transaction that begins in place of another ends that one."""
    first = begin(raw)
    assert read(raw, first) == 1
    second = begin(raw, read_write={"previous_transaction": first})
    assert read(raw, second) == 1
    assert commit_error(raw, first) == INVALID
    write(raw, second, 2)
    assert running.do(lambda: is_idle(running))


# --- expiry --------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("idle", "total"), [(0.2, 60.0), (60.0, 0.2)], ids=["idle", "total"]
)
def test_a_transaction_expires(idle: float, total: float) -> None:
    """One that nobody ends gives up its locks, and is no longer valid."""
    running = RunningDatastore(idle_seconds=idle, total_seconds=total)
    raw = RawClient(running.host)
    try:
        # of the two limits the timer looks at the idle one first
        transaction = begin(raw)
        running.do(lambda: _look_soon(running))
        read(raw, transaction)
        deadline = time.monotonic() + 10
        while not running.do(lambda: is_idle(running)):
            assert time.monotonic() < deadline
        assert commit_error(raw, transaction) == INVALID
        raw.call("Rollback", transaction=transaction)
        assert raw.upsert(entity(A1)).mutation_results
    finally:
        raw.close()
        running.stop()


def _look_soon(running: RunningDatastore) -> None:
    """Look after each open transaction in 0.2 seconds, not when it would be idle."""
    ours = running.server._transactions
    for transaction in ours._open.values():
        assert transaction.timer is not None
        transaction.timer.cancel()
        ours._expire_in(transaction, 0.2)


@pytest.mark.parametrize("rpc", ["Commit", "Rollback"])
def test_what_a_read_only_transaction_saw_is_freed_at_its_end(
    raw: RawClient, running: RunningDatastore, rpc: str
) -> None:
    """Writes do not have to care for those that have ended, until they would expire."""
    transaction = begin(raw, read_only={})
    assert read(raw, transaction) == 1
    (opened,) = running.server._transactions._open.values()
    snapshot = weakref.ref(opened.snapshot)
    del opened
    fields = {"mode": 1} if rpc == "Commit" else {}
    raw.call(rpc, transaction=transaction, **fields)
    assert running.do(snapshot) is None
    assert running.do(lambda: list(running.calls.stub._snapshots)) == []


def test_a_reset_ends_transactions(raw: RawClient, running: RunningDatastore) -> None:
    """After a reset a transaction from before is not valid."""
    transaction = begin(raw)
    read(raw, transaction)
    running.clear()
    assert commit_error(raw, transaction) == INVALID
    assert running.do(lambda: is_idle(running))


# --- through Cloud NDB ---------------------------------------------------------------


class Tally(ndb.Model):
    """A counter."""

    count = ndb.IntegerProperty(default=0)


def increment(of: Any, amount: int = 1) -> None:
    """Add to a counter."""
    counter = of.get()
    counter.count += amount
    counter.put()


def test_no_update_is_lost(client: ndb.Client) -> None:
    """Eight threads add to one counter, each in its own transactions."""
    with client.context():
        of = Tally(id="x").put()

    def work(_: int) -> None:
        with client.context():
            for _ in range(10):
                ndb.transaction(lambda: increment(of))

    with ThreadPoolExecutor(8) as executor:
        list(executor.map(work, range(8)))
    with client.context():
        assert of.get().count == 80


def test_a_callback_that_fails_changes_nothing(context: Any) -> None:
    """An exception rolls the transaction back and comes out."""
    of = Tally(id="x", count=5).put()

    def fail() -> None:
        increment(of)
        raise LookupError

    with pytest.raises(LookupError):
        ndb.transaction(fail)
    assert of.get().count == 5
    ndb.transaction(lambda: increment(of))
    assert of.get().count == 6


def test_an_aborted_transaction_is_tried_again(context: Any, client: Any) -> None:
    """Cloud NDB runs the callback again after a conflict; the count is right."""
    of = Tally(id="x").put()
    runs: list[int] = []

    def interfere() -> None:
        with client.context():
            other = of.get()
            other.count += 100
            other.put()

    def conflict() -> None:
        counter = of.get()
        if not runs:
            thread = threading.Thread(target=interfere)
            thread.start()
            thread.join()
        runs.append(1)
        counter.count += 1
        counter.put()

    ndb.transaction(conflict)
    assert (len(runs), of.get().count) == (2, 101)


def test_a_deadlock_of_two_threads(client: ndb.Client) -> None:
    """Each has read what the other wants; both come to their end, one after a retry."""
    with client.context():
        keys = [Tally(id="x").put(), Tally(id="y").put()]
    both = threading.Barrier(2)

    def work(first: Any, second: Any) -> int:
        runs: list[int] = []

        def change() -> None:
            counters = [first.get()]
            runs.append(1)
            if len(runs) == 1:
                both.wait(10)
            counters.append(second.get())
            for counter in counters:
                counter.count += 1
            ndb.put_multi(counters)

        with client.context():
            ndb.transaction(change)
        return len(runs)

    with ThreadPoolExecutor(2) as executor:
        runs = list(executor.map(work, keys, reversed(keys)))
    assert sorted(runs) == [1, 2]
    with client.context():
        assert [tally.count for tally in ndb.get_multi(keys)] == [2, 2]


def test_two_transactions_of_one_thread(client: ndb.Client) -> None:
    """Tasklets side by side on one entity both come to their end, one after a retry."""
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


def test_a_write_beside_the_transaction_of_the_same_thread(context: Any) -> None:
    """A write outside of the transaction does not wait for it for ever."""
    of = Tally(id="x").put()
    runs: list[int] = []

    def beside() -> None:
        counter = of.get()
        if not runs:
            runs.append(1)
            independent = ndb.TransactionOptions.INDEPENDENT
            ndb.transaction(lambda: increment(of, 10), propagation=independent)
        counter.count += 1
        counter.put()

    ndb.transaction(beside)
    assert of.get().count == 11


def test_options_of_transactions(context: Any) -> None:
    """read_only, join, on_commit callbacks, and ids without a call in between."""
    of = Tally(id="x").put()
    done: list[str] = []

    @ndb.transactional()
    def inner() -> None:
        increment(of)
        ndb.get_context().call_on_commit(lambda: done.append("inner"))

    @ndb.transactional()
    def outer() -> Any:
        inner()
        assert done == []
        assert ndb.in_transaction()
        return Tally(count=7).put()

    new = outer()
    assert done == ["inner"]
    assert new.get().count == 7
    assert of.get().count == 1
    assert ndb.transaction(lambda: of.get().count, read_only=True) == 1
    assert ndb.transaction(lambda: Tally.get_or_insert("y", count=3)).count == 3
    ndb.transaction(lambda: ndb.delete_multi([of, new]))
    assert Tally.query().fetch(keys_only=True) == [ndb.Key(Tally, "y")]


def test_queries_in_transactions(context: Any) -> None:
    """With an ancestor and without one, a transaction can search."""
    root = ndb.Key("Root", 1)
    Tally(parent=root, count=1).put()
    Tally(count=2).put()

    def add_up() -> int:
        below = sum(counter.count for counter in Tally.query(ancestor=root))
        total = sum(counter.count for counter in Tally.query())
        Tally(id="sum", count=total).put()
        return int(below)

    assert ndb.transaction(add_up) == 1
    assert Tally.get_by_id("sum").count == 3
