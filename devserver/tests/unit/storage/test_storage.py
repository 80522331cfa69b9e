"""The storage: what was acknowledged is there again, whatever ended the server."""

import asyncio
import logging
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import grpc
import pytest
from google.appengine.api.taskqueue import taskqueue_service_bytes_pb2 as pb
from google.appengine.datastore import datastore_pb
from google.appengine.runtime import apiproxy_errors
from google.cloud.datastore_v1.types import datastore as datastore_v1

from gae_devserver.config.queue_yaml import QueueConfig
from gae_devserver.datastore_v1.server import DatastoreV1
from gae_devserver.storage.storage import (
    TOMBSTONE_SECONDS,
    StorageError,
)
from gae_devserver.tasks.runner import TaskRunner
from tests.helpers.calls import (
    BAD_REQUEST,
    PROJECT,
    PULL,
    TASK_ERRORS,
    AppRequest,
    Server,
    add_request,
    reference,
)
from tests.helpers.clock import StoppedClock
from tests.helpers.datastore_v1 import entity, key
from tests.helpers.recording_app import App
from tests.helpers.waiting import until

KEY = reference("Counter", "x")
OTHER = reference("Counter", "y")

START = pytest.mark.asyncio


async def names_of(api: AppRequest, queue: str = "default") -> list[str]:
    """Return the names of the tasks that wait in a queue."""
    return [task.task_name.decode() for task in await api.tasks(queue)]


async def add_result(api: AppRequest, name: str, queue: str = "default") -> int:
    """Add a named task; return the result code."""
    return (await api.bulk_add([add_request(name, queue=queue)]))[0]


# --- what comes back -----------------------------------------------------------------


@START
async def test_entities_come_back(start: Callable[..., Server]) -> None:
    """Entities are as they were last put; what was deleted stays so."""
    api = start().request()
    await api.put(KEY, 1)
    await api.put(KEY, 2)
    await api.put(OTHER, 3)
    await api.delete(OTHER)
    await api.put(reference("Counter", "x", namespace="apart"), 4)

    api = start().request()
    assert await api.get(KEY) == 2
    assert await api.get(OTHER) is None
    assert await api.get(reference("Counter", "x", namespace="apart")) == 4


@START
@pytest.mark.parametrize("explicit_first", [False, True])
async def test_a_key_that_is_spelled_in_two_ways(
    start: Callable[..., Server], explicit_first: bool
) -> None:
    """A key that states its namespace to be empty is the same key as without."""
    api = start().request()
    spellings = []
    for name in ("deleted", "changed"):
        plain, explicit = reference("Counter", name), reference("Counter", name)
        explicit.name_space = ""
        assert plain.SerializeToString() != explicit.SerializeToString()
        spellings.append((explicit, plain) if explicit_first else (plain, explicit))
    (deleted, deleted_again), (changed, changed_again) = spellings
    await api.put(deleted, 1)
    await api.delete(deleted_again)
    await api.put(changed, 1)
    await api.put(changed_again, 2)

    api = start().request()
    for spelling in (deleted, deleted_again):
        assert await api.get(spelling) is None
    for spelling in (changed, changed_again):
        assert await api.get(spelling) == 2


@START
async def test_a_named_database_comes_back(start: Callable[..., Server]) -> None:
    """What Cloud NDB has put into another database than the default is there again."""

    async def ask(rpc: str, **fields: Any) -> Any:
        """Make a call on a server that has just been started."""
        services = start().services
        served = DatastoreV1(
            *(services.datastore, services.app_id),
            storage=services._storage,
            before_answer=lambda rpc: services.flush(),
        )
        request_class = getattr(datastore_v1, f"{rpc}Request")
        request = request_class(project_id=PROJECT, **fields)
        try:
            async with grpc.aio.insecure_channel(
                f"127.0.0.1:{await served.start()}"
            ) as channel:
                call: Any = channel.unary_unary(f"/google.datastore.v1.Datastore/{rpc}")
                answer = await call(request_class.serialize(request), timeout=20)
        finally:
            await served.stop()
        return getattr(datastore_v1, f"{rpc}Response").deserialize(answer)

    named = key("Counter", "x", database="other")
    put = {"upsert": entity(named, count=7)}
    await ask("Commit", database_id="other", mode=2, mutations=[put])

    (found,) = (await ask("Lookup", database_id="other", keys=[named])).found
    assert found.entity.properties["count"].integer_value == 7
    assert not (await ask("Lookup", keys=[key("Counter", "x")])).found


@START
async def test_a_restart_does_not_stop_transactions(
    start: Callable[..., Server],
) -> None:
    """Entities out of the storage take part in transactions like any other."""
    api = start().request()
    await api.increment(KEY, 10)

    server = start()
    await asyncio.gather(*(server.request().increment(KEY, 10) for _ in range(5)))
    assert await server.request().get(KEY) == 60


@START
async def test_what_was_not_committed_is_gone(start: Callable[..., Server]) -> None:
    """A transaction that was open when the server ended has done nothing."""
    api = start().request()
    transaction = await api.begin()
    await api.put(KEY, 1, transaction)
    await api.bulk_add([add_request(transaction=transaction)])

    api = start().request()
    assert await api.get(KEY) is None
    assert await api.tasks() == []


@START
async def test_ids_are_never_handed_out_again(start: Callable[..., Server]) -> None:
    """Not after a restart, not after a reset: also not those of deleted entities."""
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


@START
async def test_ids_that_are_too_large(start: Callable[..., Server]) -> None:
    """No id that an app asks for leads to a counter that cannot be stored."""
    too_many = [{"max": 2**63 - 1}, {"max": 2**52}, {"size": 2**62}]
    api = start().request()
    for fields in too_many:
        with pytest.raises(apiproxy_errors.ApplicationError) as error:
            await api.call("datastore_v3", "AllocateIds", allocation(**fields))
        assert error.value.application_error == BAD_REQUEST
    for number in (2**63 - 1, 2**52 - 1, 2**52 + 1, -1):
        reserve = datastore_pb.AllocateIdsRequest(reserve=[reference("A", number)])
        await api.call("datastore_v3", "AllocateIds", reserve)
        await api.put(reference("A", number), 1)

    api = start().request()
    answer = await api.call("datastore_v3", "AllocateIds", allocation(max=10**12))
    assert (answer.start, answer.end) == (1, 10**12)
    assert (await api.put(reference("A", None), 1)).path.element[0].id > 0


def allocation(**fields: int) -> datastore_pb.AllocateIdsRequest:
    """Return a request for ids in a row."""
    request = datastore_pb.AllocateIdsRequest(**fields)
    request.model_key.CopyFrom(reference("Counter", None))
    return request


@START
async def test_tasks_come_back(start: Callable[..., Server]) -> None:
    """A task that waits keeps its name, payload, ETA, headers and attempts."""
    api = start().request()
    name = await api.add("named", due_in=60, body=b"payload", headers=[("A", "b")])
    chosen = await api.add(due_in=120)
    before = await api.tasks()

    api = start().request()
    assert sorted(await names_of(api)) == sorted([name, chosen])
    assert await api.tasks() == before
    assert await add_result(api, "named") == TASK_ERRORS.TASK_ALREADY_EXISTS


@START
async def test_tombstones_come_back(start: Callable[..., Server]) -> None:
    """The name of a task that was deleted or purged stays taken."""
    server = start()
    api = server.request()
    await api.add("deleted")
    await api.add("purged")
    request = pb.TaskQueueDeleteRequest(queue_name=b"default", task_name=[b"deleted"])
    await api.call("taskqueue", "Delete", request)
    purge = pb.TaskQueuePurgeQueueRequest(queue_name=b"default")
    await api.call("taskqueue", "PurgeQueue", purge)

    api = start().request()
    assert await api.tasks() == []
    for name in ("deleted", "purged"):
        assert await add_result(api, name) == TASK_ERRORS.TOMBSTONED_TASK


@START
async def test_tombstones_end(start: Callable[..., Server], folder: Path) -> None:
    """After about nine days the name is free again, and its row gone."""
    api = start().request()
    await api.add("old")
    purge = pb.TaskQueuePurgeQueueRequest(queue_name=b"default")
    await api.call("taskqueue", "PurgeQueue", purge)
    await api.add("waits")
    start().services._storage._db.execute(  # type: ignore[union-attr]
        "UPDATE tasks SET changed = changed - ?", (TOMBSTONE_SECONDS + 1,)
    )

    api = start().request()
    assert await names_of(api) == ["waits"]
    assert await add_result(api, "old") == TASK_ERRORS.OK


@START
async def test_chosen_names_do_not_repeat(start: Callable[..., Server]) -> None:
    """The server draws names: they never begin anew with a start."""
    names = []
    for _ in range(3):
        api = start().request()
        names += [await api.add() for _ in range(10)]
    assert len(set(names)) == 30
    assert all(len(name) >= 19 for name in names)


@START
async def test_leases_come_back(
    start: Callable[..., Server], clock: StoppedClock
) -> None:
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


@START
async def test_attempts_come_back(
    start: Callable[..., Server], clock: StoppedClock, app: App
) -> None:
    """A task that has failed goes on counting its attempts, and done is done."""
    server = start()
    api = server.request()
    await api.add("fails", now=clock.start)
    await api.add("succeeds", now=clock.start)
    app.answer = lambda execution: 500 if execution.name == "fails" else 200
    runner = TaskRunner(server.services.taskqueue, clock, app.dispatch, app.ready)
    runner.start()
    await until(lambda: runner.finished == 2)
    await runner.stop()

    server = start()
    (task,) = await server.request().tasks()
    assert (task.task_name, task.retry_count) == (b"fails", 1)
    runner = TaskRunner(server.services.taskqueue, clock, app.dispatch, app.ready)
    runner.start()
    app.executions.clear()
    await runner.advance(10)
    await runner.stop()
    assert app.executions[0].headers["x-appengine-taskretrycount"] == "1"
    assert set(app.names) == {"fails"}


@START
async def test_the_clock_comes_back(
    start: Callable[..., Server], clock: StoppedClock
) -> None:
    """Tasks were due by a clock that was advanced, so it stays advanced."""
    server = start()
    clock.offset = 3600.0
    await server.request().add("any")
    clock.offset = 0.0

    start()
    assert clock.offset == 3600.0


@START
async def test_a_queue_that_is_gone_keeps_its_tasks(
    start: Callable[..., Server], caplog: pytest.LogCaptureFixture
) -> None:
    """Tasks of a queue that queue.yaml names no more wait until it does again."""
    other = QueueConfig("other")
    await start(other).request().add("waits", queue="other")

    server = start()
    (record,) = [r for r in caplog.records if r.levelno == logging.WARNING]
    assert " other" in record.getMessage()
    assert " 1 tasks " in record.getMessage()
    assert "other" not in server.services.taskqueue.queues()

    assert await names_of(start(other).request(), "other") == ["waits"]


@START
async def test_a_reset_lasts(start: Callable[..., Server]) -> None:
    """What a reset has dropped does not come back with the next start."""
    server = start()
    api = server.request()
    await api.put(KEY, 1)
    await api.add("named")
    server.services.clear()
    server.services.flush()

    api = start().request()
    assert await api.get(KEY) is None
    assert await add_result(api, "named") == TASK_ERRORS.OK


@START
async def test_a_full_disk(start: Callable[..., Server]) -> None:
    """A call that could not be stored fails; when there is room again, all is."""
    server = start()
    api, storage = server.request(), server.services._storage
    assert storage is not None
    await api.add("small")
    ((pages,),) = storage._db.execute("PRAGMA page_count")
    storage._db.execute(f"PRAGMA max_page_count={pages + 2}")
    full = f"{re.escape(str(storage.path))} .*: database or disk is full"
    with pytest.raises(StorageError, match=full):
        await api.add("big", body=b"x" * 100_000)
    # also what would change nothing: it could tell what is not stored
    with pytest.raises(StorageError, match=full):
        await api.tasks()
    storage._db.execute("PRAGMA max_page_count=1000000")
    assert await names_of(api) == ["big", "small"]

    assert await names_of(start().request()) == ["big", "small"]


@START
async def test_a_reset_on_a_full_disk(start: Callable[..., Server]) -> None:
    """A reset that could not be stored is stored when there is room again."""
    server = start()
    api, storage = server.request(), server.services._storage
    assert storage is not None
    await api.put(KEY, 1)
    storage._db.execute("PRAGMA query_only=ON")
    server.services.clear()
    with pytest.raises(StorageError):
        server.services.flush()
    storage._db.execute("PRAGMA query_only=OFF")
    await api.put(OTHER, 2)

    api = start().request()
    assert await api.get(KEY) is None
    assert await api.get(OTHER) == 2


@START
async def test_a_full_disk_does_not_stop_the_runner(
    start: Callable[..., Server],
    clock: StoppedClock,
    app: App,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Tasks go on while their end cannot be stored; it is stored later."""
    server = start()
    api, storage = server.request(), server.services._storage
    assert storage is not None
    runner = TaskRunner(server.services.taskqueue, clock, app.dispatch, app.ready)
    runner.start()
    await api.add("one", due_in=10, now=clock.start)
    await api.add("two", due_in=20, now=clock.start)
    storage._db.execute("PRAGMA query_only=ON")
    async with asyncio.timeout(10):
        await runner.advance(30)
    assert app.names == ["one", "two"]
    errors = [r.getMessage() for r in caplog.records if r.levelno >= logging.ERROR]
    assert len(errors) == 2
    assert "task one " in errors[0]
    assert str(storage.path) in errors[0]
    assert "Traceback" not in caplog.text
    storage._db.execute("PRAGMA query_only=OFF")
    server.services.flush()
    await runner.stop()

    assert await start().request().tasks() == []


@START
async def test_an_api_error_is_not_stored(start: Callable[..., Server]) -> None:
    """A call that is refused changes nothing, in memory and in the storage."""
    api = start().request()
    with pytest.raises(apiproxy_errors.ApplicationError):
        await api.add("named", queue="unknown")

    assert list(start().services._storage.tasks()) == []  # type: ignore[union-attr]
