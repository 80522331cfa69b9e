"""Reads as of a time in the past, in every way that a request can choose one."""

# the models of a library without types
# mypy: disallow-subclassing-any=False

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import grpc
import pytest
from google.appengine.ext import ndb as bundled_ndb
from google.cloud import datastore

from tests.helpers.calls import PROJECT
from tests.helpers.datastore_v1 import (
    EQUAL,
    RawClient,
    entity,
    ids,
    key,
    query_fields,
    where,
)
from tests.helpers.running_datastore import RunningDatastore

Status = grpc.StatusCode
KEY = key("A", 1)
MICROSECOND = timedelta(microseconds=1)


def time_of(commit: Any) -> datetime:
    """Return the time of a commit, which is the version of what it has changed."""
    version = commit.mutation_results[0].version
    return datetime.fromtimestamp(0, UTC) + version * MICROSECOND


class Past:
    """Reads as of one time, in one of the ways that a request can choose it."""

    def __init__(self, raw: RawClient, way: str, moment: Any) -> None:
        self._raw = raw
        self.options: Any = {"read_time": moment}
        read_only = {"read_only": self.options}
        if way == "transaction":
            began = raw.call("BeginTransaction", transaction_options=read_only)
            self.options = {"transaction": began.transaction}
        elif way == "new_transaction":
            self.options = {"new_transaction": read_only}

    def lookup(self, *keys: Any) -> Any:
        """Get entities."""
        return self._raw.call("Lookup", keys=keys, read_options=self.options)

    def numbers(self) -> dict[Any, int]:
        """Return "n" of the entities 1 to 4, by their ids."""
        found = self.lookup(*(key("A", number) for number in range(1, 5))).found
        return {
            result.entity.key.path[-1].id: result.entity.properties["n"].integer_value
            for result in found
        }

    def run(self, kind: str, **query: Any) -> list[Any]:
        """Return the ids that a query finds."""
        return ids(self._raw.run(kind, read_options=self.options, **query))

    def count(self) -> int:
        """Count the entities."""
        query = {"kind": [{"name": "A"}]}
        asked = {"nested_query": query, "aggregations": [{"count": {}, "alias": "n"}]}
        answer = self._raw.call(
            "RunAggregationQuery", aggregation_query=asked, read_options=self.options
        )
        (result,) = answer.batch.aggregation_results
        return int(result.aggregate_properties["n"].integer_value)


@pytest.mark.parametrize("way", ["read_time", "transaction", "new_transaction"])
def test_every_read_sees_the_entities_as_they_were(raw: RawClient, way: str) -> None:
    """The times of a commit, and of each response, show just what was there then."""
    commits = [
        raw.upsert(entity(KEY, n=1), entity(key("A", 2), n=1)),
        raw.upsert(entity(KEY, n=2), entity(key("A", 3), n=2)),
        raw.commit({"delete": key("A", 2)}, {"upsert": entity(key("B", 1), m=3)}),
        raw.upsert(entity(key("A", 4), n=4)),
        raw.commit({"delete": KEY}),
    ]
    states = [{1: 1, 2: 1}, {1: 2, 2: 1, 3: 2}, {1: 2, 3: 2}]
    states += [{1: 2, 3: 2, 4: 4}, {3: 2, 4: 4}]
    before: dict[Any, int] = {}
    for commit, state in zip(commits, states, strict=True):
        moment = time_of(commit)
        for at, expected in ((moment - MICROSECOND, before), (moment, state)):
            past = Past(raw, way, at)
            assert past.numbers() == expected
            assert past.run("A") == sorted(expected)
            assert past.run("A", filter=where("n", EQUAL, 2)) == [
                number for number, n in expected.items() if n == 2
            ]
            assert past.count() == len(expected)
            assert ("A" in past.run("__kind__")) == bool(expected)
        before = state
    past = Past(raw, way, time_of(commits[2]))
    assert past.run("__kind__") == ["A", "B"]
    assert past.run("__property__") == ["n", "m"]
    assert Past(raw, way, time_of(commits[1])).run("__kind__") == ["A"]


def test_an_entity_has_the_version_and_the_times_that_it_had(
    raw: RawClient, running: RunningDatastore
) -> None:
    """Changes and a deletion by either API leave them as they were before."""

    class A(bundled_ndb.Model):
        _use_cache = _use_memcache = False
        n = bundled_ndb.IntegerProperty()

    def bundled(call: Callable[[], Any]) -> Callable[[], None]:
        def change() -> None:
            with running.bundled():
                call()

        return change

    changes: list[Callable[[], Any]] = [
        lambda: raw.upsert(entity(KEY, n=1)),
        bundled(lambda: A(id=1, n=2).put()),
        lambda: raw.upsert(entity(KEY, n=3)),
        bundled(lambda: A(id=1, n=4).put()),
        bundled(lambda: bundled_ndb.Key(A, 1).delete()),
        bundled(lambda: A(id=1, n=6).put()),
        lambda: raw.commit({"delete": KEY}),
        lambda: raw.upsert(entity(KEY, n=8)),
    ]
    answers = []
    for change in changes:
        change()
        answers.append(raw.call("Lookup", keys=[KEY]))
    for answer in answers:
        again = Past(raw, "read_time", answer.read_time).lookup(KEY)
        assert again == answer
    found = [list(answer.found) for answer in answers]
    assert [len(results) for results in found] == [1, 1, 1, 1, 0, 1, 0, 1]
    times = [results[0].create_time for results in found if results]
    assert times[0] == times[1] == times[2] == times[3] < times[4] < times[5]
    versions = [results[0].version for results in found if results]
    assert versions == sorted(set(versions))
    for results in found:
        for result in results:
            exact = Past(raw, "read_time", result.update_time).lookup(KEY)
            assert exact.found == [result]


def test_a_missing_entity_has_the_version_of_the_read(raw: RawClient) -> None:
    """It is between the versions of the commits before and after."""
    first, second = (
        raw.upsert(entity(key("B", 1), n=n)).mutation_results[0] for n in (1, 2)
    )
    moment = second.update_time - MICROSECOND
    answer = Past(raw, "read_time", moment).lookup(KEY)
    assert first.version <= answer.missing[0].version < second.version
    assert answer.read_time == moment


def test_the_time_of_any_response_shows_the_same_again(
    raw: RawClient, running: RunningDatastore
) -> None:
    """Commits right after a read are later, even those that are ahead of the clock."""
    store = running.calls.stub
    reads = []
    for n in range(100):
        raw.upsert(entity(KEY, n=n))
        reads.append(raw.run("A"))
        running.do(lambda: [store.write([], []) for _ in range(500)])
    for n, batch in enumerate(reads):
        past = Past(raw, "read_time", batch.read_time)
        assert past.numbers() == {1: n}
        assert raw.run("A", read_options=past.options) == batch


def test_a_query_goes_on_as_of_the_same_time(raw: RawClient) -> None:
    """All batches of a query with a read time show one state, whatever changes."""
    raw.upsert(*(entity(key("A", n), n=1) for n in range(1, 11)))
    moment = time_of(raw.upsert(entity(key("A", 11), n=1)))
    found: list[Any] = []
    cursor = b""
    while len(found) < 11:
        raw.commit({"delete": key("A", 11 - len(found))})
        raw.upsert(entity(key("A", 100 + len(found)), n=1))
        batch = raw.run(
            "A", limit=3, start_cursor=cursor, read_options={"read_time": moment}
        )
        found += ids(batch)
        cursor = batch.end_cursor
    assert found == list(range(1, 12))


def test_a_named_database_has_a_past_of_its_own(raw: RawClient) -> None:
    """A time shows each database as it was then; before its first use it was empty."""
    own = key("A", 1, database="apart")
    fields = {"database_id": "apart", "keys": [own]}
    start = raw.call("Lookup", keys=[KEY]).read_time
    first = time_of(raw.upsert(entity(own, n=1), database_id="apart"))
    raw.upsert(entity(own, n=2), database_id="apart")
    raw.upsert(entity(KEY, n=3))
    answer = raw.call("Lookup", read_options={"read_time": first}, **fields)
    assert answer.found[0].entity == entity(own, n=1)
    assert not Past(raw, "read_time", first).numbers()
    assert raw.call("Lookup", read_options={"read_time": start}, **fields).missing


# --- times that cannot be read -------------------------------------------------------


@pytest.mark.parametrize(
    ("moment", "code", "text"),
    [
        ({"seconds": 2**33}, Status.INVALID_ARGUMENT, "cannot be in the future"),
        ({"nanos": -1}, Status.INVALID_ARGUMENT, "past epoch"),
        ({"seconds": -1}, Status.INVALID_ARGUMENT, "past epoch"),
        ({"seconds": 1, "nanos": 1}, Status.INVALID_ARGUMENT, "microseconds precision"),
        ({"seconds": 1, "nanos": 1000}, Status.FAILED_PRECONDITION, "is too old"),
        (3601, Status.FAILED_PRECONDITION, "is too old"),
    ],
    ids=str,
)
def test_a_time_that_cannot_be_read_is_refused(
    raw: RawClient, moment: Any, code: Status, text: str
) -> None:
    """Wherever a request may have one, with the service's code and words."""
    if isinstance(moment, int):
        moment = datetime.now(UTC) - timedelta(seconds=moment)
    options = {"read_time": moment}
    begin = {"transaction_options": {"read_only": options}}
    new = {"new_transaction": {"read_only": options}}
    asked = {"nested_query": {"kind": [{"name": "A"}]}, "aggregations": [{"count": {}}]}
    for rpc, fields in (
        ("Lookup", {"keys": [KEY], "read_options": options}),
        ("Lookup", {"keys": [KEY], "read_options": new}),
        ("RunQuery", query_fields("A", read_options=options)),
        ("RunAggregationQuery", {"aggregation_query": asked, "read_options": options}),
        ("BeginTransaction", begin),
    ):
        got, words = raw.error(rpc, **fields)
        assert (got, text in words) == (code, True), (rpc, words)


def test_before_its_start_a_server_without_storage_was_empty() -> None:
    """A new server answers a read as of 59 minutes ago: nothing was there."""
    running = RunningDatastore()
    raw = RawClient(running.host)
    try:
        raw.upsert(entity(KEY, n=1))
        moment = datetime.now(UTC) - timedelta(minutes=59)
        assert not Past(raw, "read_time", moment).numbers()
        own = key("A", 1, database="apart")
        fields = {"database_id": "apart", "read_options": {"read_time": moment}}
        assert raw.call("Lookup", keys=[own], **fields).missing
    finally:
        raw.close()
        running.stop()


def test_nothing_from_before_a_reset_can_be_read(
    raw: RawClient, running: RunningDatastore
) -> None:
    """After a reset, a time before it is too old, in every database."""
    own = key("A", 1, database="apart")
    raw.upsert(entity(own, n=1), database_id="apart")
    options = {"read_time": time_of(raw.upsert(entity(KEY, n=1)))}
    running.clear()
    for target in (KEY, own):
        where = {"database_id": target.partition_id.database_id}
        fields = {"keys": [target], "read_options": options, **where}
        assert raw.error("Lookup", **fields)[0] == Status.FAILED_PRECONDITION
        now = raw.call("Lookup", keys=[target], **where)
        again = {**fields, "read_options": {"read_time": now.read_time}}
        assert raw.call("Lookup", **again).missing


# --- clients -------------------------------------------------------------------------


def test_the_python_client_reads_the_past(
    running: RunningDatastore, empty: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each read of google-cloud-datastore takes a read_time, to the microsecond."""
    monkeypatch.setenv("DATASTORE_EMULATOR_HOST", running.host)
    library: Any = datastore  # it has no types
    client = library.Client(project=PROJECT)
    thing = library.Entity(client.key("A", 1))
    thing["n"] = 1
    client.put(thing)
    moment = datetime.now(UTC)
    thing["n"] = 2
    client.put(thing)
    assert client.get(thing.key, read_time=moment) == {"n": 1}
    query = client.query(kind="A")
    assert list(query.fetch(read_time=moment)) == [{"n": 1}]
    total = client.aggregation_query(query).sum("n", alias="total")
    ((result,),) = total.fetch(read_time=moment)
    assert result.value == 1
    with client.transaction(read_only=True, read_time=moment):
        assert client.get(thing.key) == {"n": 1}
        assert list(client.query(kind="A").fetch()) == [{"n": 1}]
    assert client.get(thing.key) == {"n": 2}
