"""The storage: acknowledged changes are there again, however the server ended."""

import asyncio
import logging
import re
from typing import Any

import pytest
from google.appengine.api.taskqueue import taskqueue_service_bytes_pb2 as pb
from google.appengine.datastore import datastore_pb

from gae_devserver.config.queue_yaml import QueueConfig
from gae_devserver.datastore.stub import Datastore
from gae_devserver.storage.storage import TOMBSTONE_SECONDS, StorageError
from gae_devserver.tasks.runner import TaskRunner
from tests.helpers.calls import (
    APP_ID,
    BAD_REQUEST,
    PULL,
    TASK_ERRORS,
    AppRequest,
    add_request,
    application,
    code_of,
    reference,
)
from tests.helpers.clock import StoppedClock
from tests.helpers.entities import entity_of
from tests.helpers.recording_app import App
from tests.helpers.waiting import until
from tests.unit.storage.conftest import Starts

KEY = reference("Counter", "x")
OTHER = reference("Counter", "y")

pytestmark = pytest.mark.asyncio


async def add_result(api: AppRequest, name: str, queue: str = "default") -> int:
    """Add a named task; return the result code."""
    return (await api.bulk_add([add_request(name, queue=queue)]))[0]


# --- what comes back -----------------------------------------------------------------


@pytest.mark.parametrize("explicit_first", [False, True])
async def test_entities_come_back(start: Starts, explicit_first: bool) -> None:
    """Entities are as they were last put, and deleted ones stay deleted.

    A key with an explicit empty namespace is the same key as one without.
    """
    api = start().request()
    spellings = []
    for name in ("deleted", "changed"):
        plain, explicit = reference("Counter", name), reference("Counter", name)
        explicit.name_space = ""
        assert plain.SerializeToString() != explicit.SerializeToString()
        spellings.append((explicit, plain) if explicit_first else (plain, explicit))
    deleted, changed = spellings
    apart = reference("Counter", "changed", namespace="apart")
    await api.put(deleted[0], 1)
    await api.delete(deleted[1])
    await api.put(changed[0], 1)
    await api.put(changed[1], 2)
    await api.put(apart, 4)

    api = start().request()
    assert [await api.get(key) for key in (*deleted, *changed)] == [None, None, 2, 2]
    await api.increment(apart)
    assert await api.get(apart) == 5


async def test_a_named_database_comes_back(start: Starts) -> None:
    """A named database has its entities again, apart from the default database's.

    The mark of a value's place in an array is stored too.
    """
    start()
    store = Datastore(APP_ID, start.storage, "other")
    entity = entity_of(KEY, count=[7])
    entity.property[0].stashed = 1
    store.write([entity], [])
    start.storage.flush()

    api = start().request()
    row = Datastore(APP_ID, start.storage, "other").row("", ("Counter", 1, "x"))
    assert row
    assert row.values("count") == [(1, 7)]
    assert row.record.entity.property[0].stashed == 1
    assert await api.get(KEY) is None


async def test_ids_are_never_allocated_again(start: Starts) -> None:
    """A restart, a reset or a deletion never makes an id available again."""
    seen = set()
    for _ in range(3):
        server = start()
        api = server.request()
        for _ in range(5):
            key = await api.put(reference("Counter", None), 1)
            seen.add(key.path.element[0].id)
            await api.delete(key)
            answer = await api.call("datastore_v3", "AllocateIds", allocation(size=2))
            seen |= {("sequential", answer.start), ("sequential", answer.end)}
        server.services.clear()
        server.services.flush()
    assert len(seen) == 3 * 5 * 3


async def test_ids_that_are_too_large(start: Starts) -> None:
    """No id that an app reserves leads to a counter that cannot be stored."""
    too_many = [{"max": 2**63 - 1}, {"max": 2**52}, {"size": 2**62}]
    api = start().request()
    for fields in too_many:
        allocating = api.call("datastore_v3", "AllocateIds", allocation(**fields))
        assert await code_of(allocating) == BAD_REQUEST
    for number in (2**63 - 1, 2**52 - 1, 2**52 + 1, 7, -1):
        reserve = datastore_pb.AllocateIdsRequest(reserve=[reference("A", number)])
        await api.call("datastore_v3", "AllocateIds", reserve)
        await api.put(reference("A", number), 1)

    api = start().request()
    answer = await api.call("datastore_v3", "AllocateIds", allocation(max=10**12))
    assert (answer.start, answer.end) == (8, 10**12)
    assert (await api.put(reference("A", None), 1)).path.element[0].id > 0


def allocation(**fields: int) -> datastore_pb.AllocateIdsRequest:
    """Return a request for a range of ids."""
    request = datastore_pb.AllocateIdsRequest(**fields)
    request.model_key.CopyFrom(reference("Counter", None))
    return request


async def test_tasks_come_back(start: Starts) -> None:
    """A task that waits keeps its name, payload, ETA, headers and attempts."""
    api = start().request()
    name = await api.add("named", due_in=60, body=b"payload", headers=[("A", "b")])
    chosen = await api.add(due_in=120)
    before = await api.tasks()

    api = start().request()
    assert sorted(await api.names()) == sorted([name, chosen])
    assert await api.tasks() == before
    assert await add_result(api, "named") == TASK_ERRORS.TASK_ALREADY_EXISTS


@pytest.mark.parametrize(
    ("first", "host"),
    [
        (["default", "worker"], "localhost:8081"),
        (["default"], "localhost:8080"),
        (["worker"], "localhost:8080"),
        (["default"], "v1.localhost:8080"),
        (["worker"], "v1.localhost:8080"),
    ],
)
async def test_tasks_keep_their_service(
    start: Starts, first: list[str], host: str
) -> None:
    """A task never gets to another service, whichever services run later.

    Its target may be a version, which a later run does not have.
    """

    def apps(names: list[str]) -> dict[str, Any]:
        main, *others = names
        return {"app": application(service=main), "others": others}

    server = start(**apps(first), version="v1")
    for name in first:
        await server.request(service=name).add(name, headers=[("Host", host)])
    for names in (["worker", "api"], ["default", "worker"], ["default"]):
        queue = start(**apps(names)).services.taskqueue.queues()["default"]
        found = {name: queue.service_of(queue.find(name)) for name in first}
        assert found == {name: name if name in names else "" for name in first}


async def test_tasks_keep_their_order(
    start: Starts, clock: StoppedClock, app: App
) -> None:
    """After a restart, tasks with one ETA run in the order in which they were added."""
    api = start().request()
    for names in (("z", "m", "a"), ("k",)):
        await api.bulk_add([add_request(name, now=clock.start) for name in names])

    taskqueue = start().services.taskqueue
    await TaskRunner(taskqueue, clock, app.dispatch, app).advance(0)
    assert app.names == ["z", "m", "a", "k"]


async def test_tombstones_end(start: Starts) -> None:
    """After about nine days the name is free again, and its row is deleted."""
    api = start(ago=TOMBSTONE_SECONDS + 1).request()
    await api.add("old")
    purge = pb.TaskQueuePurgeQueueRequest(queue_name=b"default")
    await api.call("taskqueue", "PurgeQueue", purge)
    await api.add("waits")

    api = start().request()
    assert start.sql("SELECT name FROM tasks") == [("waits",)]
    assert await api.names() == ["waits"]
    assert await add_result(api, "old") == TASK_ERRORS.OK


async def test_leases_come_back(start: Starts, clock: StoppedClock) -> None:
    """A task that a worker has leased is not leased again after a restart."""
    queue = QueueConfig("pull", mode="pull")
    lease = pb.TaskQueueQueryAndOwnTasksRequest(
        queue_name=b"pull", max_tasks=10, lease_seconds=60
    )
    api = start(queue).request()
    await api.add("leased", queue="pull", mode=PULL, body=b"a", now=0.0)
    clock.offset = 1.0
    leased = await api.call("taskqueue", "QueryAndOwnTasks", lease)
    assert len(leased.task) == 1

    api = start(queue).request()
    again = await api.call("taskqueue", "QueryAndOwnTasks", lease)
    assert len(again.task) == 0
    clock.offset = 62.0
    again = await api.call("taskqueue", "QueryAndOwnTasks", lease)
    assert [task.retry_count for task in again.task] == [2]


async def test_attempts_come_back(start: Starts, clock: StoppedClock, app: App) -> None:
    """A task that failed keeps its retry count; one that succeeded is gone."""
    server = start()
    api = server.request()
    await api.add("fails", now=clock.start)
    await api.add("succeeds", now=clock.start)
    app.answer = lambda execution: 500 if execution.name == "fails" else 200
    runner = TaskRunner(server.services.taskqueue, clock, app.dispatch, app)
    runner.start()
    await until(lambda: runner.finished == 2)
    await runner.stop()

    (task,) = await start().request().tasks()
    assert (task.task_name, task.retry_count) == (b"fails", 1)


async def test_a_removed_queue_keeps_its_tasks(
    start: Starts, caplog: pytest.LogCaptureFixture
) -> None:
    """Tasks of a queue that queue.yaml no longer has wait until it has it again."""
    other = QueueConfig("other")
    await start(other).request().add("waits", queue="other")

    server = start()
    (record,) = [r for r in caplog.records if r.levelno == logging.WARNING]
    assert " other" in record.getMessage()
    assert " 1 tasks " in record.getMessage()
    assert "other" not in server.services.taskqueue.queues()

    assert await start(other).request().names("other") == ["waits"]


async def test_a_full_disk(start: Starts) -> None:
    """A call that could not be stored fails; once there is room again, it is stored."""
    api = start().request()
    await api.add("small")
    ((pages,),) = start.sql("PRAGMA page_count")
    start.sql(f"PRAGMA max_page_count={pages + 2}")
    path = re.escape(str(start.storage.path))
    with pytest.raises(StorageError, match=f"{path} .*: database or disk is full"):
        await api.add("big", body=b"x" * 100_000)
    # Reads fail too: they could show what is not stored.
    with pytest.raises(StorageError, match=path):
        await api.tasks()
    start.sql("PRAGMA max_page_count=1000000")
    assert await api.names() == ["big", "small"]

    assert await start().request().names() == ["big", "small"]


async def test_a_file_that_was_removed(start: Starts) -> None:
    """No call is acknowledged that the next start would not find."""
    api = start().request()
    await api.add("first")
    start.storage.path.unlink()
    with pytest.raises(StorageError, match="removed"):
        await api.add("second")


async def test_a_reset_lasts(start: Starts) -> None:
    """What it deletes stays deleted, even if it could not be stored at first."""
    server = start()
    api = server.request()
    await api.put(KEY, 1)
    await api.add("named")
    start.sql("PRAGMA query_only=ON")
    server.services.clear()
    with pytest.raises(StorageError):
        server.services.flush()
    start.sql("PRAGMA query_only=OFF")
    await api.put(OTHER, 2)

    api = start().request()
    assert (await api.get(KEY), await api.get(OTHER)) == (None, 2)
    assert await add_result(api, "named") == TASK_ERRORS.OK


async def test_a_database_that_was_emptied(start: Starts) -> None:
    """It has no entities after a restart either; other databases keep theirs."""
    server = start()
    api = server.request()
    named = Datastore(APP_ID, start.storage, "named")
    named.write([entity_of(KEY, count=[3])], [])
    await api.put(KEY, 1)
    await api.add("task")
    await api.put(OTHER, 1)
    server.services.datastore.clear()
    await api.put(OTHER, 2)

    api = start().request()
    assert (await api.get(KEY), await api.get(OTHER)) == (None, 2)
    assert await api.names() == ["task"]
    assert start.storage.databases() == ["", "named"]
    Datastore(APP_ID, start.storage, "named").Clear()
    start.storage.flush()
    assert start.storage.databases() == [""]


async def test_a_full_disk_does_not_stop_the_runner(
    start: Starts,
    clock: StoppedClock,
    app: App,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Tasks still run while their end cannot be stored; it is stored later."""
    server = start()
    api = server.request()
    runner = TaskRunner(server.services.taskqueue, clock, app.dispatch, app)
    runner.start()
    await api.add("one", due_in=10, now=clock.start)
    await api.add("two", due_in=20, now=clock.start)
    start.sql("PRAGMA query_only=ON")
    async with asyncio.timeout(10):
        await runner.advance(30)
    assert app.names == ["one", "two"]
    errors = [r.getMessage() for r in caplog.records if r.levelno >= logging.ERROR]
    assert len(errors) == 2
    assert "task one " in errors[0]
    assert str(start.storage.path) in errors[0]
    assert "Traceback" not in caplog.text
    start.sql("PRAGMA query_only=OFF")
    server.services.flush()
    await runner.stop()

    assert await start().request().tasks() == []


async def test_an_api_error_is_not_stored(start: Starts) -> None:
    """A call that is refused changes nothing, in memory and in the storage."""
    api = start().request()
    assert await code_of(api.add(queue="unknown")) == TASK_ERRORS.UNKNOWN_QUEUE

    start()
    assert list(start.storage.tasks()) == []


# --- records of other services -------------------------------------------------------


async def test_records_come_back(start: Starts) -> None:
    """Records are as they were last put; a deleted one, and all after a reset, go."""

    def kept(kind: str) -> list[tuple[str, bytes]]:
        start()
        return list(start.storage.records(kind))

    start()
    for name, record in [("b", b"1"), ("a", b"\xff"), ("gone", b""), ("gone", None)]:
        start.storage.put_record("mail", name, record)
    start.storage.put_record("blob", "a", b"other")
    start.storage.flush()
    assert kept("mail") == [("a", b"\xff"), ("b", b"1")]
    start.storage.put_record("mail", "b", None)
    start.storage.clear()
    assert start.storage.record("mail", "a") is None
    start.storage.put_record("mail", "c", b"2")
    start.storage.flush()
    assert (kept("mail"), kept("blob")) == ([("c", b"2")], [])
    assert start.storage.record("mail", "c") == b"2"
