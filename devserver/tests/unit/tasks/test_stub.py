"""The task queue's API: what the SDK's stub does, and what is fixed in it."""

import logging
import time
from collections.abc import Callable
from typing import Any

import pytest
import pytest_asyncio
from google.appengine.api import queueinfo
from google.appengine.api.taskqueue import taskqueue_service_bytes_pb2 as pb
from google.appengine.ext import deferred
from google.appengine.runtime import apiproxy_errors

from gae_devserver.config.queue_yaml import QueueConfig
from tests.helpers.calls import (
    APP_ID,
    HOSTNAME,
    PULL,
    TASK_ERRORS,
    AppRequest,
    Message,
    Server,
    add_request,
    application,
    code_of,
    reference,
)
from tests.helpers.clock import StoppedClock

pytestmark = pytest.mark.asyncio

DEFAULT, OTHER = QueueConfig("default"), QueueConfig("other")
THIRTY_DAYS = 30 * 86400.0


@pytest_asyncio.fixture
async def server(make_server: Callable[..., Server]) -> Server:
    """Services with the queues default, other and pull."""
    return make_server(OTHER, QueueConfig("pull", mode="pull"))


async def call(
    api: AppRequest, method: str, queue: str = "default", **fields: Any
) -> Message:
    """Make a call about one queue."""
    request_class = getattr(pb, f"TaskQueue{method}Request")
    request = request_class(queue_name=queue.encode(), **fields)
    return await api.call("taskqueue", method, request)


async def delete(api: AppRequest, *names: str, **fields: Any) -> list[int]:
    """Delete tasks of the default queue; return the result of each."""
    encoded = [name.encode() for name in names]
    return list((await call(api, "Delete", task_name=encoded, **fields)).result)


async def force_run(api: AppRequest, name: str, **fields: Any) -> int:
    """Make a task of the default queue due now."""
    return (await call(api, "ForceRun", task_name=name.encode(), **fields)).result


async def lease(api: AppRequest, **fields: Any) -> list[Message]:
    """Lease tasks of the pull queue for a minute."""
    fields = {"max_tasks": 10, "lease_seconds": 60, **fields}
    return list((await call(api, "QueryAndOwnTasks", "pull", **fields)).task)


# --- names ---------------------------------------------------------------------------


async def test_names_are_as_in_production(make_server: Callable[..., Server]) -> None:
    """Names are 20 random digits; the SDK's stub restarts at task1 with every start."""
    chosen = [await make_server().request().add() for _ in range(10)]
    assert len(set(chosen)) == 10
    assert all(name.isdecimal() and len(name) == 20 for name in chosen)


async def test_a_delete_has_a_result_for_each_task(api: AppRequest) -> None:
    """A name that was used is not unknown, whatever became of its task."""
    for name in "ab":
        await api.add(name)
    await delete(api, "a")
    assert await delete(api, "a", "b", "never") == [
        TASK_ERRORS.TOMBSTONED_TASK,
        TASK_ERRORS.OK,
        TASK_ERRORS.UNKNOWN_TASK,
    ]


@pytest.mark.parametrize("ends", ["deleted", "purged"])
async def test_a_name_is_free_again(
    server: Server, clock: StoppedClock, ends: str
) -> None:
    """After about nine days by the server's clock, also if queue.yaml was reloaded."""
    api = server.request()
    await api.add("a")
    await (delete(api, "a") if ends == "deleted" else call(api, "PurgeQueue"))
    clock.offset = 8 * 86400.0
    assert await code_of(api.add("a")) == TASK_ERRORS.TOMBSTONED_TASK
    server.services.apply(application(OTHER))
    clock.offset = 12 * 86400.0
    await api.add("a")
    assert await api.names() == ["a"]


@pytest.mark.parametrize("name", ["a b", "a\n", "\x1b[31m", "é", "a/b", "x" * 501])
async def test_an_invalid_name_is_refused(api: AppRequest, name: str) -> None:
    """The server refuses it too, as production does: not every client is the SDK's."""
    assert await code_of(api.add(name)) == TASK_ERRORS.INVALID_TASK_NAME
    bulk = api.bulk_add([add_request("good"), add_request(name)])
    assert await code_of(bulk) == TASK_ERRORS.INVALID_TASK_NAME
    assert await api.tasks() == []
    await api.add("x" * 500)


@pytest.mark.parametrize("url", [b"http://localhost:8080/", b"", b"work"])
async def test_a_task_is_for_the_app(api: AppRequest, url: bytes) -> None:
    """A URL with a host is refused: only Cloud Tasks sends to other servers."""
    assert await code_of(api.add(url=url)) == TASK_ERRORS.INVALID_URL


async def test_a_bulk_add_has_a_result_for_each_task(api: AppRequest) -> None:
    """The others are added if one of them exists already."""
    await api.add("b")
    results = await api.bulk_add(add_request(name) for name in "abc")
    assert results == [0, TASK_ERRORS.TASK_ALREADY_EXISTS, 0]
    assert await api.names() == ["a", "b", "c"]


@pytest.mark.parametrize("name", ["no", "__cron"])
async def test_an_unknown_queue_is_refused(api: AppRequest, name: str) -> None:
    """Adds, queries and purges fail on an unknown queue, and do not create it.

    The SDK's stub would create the queue of cron jobs, whose tasks apps believe.
    """
    with pytest.raises(apiproxy_errors.ApplicationError, match=f"'{name}'"):
        await api.add(queue=name)
    for work in (api.add(queue=name), api.tasks(name), call(api, "PurgeQueue", name)):
        assert await code_of(work) == TASK_ERRORS.UNKNOWN_QUEUE
    assert list(api.services.taskqueue.queues()) == ["default", "other", "pull"]


async def test_no_request_is_kept_besides_its_task(server: Server) -> None:
    """The SDK's stub keeps a copy of every request forever, with its payload."""
    api, queue = server.request(), server.services.taskqueue.queues()["default"]
    for name in "abc":
        await api.add(name)
    await delete(api, "a")
    queue.Delete("b")
    assert [task.task_name for task in await api.tasks()] == [b"c"]
    assert not queue.task_add_request_pbs


# --- time ----------------------------------------------------------------------------


@pytest.mark.parametrize("transactional", [False, True])
async def test_an_eta_is_the_apps_time(
    api: AppRequest, clock: StoppedClock, transactional: bool
) -> None:
    """The clock's offset is added once to the ETA, also by an add and its commit."""
    clock.offset = 1000.0
    fields = {"transaction": await api.begin()} if transactional else {}
    await api.add(due_in=60, now=clock.start, **fields)
    await api.bulk_add([add_request(due_in=70, now=clock.start, **fields)])
    for transaction in fields.values():
        await api.commit(transaction)
    etas = sorted(task.eta_usec for task in await api.tasks())
    assert etas == [int((clock.start + 1000 + more) * 1e6) for more in (60, 70)]


@pytest.mark.parametrize("offset", [0.0, 90 * 86400.0])
async def test_an_eta_is_thirty_days_ahead_at_most(
    api: AppRequest, clock: StoppedClock, offset: float
) -> None:
    """The limit counts from the app's time, also after an advance."""
    clock.offset = offset
    await api.add("a", due_in=THIRTY_DAYS, now=clock.start)
    late = api.add("b", due_in=THIRTY_DAYS + 1, now=clock.start)
    assert await code_of(late) == TASK_ERRORS.INVALID_ETA


async def test_a_forced_run_makes_a_task_due_now(
    api: AppRequest, clock: StoppedClock
) -> None:
    """A forced run makes the ETA now (the SDK's stub: 1970); an earlier ETA stays."""
    await api.add("later", due_in=60, now=clock.start)
    await api.add("past", due_in=-60, now=clock.start)
    assert await force_run(api, "later") == TASK_ERRORS.OK
    assert await force_run(api, "past") == TASK_ERRORS.OK
    assert [(task.eta_usec, task.retry_count) for task in await api.tasks()] == [
        (int(clock.start * 1e6), 0),
        (int((clock.start - 60) * 1e6), 0),
    ]


async def test_a_forced_run_of_an_unknown_task_runs_no_other(
    api: AppRequest, clock: StoppedClock
) -> None:
    """The stub would run the next task in the order of names instead."""
    await api.add("b", due_in=60, now=clock.start)
    assert await force_run(api, "a") == TASK_ERRORS.UNKNOWN_TASK
    (task,) = await api.tasks()
    assert task.eta_usec == int((clock.start + 60) * 1e6)


# --- app ids -------------------------------------------------------------------------


async def test_a_call_with_an_app_id_does_not_fail_at_random(
    api: AppRequest, clock: StoppedClock
) -> None:
    """The stub fails one in twenty of them, and has other queues for that id."""
    fields: dict[str, Any] = {"app_id": APP_ID.encode()}
    added = [f"task-{number}" for number in range(200)]
    await api.bulk_add(
        add_request(name, due_in=60, now=clock.start, **fields) for name in added[1:]
    )
    await api.add(added[0], **fields)
    for name in added:
        assert await force_run(api, name, **fields) == TASK_ERRORS.OK
    now = int(clock.start * 1e6)
    assert [task.eta_usec for task in await api.tasks()] == [now] * 200
    assert await delete(api, *added, **fields) == [TASK_ERRORS.OK] * 200
    assert await api.tasks() == []


@pytest.mark.parametrize("app_id", [b"dev~other", b"unit", b"\xff", b""])
async def test_the_queues_of_other_apps_are_refused(
    api: AppRequest, app_id: bytes
) -> None:
    """Only this app has queues; the stub invents others, with random tasks."""
    for work in (
        api.add("a", app_id=app_id),
        force_run(api, "a", app_id=app_id),
        api.bulk_add([add_request("a"), add_request("b", app_id=app_id)]),
    ):
        assert await code_of(work) == TASK_ERRORS.PERMISSION_DENIED
    assert await api.tasks() == []


@pytest.mark.parametrize(
    ("method", "fields"),
    [
        ("UpdateQueue", {"bucket_refill_per_second": 1, "bucket_capacity": 1}),
        ("DeleteQueue", {"app_id": APP_ID.encode()}),
        ("PauseQueue", {"app_id": APP_ID.encode(), "pause": True}),
    ],
)
async def test_the_app_cannot_change_queues(
    api: AppRequest, method: str, fields: dict[str, Any]
) -> None:
    """Queues come from queue.yaml alone."""
    work = call(api, method, **fields)
    assert await code_of(work) == TASK_ERRORS.PERMISSION_DENIED
    queue = api.services.taskqueue.queues()["default"]
    assert (queue.paused, queue.config) == (False, DEFAULT)


# --- transactions --------------------------------------------------------------------


@pytest.mark.parametrize(
    ("fields", "error"),
    [
        ({"queue": "pull"}, TASK_ERRORS.INVALID_QUEUE_MODE),
        ({"mode": PULL}, TASK_ERRORS.INVALID_QUEUE_MODE),
        ({"queue": "unknown"}, TASK_ERRORS.UNKNOWN_QUEUE),
        ({"name": "named"}, TASK_ERRORS.INVALID_TASK_NAME),
    ],
)
async def test_a_transaction_refuses_an_invalid_task(
    api: AppRequest, fields: dict[str, Any], error: int
) -> None:
    """The add fails, as the commit can no longer refuse the task."""
    transaction = await api.begin()
    assert await code_of(api.add(transaction=transaction, **fields)) == error

    kept = await api.add(transaction=transaction)
    await api.put(reference("Counter", "x"), 1, transaction)
    await api.commit(transaction)
    assert await api.names() == [kept]
    assert await api.names("pull") == []
    assert await api.get(reference("Counter", "x")) == 1


async def test_a_queue_that_changes_before_the_commit(server: Server) -> None:
    """The task was accepted, so it is added even if the queue is now a pull queue."""
    api = server.request()
    transaction = await api.begin()
    added = await api.add(queue="other", transaction=transaction)
    server.services.taskqueue.update([DEFAULT, QueueConfig("other", mode="pull")])
    await api.commit(transaction)
    assert await api.names("other") == [added]


# --- targets -------------------------------------------------------------------------


@pytest.mark.parametrize("target", ["other", "v7.other", "0.v7.other", "api.v8"])
async def test_a_target_of_another_service_is_refused(
    make_server: Callable[..., Server], target: str
) -> None:
    """The error names the target, and the services that run."""
    server = make_server(app=application(service="api"), others=["worker"])
    api = server.request()
    headers = [("host", f"{target}.{HOSTNAME}")]
    with pytest.raises(apiproxy_errors.ApplicationError) as error:
        await api.add("a", headers=headers)
    assert error.value.application_error == TASK_ERRORS.INVALID_REQUEST
    for fact in (target, "api", "worker"):
        assert fact in error.value.error_detail
    bulk = api.bulk_add([add_request("b"), add_request("c", headers=headers)])
    assert await code_of(bulk) == TASK_ERRORS.INVALID_REQUEST
    assert await api.tasks() == []


async def test_the_target_of_a_queue_counts(make_server: Callable[..., Server]) -> None:
    """queue.yaml may set a target for all tasks of a queue, which replaces theirs."""
    api = make_server(
        QueueConfig("here", target="default"), QueueConfig("there", target="other")
    ).request()
    await api.add("a", queue="here")
    with pytest.raises(apiproxy_errors.ApplicationError, match=r"there.*'other'"):
        await api.add("a", queue="there")
    headers = [("Host", f"default.{HOSTNAME}")]
    refused = api.add("b", queue="there", headers=headers)
    assert await code_of(refused) == TASK_ERRORS.INVALID_REQUEST


# --- queue.yaml ----------------------------------------------------------------------


async def test_queue_yaml_is_what_the_app_sees(
    make_server: Callable[..., Server],
) -> None:
    """FetchQueues returns rate, bucket size, mode, concurrency and retry parameters."""
    fast = QueueConfig(
        "fast",
        rate=20.0,
        rate_text="20/s",
        bucket_size=40,
        max_concurrent_requests=10,
        retry_parameters=queueinfo.RetryParameters(task_retry_limit=7),
    )
    api = make_server(fast, QueueConfig("pull", mode="pull")).request()
    request = pb.TaskQueueFetchQueuesRequest(max_rows=10)
    answer = await api.call("taskqueue", "FetchQueues", request)
    _, shown, pull = sorted(answer.queue, key=lambda queue: queue.queue_name)
    assert shown.bucket_refill_per_second == 20.0
    assert shown.user_specified_rate == "20/s"
    assert shown.bucket_capacity == 40
    assert shown.max_concurrent_requests == 10
    assert shown.retry_parameters.retry_limit == 7
    assert pull.mode == PULL


async def test_a_changed_queue_yaml_keeps_the_tasks_of_a_queue_that_stays(
    server: Server, caplog: pytest.LogCaptureFixture
) -> None:
    """The queue has its new settings, and keeps its tasks, names and pause."""
    api = server.request()
    await api.add("a", queue="other")
    server.services.taskqueue.queues()["other"].paused = True
    changed = QueueConfig("other", rate=5.0, rate_text="5/s", bucket_size=9)
    server.services.taskqueue.update([DEFAULT, changed, QueueConfig("new")])
    queue = server.services.taskqueue.queues()["other"]
    assert (queue.config, queue.bucket_capacity, queue.paused) == (changed, 9, True)
    assert await api.names("other") == ["a"]
    assert await code_of(api.add("a", queue="other")) == TASK_ERRORS.TASK_ALREADY_EXISTS
    await api.add("b", queue="new")
    assert not [r for r in caplog.records if r.levelno >= logging.WARNING]


@pytest.mark.parametrize("transactional", [False, True])
async def test_a_removed_queue_keeps_its_tasks(
    server: Server, caplog: pytest.LogCaptureFixture, transactional: bool
) -> None:
    """Tasks return with their queue, and a warning has their number.

    A task in a transaction was accepted, so it waits even if the commit comes later.
    """
    api = server.request()
    fields = {"transaction": await api.begin()} if transactional else {}
    added = [await api.add(queue="other", **fields) for _ in range(2)]
    server.services.taskqueue.update([DEFAULT])
    for transaction in fields.values():
        await api.commit(transaction)
    assert list(server.services.taskqueue.queues()) == ["default"]
    assert await code_of(api.add(queue="other")) == TASK_ERRORS.UNKNOWN_QUEUE
    assert " other" in caplog.records[-1].getMessage()
    assert " 2 tasks " in caplog.records[-1].getMessage()
    server.services.taskqueue.update([DEFAULT, OTHER])
    assert sorted(await api.names("other")) == sorted(added)


# --- pull queues ---------------------------------------------------------------------


async def test_a_lease_can_be_extended_and_the_task_deleted(
    api: AppRequest, clock: StoppedClock
) -> None:
    """The new lease counts from now; a deleted task is not leased again."""
    await api.add("a", queue="pull", mode=PULL, now=0.0)
    clock.offset = 1.0
    (task,) = await lease(api)
    extension = {"task_name": b"a", "eta_usec": task.eta_usec, "lease_seconds": 600}
    answer = await call(api, "ModifyTaskLease", "pull", **extension)
    assert answer.updated_eta_usec == int((clock.start + 601) * 1e6)
    clock.offset = 100.0
    assert await lease(api) == []
    await call(api, "Delete", "pull", task_name=[b"a"])
    clock.offset = 10000.0
    assert await lease(api) == []


async def test_tasks_are_leased_by_tag(api: AppRequest) -> None:
    """A lease has the tasks of the given tag, or of the tag of the oldest task."""
    for name, tag in (("a", b"x"), ("b", b"y"), ("c", b"x"), ("d", b"z"), ("e", b"y")):
        await api.add(name, queue="pull", mode=PULL, tag=tag, now=0.0)
    for expected, fields in (([b"a", b"c"], {"tag": b"x"}), ([b"b", b"e"], {})):
        found = await lease(api, group_by_tag=True, **fields)
        assert [task.task_name for task in found] == expected


async def test_push_and_pull_are_not_mixed(api: AppRequest) -> None:
    """A push task in a pull queue is refused, and the other way round."""
    for fields in ({"queue": "pull"}, {"mode": PULL}):
        assert await code_of(api.add(**fields)) == TASK_ERRORS.INVALID_QUEUE_MODE
    with pytest.raises(apiproxy_errors.ApplicationError, match=r"'pull' .*'PULL'"):
        await api.add(queue="pull")


# --- the rest ------------------------------------------------------------------------


@pytest.mark.parametrize("queue", ["default", "nosuch"])
async def test_statistics_without_tasks(api: AppRequest, queue: str) -> None:
    """An empty and an unknown queue have no tasks, and no oldest one."""
    request = pb.TaskQueueFetchQueueStatsRequest(queue_name=[queue.encode()])
    answer = await api.call("taskqueue", "FetchQueueStats", request)
    (stats,) = answer.queuestats
    assert (stats.num_tasks, stats.oldest_eta_usec) == (0, -1)


async def test_an_added_task_is_logged(
    api: AppRequest, clock: StoppedClock, caplog: pytest.LogCaptureFixture
) -> None:
    """The line has name, queue, function or URL, and when the task is due."""
    caplog.set_level(logging.INFO, "gae_devserver.task")
    body = deferred.serialize(time.monotonic)
    await api.add("a", due_in=60, now=clock.start, body=body)
    await api.add("b", now=clock.start, url=b"/work?x=1", body=b"not a pickle")
    await api.add("c", now=clock.start, url=b"/\x1b[2J\n10:00:00 task")
    facts = [
        ("task a ", "default", "time.monotonic", "60 s"),
        ("task b ", "default", "/work?x=1", "now"),
        ("task c ", "default", r"/\x1b[2J\n10:00:00 task", "now"),
    ]
    for expected, record in zip(facts, caplog.records, strict=True):
        assert all(fact in record.getMessage() for fact in expected)
