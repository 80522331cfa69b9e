"""The task queue's store: what the SDK's stub does, and what is fixed in it."""

import logging
import time
from collections.abc import Callable
from typing import Any

import pytest
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
    app_config,
    reference,
    retry_parameters,
)
from tests.helpers.clock import StoppedClock

pytestmark = pytest.mark.asyncio

THIRTY_DAYS = 30 * 86400.0


async def code_of(work: Any) -> int:
    """Return the code of the ApplicationError that comes."""
    with pytest.raises(apiproxy_errors.ApplicationError) as error:
        await work
    code: int = error.value.application_error
    return code


async def statistics(api: AppRequest, queue: str = "default") -> Message:
    """Return the statistics of a queue."""
    request = pb.TaskQueueFetchQueueStatsRequest(queue_name=[queue.encode()])
    return (await api.call("taskqueue", "FetchQueueStats", request)).queuestats[0]


async def names(api: AppRequest, queue: str = "default") -> list[str]:
    """Return the names of the tasks of a queue."""
    return [task.task_name.decode() for task in await api.tasks(queue)]


async def purge(api: AppRequest, queue: str = "default") -> None:
    """Purge a queue, as the app can."""
    request = pb.TaskQueuePurgeQueueRequest(queue_name=queue.encode())
    await api.call("taskqueue", "PurgeQueue", request)


async def delete(api: AppRequest, *names: str, **fields: Any) -> list[int]:
    """Delete tasks of the default queue."""
    request = pb.TaskQueueDeleteRequest(
        queue_name=b"default", task_name=[name.encode() for name in names], **fields
    )
    return list((await api.call("taskqueue", "Delete", request)).result)


async def force_run(api: AppRequest, name: str, **fields: Any) -> int:
    """Make a task of the default queue due now."""
    request = pb.TaskQueueForceRunRequest(
        queue_name=b"default", task_name=name.encode(), **fields
    )
    result: int = (await api.call("taskqueue", "ForceRun", request)).result
    return result


# --- names ---------------------------------------------------------------------------


async def test_names_are_as_in_production(make_server: Callable[..., Server]) -> None:
    """20 digits at random: the stub counts from task1 anew with every start."""
    names: list[str] = []
    for _ in range(2):
        api = make_server().request()
        names += [await api.add() for _ in range(50)]
    assert len(set(names)) == 100
    assert all(name.isdecimal() and len(name) == 20 for name in names)


async def test_a_name_is_used_once(api: AppRequest) -> None:
    """A queued name exists already; one that was deleted or purged is a tombstone."""
    await api.add("a")
    await api.add("b")
    assert await code_of(api.add("a")) == TASK_ERRORS.TASK_ALREADY_EXISTS
    assert await delete(api, "a") == [TASK_ERRORS.OK]
    assert await code_of(api.add("a")) == TASK_ERRORS.TOMBSTONED_TASK
    await purge(api)
    assert await code_of(api.add("b")) == TASK_ERRORS.TOMBSTONED_TASK
    assert await delete(api, "a") == [TASK_ERRORS.TOMBSTONED_TASK]
    assert await delete(api, "never") == [TASK_ERRORS.UNKNOWN_TASK]


@pytest.mark.parametrize("name", ["a b", "a\n", "\x1b[31m", "é", "a/b", "x" * 501])
async def test_a_name_that_is_none(api: AppRequest, name: str) -> None:
    """It is refused here too, as by production: not every client is the SDK's."""
    assert await code_of(api.add(name)) == TASK_ERRORS.INVALID_TASK_NAME
    bulk = api.bulk_add([add_request("good"), add_request(name)])
    assert await code_of(bulk) == TASK_ERRORS.INVALID_TASK_NAME
    assert await api.tasks() == []
    await api.add("x" * 500)


async def test_one_name_may_be_in_two_queues(
    make_server: Callable[..., Server],
) -> None:
    """Names belong to their queue."""
    api = make_server(QueueConfig("other")).request()
    assert await api.add("a") == await api.add("a", queue="other")


async def test_of_many_the_bad_one_is_named(api: AppRequest) -> None:
    """A bulk add says of each task what became of it."""
    await api.add("b")
    results = await api.bulk_add(add_request(name) for name in "abc")
    assert results == [0, TASK_ERRORS.TASK_ALREADY_EXISTS, 0]
    assert [task.task_name for task in await api.tasks()] == [b"a", b"b", b"c"]


async def test_an_unknown_queue_is_refused(api: AppRequest) -> None:
    """Also to be asked or purged, and no queue comes into being by it."""
    unknown = TASK_ERRORS.UNKNOWN_QUEUE
    assert await code_of(api.add(queue="nosuch")) == unknown
    with pytest.raises(apiproxy_errors.ApplicationError, match="no queue 'nosuch'"):
        await api.add(queue="nosuch")
    assert await code_of(api.tasks("nosuch")) == unknown
    assert await code_of(purge(api, "nosuch")) == unknown
    assert list(api.services.taskqueue.queues()) == ["default"]


# --- time ----------------------------------------------------------------------------


async def test_an_eta_is_the_apps_time(api: AppRequest, clock: StoppedClock) -> None:
    """What the clock was advanced by is added to the ETA that the app computed."""
    clock.offset = 1000.0
    await api.add("a", due_in=60, now=clock.start)
    await api.bulk_add([add_request("b", due_in=70, now=clock.start)])
    etas = [task.eta_usec for task in await api.tasks()]
    assert etas == [int((clock.start + 1000 + more) * 1e6) for more in (60, 70)]


async def test_the_eta_of_a_transactional_task_is_moved_once(
    api: AppRequest, clock: StoppedClock
) -> None:
    """The task passes the queue twice: when it is added, and at the commit."""
    clock.offset = 1000.0
    transaction = await api.begin()
    await api.bulk_add(
        [add_request(due_in=60, now=clock.start, transaction=transaction)]
    )
    await api.commit(transaction)
    (task,) = await api.tasks()
    assert task.eta_usec == int((clock.start + 1060) * 1e6)


@pytest.mark.parametrize("offset", [0.0, 90 * 86400.0])
async def test_an_eta_is_thirty_days_ahead_at_most(
    api: AppRequest, clock: StoppedClock, offset: float
) -> None:
    """Counted from the app's now, also after an advance."""
    clock.offset = offset
    await api.add("a", due_in=THIRTY_DAYS, now=clock.start)
    late = api.add("b", due_in=THIRTY_DAYS + 1, now=clock.start)
    assert await code_of(late) == TASK_ERRORS.INVALID_ETA


async def test_a_forced_run_makes_a_task_due_now(
    api: AppRequest, clock: StoppedClock
) -> None:
    """Its ETA becomes now (the stub says 1970), and one that has passed stays."""
    await api.add("later", due_in=60, now=clock.start)
    await api.add("due", due_in=-60, now=clock.start)
    assert await force_run(api, "later") == TASK_ERRORS.OK
    assert await force_run(api, "due") == TASK_ERRORS.OK
    due, later = await api.tasks()
    assert later.eta_usec == int(clock.start * 1e6)
    assert due.eta_usec == int((clock.start - 60) * 1e6)
    assert (later.retry_count, due.retry_count) == (0, 0)


async def test_a_forced_run_of_an_unknown_task_runs_no_other(
    api: AppRequest, clock: StoppedClock
) -> None:
    """The stub takes the next task in the order of names instead."""
    await api.add("b", due_in=60, now=clock.start)
    assert await force_run(api, "a") == TASK_ERRORS.UNKNOWN_TASK
    (task,) = await api.tasks()
    assert task.eta_usec == int((clock.start + 60) * 1e6)


# --- random answers ------------------------------------------------------------------


async def test_a_call_with_an_app_id_does_not_fail_at_random(
    server: Server, clock: StoppedClock
) -> None:
    """The stub fails every twentieth such call to test its callers, or does nothing."""
    api = server.request()
    names = [f"task-{number}" for number in range(200)]
    await api.bulk_add(add_request(name, due_in=60, now=clock.start) for name in names)
    for name in names:
        assert await force_run(api, name, app_id=APP_ID.encode()) == TASK_ERRORS.OK
    now = int(clock.start * 1e6)
    assert {task.eta_usec for task in await api.tasks()} == {now}
    assert await delete(api, *names, app_id=APP_ID.encode()) == [0] * 200
    assert await api.tasks() == []


async def test_a_task_with_the_own_app_id_is_queued(api: AppRequest) -> None:
    """It goes to the app's queue, not to one that the stub makes for that id."""
    await api.add("a", app_id=APP_ID.encode())
    await api.bulk_add([add_request("b", app_id=APP_ID.encode())])
    assert len(await api.tasks()) == 2


@pytest.mark.parametrize("app_id", [b"dev~other", b"unit", b"\xff", b""])
async def test_the_queues_of_other_apps_are_refused(
    api: AppRequest, app_id: bytes
) -> None:
    """Only this app's are here; the stub makes them up, with random tasks."""
    denied = TASK_ERRORS.PERMISSION_DENIED
    assert await code_of(api.add("a", app_id=app_id)) == denied
    assert await code_of(force_run(api, "a", app_id=app_id)) == denied
    bulk = api.bulk_add([add_request("a"), add_request("b", app_id=app_id)])
    assert await code_of(bulk) == denied
    assert await api.tasks() == []


async def test_statistics_are_counted(server: Server, clock: StoppedClock) -> None:
    """The stub draws them by lot; here the same question has the same answer."""
    api, queue = server.request(), server.services.taskqueue.queues()["default"]
    await api.add("a", due_in=5, now=clock.start)
    await api.add("b", due_in=60, now=clock.start)
    queue.running.add("a")
    queue.count_finished(clock.now())
    clock.offset = 30.0
    for _ in range(3):
        queue.count_finished(clock.now())
    clock.offset = 75.0
    stats = await statistics(api)
    assert stats == await statistics(api)
    assert stats.num_tasks == 2
    assert stats.oldest_eta_usec == int((clock.start + 5) * 1e6)
    assert stats.scanner_info.executed_last_minute == 3
    assert stats.scanner_info.executed_last_hour == 4
    assert stats.scanner_info.requests_in_flight == 1
    assert stats.scanner_info.enforced_rate == 0
    clock.offset = 3000.0 + 3600.0
    stats = await statistics(api)
    assert stats.scanner_info.executed_last_hour == 0


async def test_statistics_keep_an_hour_at_most(
    server: Server, clock: StoppedClock
) -> None:
    """What is counted does not grow with the number of tasks that ever ran."""
    queue = server.services.taskqueue.queues()["default"]
    for second in range(0, 3 * 3600, 60):
        for _ in range(10):
            queue.count_finished(clock.start + second)
    assert queue.finished_since(0) <= 10 * 61
    assert len(queue._finished) <= 61


async def test_statistics_of_an_empty_and_an_unknown_queue(api: AppRequest) -> None:
    """No tasks, and no oldest one."""
    for queue in ("default", "nosuch"):
        stats = await statistics(api, queue)
        assert (stats.num_tasks, stats.oldest_eta_usec) == (0, -1)


# --- memory --------------------------------------------------------------------------


async def test_nothing_but_the_name_is_left_of_a_task(server: Server) -> None:
    """The stub keeps a copy of every request for ever, with its payload."""
    api, queue = server.request(), server.services.taskqueue.queues()["default"]
    for number in range(10):
        await api.add(f"task-{number}", body=b"x" * 1000)
    assert len(queue.task_add_request_pbs) == 10
    await delete(api, *(f"task-{number}" for number in range(5)))
    assert len(queue.task_add_request_pbs) == 5
    queue.Delete("task-5")
    assert len(queue.task_add_request_pbs) == 4
    await purge(api)
    assert not queue.task_add_request_pbs


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
async def test_what_a_commit_could_not_refuse_is_refused_before(
    make_server: Callable[..., Server], fields: dict[str, Any], error: int
) -> None:
    """A transaction does not take a task that its queue would not take."""
    api = make_server(QueueConfig("pull", mode="pull")).request()
    transaction = await api.begin()
    assert await code_of(api.add(transaction=transaction, **fields)) == error

    kept = await api.add(transaction=transaction)
    await api.put(reference("Counter", "x"), 1, transaction)
    await api.commit(transaction)
    assert await names(api) == [kept]
    assert await names(api, "pull") == []
    assert await api.get(reference("Counter", "x")) == 1


async def test_a_queue_that_goes_before_the_commit(
    make_server: Callable[..., Server], caplog: pytest.LogCaptureFixture
) -> None:
    """The task was acknowledged: it waits until queue.yaml names its queue again."""
    other, default = QueueConfig("other"), QueueConfig("default")
    server = make_server(other)
    api = server.request()
    transaction = await api.begin()
    await api.put(reference("Counter", "x"), 1, transaction)
    added = [await api.add(queue="other", transaction=transaction) for _ in range(2)]
    server.services.update_queues([default])
    await api.commit(transaction)
    assert await api.get(reference("Counter", "x")) == 1
    assert " other" in caplog.records[-1].getMessage()
    assert " 2 tasks " in caplog.records[-1].getMessage()
    assert list(server.services.taskqueue.queues()) == ["default"]

    server.services.update_queues([default, other])
    assert sorted(await names(api, "other")) == sorted(added)


async def test_a_queue_that_changes_before_the_commit(
    make_server: Callable[..., Server],
) -> None:
    """A task that was acknowledged is in the queue, also in one that pushes no more."""
    server = make_server(QueueConfig("other"))
    api = server.request()
    transaction = await api.begin()
    added = await api.add(queue="other", transaction=transaction)
    pulled = QueueConfig("other", mode="pull")
    server.services.update_queues([QueueConfig("default"), pulled])
    await api.commit(transaction)
    assert await names(api, "other") == [added]


# --- targets -------------------------------------------------------------------------


@pytest.mark.parametrize(
    "host",
    [
        f"api.{HOSTNAME}",
        f"v7.{HOSTNAME}",
        f"v7.api.{HOSTNAME}",
        f"v8.api.{HOSTNAME}",
        f"0.v7.api.{HOSTNAME}",
        HOSTNAME,
        "www.example.com",
    ],
)
async def test_a_target_of_this_service_is_accepted(
    make_server: Callable[..., Server], host: str
) -> None:
    """Service, version, version.service, instance.version.service, or none of them."""
    server = make_server(config=app_config(service="api"), version="v7")
    api = server.request()
    await api.add("a", headers=[("Host", host)])
    (task,) = await api.tasks()
    assert [header.value for header in task.header] == [host.encode()]


@pytest.mark.parametrize("target", ["other", "v7.other", "0.v7.other", "api.v8"])
@pytest.mark.parametrize("header", ["Host", "host"])
async def test_a_target_of_another_service_is_refused(
    make_server: Callable[..., Server], target: str, header: str
) -> None:
    """The error names the target and the service and version that are here."""
    server = make_server(config=app_config(service="api"), version="version7")
    api = server.request()
    host = f"{target}.{HOSTNAME}"
    with pytest.raises(apiproxy_errors.ApplicationError) as error:
        await api.add("a", headers=[(header, host)])
    assert error.value.application_error == TASK_ERRORS.INVALID_REQUEST
    assert repr(target) in error.value.error_detail
    assert "service 'api', in version 'version7'" in error.value.error_detail
    bulk = api.bulk_add([add_request("b"), add_request("c", headers=[(header, host)])])
    assert await code_of(bulk) == TASK_ERRORS.INVALID_REQUEST
    assert await api.tasks() == []


async def test_the_target_of_a_queue_counts(make_server: Callable[..., Server]) -> None:
    """queue.yaml may name a target for all tasks of a queue."""
    server = make_server(
        QueueConfig("here", target="default"), QueueConfig("there", target="other")
    )
    api = server.request()
    await api.add("a", queue="here")
    assert await code_of(api.add("a", queue="there")) == TASK_ERRORS.INVALID_REQUEST
    own = [("Host", f"default.{HOSTNAME}")]
    await api.add("b", queue="there", headers=own)


# --- queue.yaml ----------------------------------------------------------------------


async def test_queue_yaml_is_what_the_app_sees(
    make_server: Callable[..., Server],
) -> None:
    """Rate, bucket size, mode, concurrency and retry parameters can be asked for."""
    server = make_server(
        QueueConfig(
            "fast",
            rate=20.0,
            rate_text="20/s",
            bucket_size=40,
            max_concurrent_requests=10,
            retry_parameters=retry_parameters(
                task_retry_limit=7, min_backoff_seconds=2
            ),
        ),
        QueueConfig("pull", mode="pull"),
    )
    request = pb.TaskQueueFetchQueuesRequest(max_rows=10)
    answer = await server.request().call("taskqueue", "FetchQueues", request)
    queues = {queue.queue_name: queue for queue in answer.queue}
    assert set(queues) == {b"default", b"fast", b"pull"}
    fast = queues[b"fast"]
    assert fast.bucket_refill_per_second == 20.0
    assert fast.user_specified_rate == "20/s"
    assert fast.bucket_capacity == 40
    assert fast.max_concurrent_requests == 10
    assert fast.retry_parameters.retry_limit == 7
    assert fast.retry_parameters.min_backoff_sec == 2
    assert queues[b"pull"].mode == PULL


async def test_a_changed_queue_yaml_keeps_the_tasks_of_a_queue_that_stays(
    make_server: Callable[..., Server], caplog: pytest.LogCaptureFixture
) -> None:
    """The queue has its new settings, and its tasks, names and pause."""
    server = make_server(QueueConfig("work", rate=1.0, rate_text="1/s"))
    api = server.request()
    await api.add("a", queue="work")
    server.services.taskqueue.queues()["work"].paused = True
    server.services.update_queues(
        [
            QueueConfig("default"),
            QueueConfig("work", rate=5.0, rate_text="5/s", bucket_size=9),
            QueueConfig("new"),
        ]
    )
    queue = server.services.taskqueue.queues()["work"]
    assert (queue.config.rate, queue.bucket_capacity, queue.paused) == (5.0, 9, True)
    assert [task.task_name for task in await api.tasks("work")] == [b"a"]
    assert await code_of(api.add("a", queue="work")) == TASK_ERRORS.TASK_ALREADY_EXISTS
    await api.add("b", queue="new")
    assert not [r for r in caplog.records if r.levelno >= logging.WARNING]


async def test_a_queue_that_is_gone_says_how_many_tasks_wait_for_it(
    make_server: Callable[..., Server], caplog: pytest.LogCaptureFixture
) -> None:
    """Its tasks stay for when it is back; an empty queue goes without a word."""
    server = make_server(QueueConfig("work"), QueueConfig("empty"))
    api = server.request()
    await api.bulk_add(add_request(queue="work") for _ in range(3))
    server.services.update_queues([QueueConfig("default")])
    assert list(server.services.taskqueue.queues()) == ["default"]
    assert await code_of(api.add(queue="work")) == TASK_ERRORS.UNKNOWN_QUEUE
    (record,) = [r for r in caplog.records if r.levelno >= logging.WARNING]
    assert record.name == "gae_devserver.task"
    assert " work" in record.getMessage()
    assert " 3 tasks " in record.getMessage()
    server.services.update_queues([QueueConfig("default"), QueueConfig("work")])
    assert len(await api.tasks("work")) == 3


@pytest.mark.parametrize("method", ["UpdateQueue", "DeleteQueue", "PauseQueue"])
async def test_the_app_cannot_change_queues(api: AppRequest, method: str) -> None:
    """Queues come from queue.yaml alone; the answer says so, and all stay."""
    name = {"queue_name": b"default"}
    message = {
        "UpdateQueue": lambda: pb.TaskQueueUpdateQueueRequest(
            bucket_refill_per_second=1, bucket_capacity=1, **name
        ),
        "DeleteQueue": lambda: pb.TaskQueueDeleteQueueRequest(
            app_id=APP_ID.encode(), **name
        ),
        "PauseQueue": lambda: pb.TaskQueuePauseQueueRequest(
            app_id=APP_ID.encode(), pause=True, **name
        ),
    }[method]()
    denied = TASK_ERRORS.PERMISSION_DENIED
    assert await code_of(api.call("taskqueue", method, message)) == denied
    queue = api.services.taskqueue.queues()["default"]
    assert (queue.paused, queue.config) == (False, QueueConfig("default"))


# --- pull queues ---------------------------------------------------------------------


async def lease(api: AppRequest, count: int, seconds: float, **fields: Any) -> Any:
    """Lease tasks of the pull queue."""
    request = pb.TaskQueueQueryAndOwnTasksRequest(
        queue_name=b"pull", max_tasks=count, lease_seconds=seconds, **fields
    )
    return list((await api.call("taskqueue", "QueryAndOwnTasks", request)).task)


async def test_tasks_of_a_pull_queue_are_leased(
    make_server: Callable[..., Server], clock: StoppedClock
) -> None:
    """A leased task is nobody else's until the lease ends, by the server's clock."""
    api = make_server(QueueConfig("pull", mode="pull")).request()
    for name in "ab":
        await api.add(name, queue="pull", mode=PULL, body=name.encode(), now=0.0)
    clock.offset = 1.0
    assert [task.body for task in await lease(api, 10, 60)] == [b"a", b"b"]
    assert await lease(api, 10, 60) == []
    clock.offset = 50.0
    assert await lease(api, 10, 60) == []
    clock.offset = 62.0
    again = await lease(api, 10, 60)
    assert [task.retry_count for task in again] == [2, 2]


async def test_a_lease_can_be_extended_and_the_task_deleted(
    make_server: Callable[..., Server], clock: StoppedClock
) -> None:
    """The extended lease counts from now; a deleted task is not leased again."""
    api = make_server(QueueConfig("pull", mode="pull")).request()
    await api.add("a", queue="pull", mode=PULL, now=0.0)
    clock.offset = 1.0
    (task,) = await lease(api, 1, 60)
    extension = pb.TaskQueueModifyTaskLeaseRequest(
        queue_name=b"pull", task_name=b"a", eta_usec=task.eta_usec, lease_seconds=600
    )
    answer = await api.call("taskqueue", "ModifyTaskLease", extension)
    assert answer.updated_eta_usec == int((clock.start + 601) * 1e6)
    clock.offset = 100.0
    assert await lease(api, 1, 60) == []
    request = pb.TaskQueueDeleteRequest(queue_name=b"pull", task_name=[b"a"])
    await api.call("taskqueue", "Delete", request)
    clock.offset = 10000.0
    assert await lease(api, 1, 60) == []


async def test_tasks_are_leased_by_tag(make_server: Callable[..., Server]) -> None:
    """Only those with the tag."""
    api = make_server(QueueConfig("pull", mode="pull")).request()
    for name, tag in (("a", b"x"), ("b", b"y"), ("c", b"x")):
        await api.add(name, queue="pull", mode=PULL, tag=tag, now=0.0)
    found = await lease(api, 10, 60, group_by_tag=True, tag=b"x")
    assert [task.task_name for task in found] == [b"a", b"c"]


async def test_push_and_pull_are_not_mixed(make_server: Callable[..., Server]) -> None:
    """A push task in a pull queue is refused, and the other way round."""
    api = make_server(QueueConfig("pull", mode="pull")).request()
    invalid = TASK_ERRORS.INVALID_QUEUE_MODE
    assert await code_of(api.add(queue="pull")) == invalid
    assert await code_of(api.add(mode=PULL)) == invalid


# --- the log -------------------------------------------------------------------------


async def test_an_added_task_is_logged(
    api: AppRequest, clock: StoppedClock, caplog: pytest.LogCaptureFixture
) -> None:
    """Name, queue, function or URL, and when it is due."""
    caplog.set_level(logging.INFO, "gae_devserver.task")
    body = deferred.serialize(time.monotonic)
    await api.add("a", due_in=60, now=clock.start, body=body)
    await api.add("b", now=clock.start, url=b"/work?x=1", body=b"not a pickle")
    await api.add("c", now=clock.start, url=b"/\x1b[2J\n10:00:00 task")
    assert [record.getMessage() for record in caplog.records] == [
        "task a on default: time.monotonic, due in 60 s",
        "task b on default: /work?x=1, due now",
        r"task c on default: /\x1b[2J\n10:00:00 task, due now",
    ]


# --- reset ---------------------------------------------------------------------------


async def test_clear_forgets_tasks_names_and_pauses(
    make_server: Callable[..., Server],
) -> None:
    """The queues themselves stay."""
    server = make_server(QueueConfig("work"))
    api, queues = server.request(), server.services.taskqueue.queues()
    await api.add("a")
    await api.add("b", queue="work")
    await delete(api, "a")
    queues["work"].paused = True
    queues["work"].count_finished(server.clock.now())
    server.services.taskqueue.clear()
    assert list(queues) == ["default", "work"]
    assert not queues["work"].paused
    assert (await statistics(api, "work")).scanner_info.executed_last_hour == 0
    assert await api.tasks() == await api.tasks("work") == []
    assert await api.add("a") == "a"
