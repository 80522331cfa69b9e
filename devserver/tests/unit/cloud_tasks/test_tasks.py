"""The RPCs of tasks: what they answer, and what then runs."""

import asyncio
import datetime
from collections.abc import Awaitable
from typing import Any

import pytest
from google.api_core import exceptions
from google.cloud import tasks_v2, tasks_v2beta3
from google.protobuf import duration_pb2
from google.rpc import code_pb2

from gae_devserver.config.dispatch_yaml import DispatchRule
from gae_devserver.config.queue_yaml import QueueConfig
from tests.helpers.calls import PULL
from tests.helpers.cloud_tasks import (
    FULL,
    LOCATION,
    QUEUE,
    app_task,
    queue_name,
    task_name,
)
from tests.helpers.waiting import settled, until
from tests.unit.cloud_tasks.conftest import Cloud, MakeCloud

pytestmark = pytest.mark.asyncio

DAY = 86400.0
METADATA = tasks_v2.BatchCreateTasksMetadata


def ids(tasks: Any) -> list[str]:
    """Return the identifiers of tasks."""
    return [task.name.rpartition("/")[2] for task in tasks]


async def code_of(call: Awaitable[Any]) -> int:
    """Return the status code of a call that must fail."""
    with pytest.raises(exceptions.GoogleAPICallError) as error:
        await call
    status = error.value.grpc_status_code
    assert status is not None
    return int(status.value[0])


def retries(**fields: Any) -> dict[str, Any]:
    """Return a RetryConfig with backoffs in seconds."""
    return {
        name: value
        if name.startswith("max_") and name.endswith(("attempts", "doublings"))
        else datetime.timedelta(seconds=value)
        for name, value in fields.items()
    }


async def results(operation: Any) -> tuple[Any, dict[int, int]]:
    """Return the response of a batch, and the codes of its errors by their index."""
    assert await operation.done()
    metadata = operation.metadata
    codes = {index: error.code for index, error in metadata.failed_requests.items()}
    failed = operation.operation.HasField("error")
    return None if failed else await operation.result(), codes


# --- create, get, list, delete -------------------------------------------------------


async def test_a_task_is_sent_to_the_app(cloud: Cloud) -> None:
    """Its method, URI, headers, body and deadline arrive; then it is gone."""
    await cloud.create(
        "a",
        app_engine_http_request={
            "http_method": "PUT",
            "relative_uri": "/path?x=1",
            "headers": {"X-Own": "é"},
            "body": b"\x00\xff",
        },
        dispatch_deadline=duration_pb2.Duration(seconds=20),
    )
    await until(lambda: cloud.runner.finished)
    (sent,) = cloud.app.executions
    assert (sent.method, sent.target, sent.body) == ("PUT", "/path?x=1", b"\x00\xff")
    assert (sent.headers["x-own"], sent.deadline) == ("é", 20)
    assert await code_of(cloud.get("a")) == code_pb2.NOT_FOUND


@pytest.mark.parametrize("view", [0, 1, FULL])
async def test_a_task_is_answered_as_it_was_sent(cloud: Cloud, view: int) -> None:
    """Every answer has all fields and the documented defaults."""
    sent = app_task(
        "a",
        app_engine_http_request={
            "http_method": "PATCH",
            "relative_uri": "/x",
            "headers": {"A": "b"},
            "app_engine_routing": {"service": "default", "version": "v7"},
        },
        schedule_time=cloud.at(3600),
        dispatch_deadline=duration_pb2.Duration(seconds=90, nanos=5000),
        retry_config={"max_attempts": 3, "min_backoff": duration_pb2.Duration(nanos=5)},
    )
    request = {"parent": QUEUE, "task": sent, "response_view": view}
    created = await cloud.v2.create_task(request=request)
    expected = tasks_v2.Task(sent)
    expected.view = tasks_v2.Task.View(view or 1)
    expected.create_time = cloud.at(0)
    expected.app_engine_http_request.app_engine_routing.host = "v7.default.localhost"
    assert created == expected
    assert await cloud.get("a", view) == expected
    assert await cloud.listed(response_view=view) == [expected]


@pytest.mark.parametrize("view", [0, 1, FULL])
async def test_only_the_full_view_has_the_body(cloud: Cloud, view: int) -> None:
    """A task without a name, a URI or a method gets them."""
    await cloud.v2.pause_queue(name=QUEUE)
    task = {"app_engine_http_request": {"body": b"text"}}
    created = await cloud.v2.create_task(parent=QUEUE, task=task)
    name = created.name.rpartition("/")[2]
    request = (await cloud.get(name, view)).app_engine_http_request
    assert request.body == (b"text" if view == FULL else b"")
    assert (request.relative_uri, request.http_method) == ("/", 1)
    assert name.isdigit()


async def test_times_follow_the_clock_of_the_server(cloud: Cloud) -> None:
    """The app keeps real time, so each time that it sends or gets is in its own."""
    await cloud.runner.advance(DAY)
    created = await cloud.create("later", schedule_time=cloud.at(60))
    assert created.schedule_time == cloud.at(60)
    assert created.create_time == cloud.at(0)
    await cloud.create("past", schedule_time=cloud.at(-60))
    await until(lambda: cloud.app.names == ["past"])
    await cloud.runner.advance(59)
    assert (await cloud.get("later")).schedule_time == cloud.at(1)
    assert cloud.app.names == ["past"]
    await cloud.runner.advance(1)
    assert cloud.app.names == ["past", "later"]
    assert cloud.app.executions[1].headers["x-appengine-tasketa"] == (
        f"{cloud.clock.start:.6f}"
    )


async def test_attempts_are_counted(cloud: Cloud) -> None:
    """Counts, times and the status of the answer, of the first and the last attempt."""
    cloud.app.answers(503, TimeoutError())
    backoff = retries(min_backoff=2)
    await cloud.create("a", schedule_time=cloud.at(10), retry_config=backoff)
    assert (await cloud.get("a")).dispatch_count == 0
    await cloud.runner.advance(10)
    # the clock is 10 s ahead of the app
    task = await cloud.get("a")
    assert (task.dispatch_count, task.response_count) == (1, 1)
    assert task.first_attempt == tasks_v2.Attempt(dispatch_time=cloud.at(0))
    assert task.last_attempt == tasks_v2.Attempt(
        schedule_time=cloud.at(0),
        dispatch_time=cloud.at(0),
        response_time=cloud.at(0),
        response_status={
            "code": code_pb2.UNAVAILABLE,
            "message": "UNAVAILABLE(14): HTTP status code 503",
        },
    )
    assert task.schedule_time == cloud.at(2)
    await cloud.runner.advance(2)
    task = await cloud.get("a")
    assert (task.dispatch_count, task.response_count) == (2, 1)
    assert task.first_attempt.dispatch_time == cloud.at(-2)
    assert task.last_attempt == tasks_v2.Attempt(
        schedule_time=cloud.at(0), dispatch_time=cloud.at(0)
    )


@pytest.mark.parametrize(
    ("status", "code"),
    [
        (302, code_pb2.UNKNOWN),
        (404, code_pb2.NOT_FOUND),
        (405, code_pb2.FAILED_PRECONDITION),
        (500, code_pb2.INTERNAL),
    ],
)
async def test_the_code_of_an_answer(cloud: Cloud, status: int, code: int) -> None:
    """It is Google's code for the HTTP status of the last attempt."""
    cloud.app.answers(status)
    await cloud.create("a", retry_config=retries(min_backoff=2))
    await cloud.runner.advance(0)
    assert (await cloud.get("a")).last_attempt.response_status.code == code


async def test_lists_have_pages(cloud: Cloud) -> None:
    """Each task is once on the pages, which are in the order of names."""
    await cloud.v2.pause_queue(name=QUEUE)
    for name in "ecadb":
        await cloud.create(name)
    pages = await cloud.v2.list_tasks(request={"parent": QUEUE, "page_size": 2})
    found = []
    async for page in pages.pages:
        found.append(ids(page.tasks))
        # one that is deleted before its page is asked for is left out
        if len(found) == 1:
            await cloud.delete("c")
    assert found == [["a", "b"], ["d", "e"]]


@pytest.mark.parametrize(
    "fields", [{"page_size": -1}, {"page_token": "é"}, {"page_token": "x"}]
)
async def test_pages_that_do_not_exist(cloud: Cloud, fields: dict[str, Any]) -> None:
    """A negative size is refused, and a token that no page had."""
    assert await code_of(cloud.listed(**fields)) == code_pb2.INVALID_ARGUMENT


async def test_a_deleted_task_never_starts(cloud: Cloud) -> None:
    """Neither later nor by RunTask, and its name stays taken."""
    await cloud.create("a", schedule_time=cloud.at(60))
    await cloud.delete("a")
    await cloud.runner.advance(DAY / 2)
    name = task_name("a")
    assert await code_of(cloud.v2.run_task(name=name)) == code_pb2.NOT_FOUND
    assert await code_of(cloud.v2.delete_task(name=name)) == code_pb2.NOT_FOUND
    assert await code_of(cloud.create("a")) == code_pb2.ALREADY_EXISTS
    assert cloud.app.names == []


async def test_the_deletion_of_a_task_that_runs(cloud: Cloud) -> None:
    """It goes on, but it is not repeated when it fails."""
    release = cloud.hold(500)
    await cloud.create("a")
    await until(lambda: cloud.app.running)
    await cloud.delete("a")
    release.set()
    await cloud.runner.advance(DAY)
    assert cloud.app.names == ["a"]
    assert await cloud.count() == 0


# --- what is refused -----------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "code"),
    [
        (task_name("a", queue_name("missing")), code_pb2.NOT_FOUND),
        (task_name("missing"), code_pb2.NOT_FOUND),
        ("projects/p/tasks/a", code_pb2.INVALID_ARGUMENT),
        (task_name("a b"), code_pb2.INVALID_ARGUMENT),
        (task_name("a" * 501), code_pb2.INVALID_ARGUMENT),
        (task_name("a").replace("unit", "other"), code_pb2.PERMISSION_DENIED),
    ],
)
async def test_names_that_have_no_task(cloud: Cloud, name: str, code: int) -> None:
    """A missing queue or task, a name that no task can have, another project."""
    for call in (cloud.v2.get_task, cloud.v2.delete_task, cloud.v2.run_task):
        assert await code_of(call(name=name)) == code


@pytest.mark.parametrize(
    ("task", "code"),
    [
        ({}, code_pb2.INVALID_ARGUMENT),
        (app_task("a", queue_name("other")), code_pb2.INVALID_ARGUMENT),
    ],
    ids=["no target", "another queue"],
)
async def test_tasks_that_cannot_be_created(
    cloud: Cloud, task: dict[str, Any], code: int
) -> None:
    """The error comes at once, and alone also in a batch."""
    assert await code_of(cloud.v2.create_task(parent=QUEUE, task=task)) == code
    requests = [{"task": task}, {"task": app_task("good", schedule_time=cloud.at(9))}]
    created = await cloud.v2.batch_create_tasks(
        request={"parent": QUEUE, "requests": requests}
    )
    response, errors = await results(created)
    assert (ids(response.tasks), errors) == (["good"], {0: code})


@pytest.mark.parametrize(
    ("override", "routing", "uri", "service"),
    [
        ({}, {}, "/a", "default"),
        ({}, {"version": "v7"}, "/a", "default"),
        ({}, {"service": "worker", "version": "v7"}, "/a", "worker"),
        ({}, {}, "/jobs/a?b", "worker"),
        ({}, {"service": "default"}, "/jobs/a", "default"),
        ({"service": "worker", "version": "v7"}, {"service": "default"}, "/", "worker"),
        ({"version": "v7"}, {"service": "worker"}, "/jobs/a", "default"),
    ],
)
async def test_the_service_that_gets_a_task(
    make_cloud: MakeCloud,
    override: dict[str, str],
    routing: dict[str, str],
    uri: str,
    service: str,
) -> None:
    """The queue's, then the task's, then that of dispatch.yaml, then the main one."""
    rule = DispatchRule("*", "/jobs/*", "worker", "dispatch.yaml, line 2")
    cloud = await make_cloud(others=["worker"], rules=[rule])
    parent = queue_name("routed")
    queue = {"name": parent, "app_engine_routing_override": override}
    await cloud.v2.update_queue(queue=queue)
    request = {"relative_uri": uri, "app_engine_routing": routing}
    await cloud.create("a", parent, app_engine_http_request=request)
    await until(lambda: cloud.runner.finished)
    assert [execution.service for execution in cloud.app.executions] == [service]


@pytest.mark.parametrize("of", ["task", "queue"])
async def test_a_task_for_another_service_waits(
    cloud: Cloud, of: str, caplog: pytest.LogCaptureFixture
) -> None:
    """It is created, as in production, but its attempts fail and say why."""
    elsewhere = {"service": "elsewhere", "version": "v2"}
    parent = queue_name("routed")
    override = {"app_engine_routing_override": elsewhere} if of == "queue" else {}
    await cloud.v2.update_queue(queue={"name": parent, **override})
    routing = {} if of == "queue" else {"app_engine_routing": elsewhere}
    await cloud.create("a", parent, app_engine_http_request=routing)
    await until(lambda: cloud.runner.finished)
    assert "elsewhere'" in caplog.text
    assert cloud.app.executions == []
    task = await cloud.get("a", queue=parent)
    assert (task.dispatch_count, task.response_count) == (1, 0)
    await cloud.v2.delete_task(name=task.name)


async def test_tasks_of_a_pull_queue(make_cloud: MakeCloud) -> None:
    """They are neither created nor sent to the app; the SDK may still delete them."""
    cloud = await make_cloud(QueueConfig("pull", mode="pull"))
    parent = queue_name("pull")
    assert await code_of(cloud.create("a", parent)) == code_pb2.FAILED_PRECONDITION
    await cloud.add("a", queue="pull", mode=PULL)
    name = task_name("a", parent)
    assert await code_of(cloud.v2.run_task(name=name)) == code_pb2.FAILED_PRECONDITION
    await settled()
    assert cloud.app.names == []
    await cloud.v2.batch_delete_tasks(request={"parent": parent, "names": [name]})
    assert await cloud.api.names("pull") == []


# --- batches -------------------------------------------------------------------------


async def test_a_batch_creates_what_it_can(cloud: Cloud) -> None:
    """A name that is taken fails alone; the response has the other tasks in order."""
    await cloud.v2.pause_queue(name=QUEUE)
    await cloud.create("taken")
    names = ["a", "taken", "b", "a"]
    requests: list[Any] = [{"task": app_task(name)} for name in names]
    requests[2] |= {"parent": QUEUE, "response_view": FULL}
    operation = await cloud.v2.batch_create_tasks(
        request={"parent": QUEUE, "requests": requests}
    )
    response, errors = await results(operation)
    assert ids(response.tasks) == ["a", "b"]
    assert [task.view for task in response.tasks] == [1, 2]
    assert errors == {1: code_pb2.ALREADY_EXISTS, 3: code_pb2.ALREADY_EXISTS}
    assert operation.metadata.state == METADATA.State.PARTIALLY_SUCCEEDED
    assert ids(await cloud.listed()) == ["a", "b", "taken"]


async def test_a_batch_deletes_what_it_can(cloud: Cloud) -> None:
    """A task that is missing fails alone."""
    await cloud.create("a", schedule_time=cloud.at(9))
    names = [task_name(name) for name in ("missing", "a", "a")]
    request = {"parent": QUEUE, "names": names}
    _, errors = await results(await cloud.v2.batch_delete_tasks(request=request))
    assert errors == {0: code_pb2.NOT_FOUND, 2: code_pb2.NOT_FOUND}
    assert await cloud.listed() == []
    # nothing is left, so now every part fails
    operation = await cloud.v2.batch_delete_tasks(request=request)
    response, errors = await results(operation)
    assert response is None
    assert set(errors) == {0, 1, 2}
    assert operation.operation.error.code == code_pb2.ABORTED


@pytest.mark.parametrize("version", [tasks_v2, tasks_v2beta3])
async def test_a_batch_that_is_repeated(cloud: Cloud, version: Any) -> None:
    """With the same request_id, a batch is carried out once, for each RPC."""
    client = cloud.v2 if version is tasks_v2 else cloud.v2beta3
    requests = [{"task": app_task("a", schedule_time=cloud.at(9))}]
    create = {"parent": QUEUE, "requests": requests, "request_id": "x"}
    first = await client.batch_create_tasks(request=create)
    again = await client.batch_create_tasks(request=create)
    assert again.operation == first.operation
    assert ids((await again.result()).tasks) == ["a"]
    assert isinstance(again.metadata, version.BatchCreateTasksMetadata)
    other = {"parent": QUEUE, "names": [task_name("a")], "request_id": "x"}
    assert await results(await client.batch_delete_tasks(request=other))
    assert await cloud.listed() == []


@pytest.mark.parametrize(
    "names",
    [
        [],
        [task_name("a")] * 1001,
        [task_name("a"), "b"],
        [task_name("a"), task_name("a", queue_name("other"))],
        [task_name("a"), task_name("a").replace("unit", "other")],
    ],
    ids=["none", "too many", "no name", "another queue", "another project"],
)
async def test_a_refused_batch_deletes_nothing(cloud: Cloud, names: list[str]) -> None:
    """An invalid part of a batch is an error of the whole batch."""
    await cloud.create("a", schedule_time=cloud.at(9))
    request = {"parent": QUEUE, "names": names}
    await code_of(cloud.v2.batch_delete_tasks(request=request))
    assert ids(await cloud.listed()) == ["a"]


@pytest.mark.parametrize(
    "requests",
    [
        [],
        [{"task": app_task()}] * 101,
        [{"task": app_task()}, {"parent": queue_name("other"), "task": app_task()}],
    ],
    ids=["none", "too many", "another queue"],
)
async def test_a_refused_batch_creates_nothing(cloud: Cloud, requests: Any) -> None:
    """An invalid part of a batch is an error of the whole batch."""
    await cloud.v2.pause_queue(name=QUEUE)
    request = {"parent": QUEUE, "requests": requests}
    code = await code_of(cloud.v2.batch_create_tasks(request=request))
    assert code == code_pb2.INVALID_ARGUMENT
    assert await cloud.listed() == []


# --- RunTask -------------------------------------------------------------------------


async def test_a_forced_run_happens_once(cloud: Cloud) -> None:
    """It runs before its time on a paused queue; one that runs is not sent again."""
    await cloud.v2.pause_queue(name=QUEUE)
    release = cloud.hold(200)
    await cloud.create("a", schedule_time=cloud.at(3600))
    name = task_name("a")
    task = await cloud.v2.run_task(request={"name": name, "response_view": FULL})
    assert (task.name, task.view) == (name, FULL)
    assert (task.dispatch_count, task.response_count) == (1, 0)
    assert (task.schedule_time, task.first_attempt.dispatch_time) == (
        cloud.at(3600),
        cloud.at(0),
    )
    again = await cloud.v2.run_task(name=name)
    assert again.dispatch_count == 1
    release.set()
    await until(lambda: cloud.runner.finished)
    assert await code_of(cloud.v2.run_task(name=name)) == code_pb2.NOT_FOUND
    await cloud.v2.resume_queue(name=QUEUE)
    await cloud.runner.advance(DAY)
    assert cloud.app.names == ["a"]


async def test_a_forced_run_that_fails(cloud: Cloud) -> None:
    """The task waits for its next attempt as after any failure."""
    cloud.app.answers(500)
    await cloud.create("a", schedule_time=cloud.at(3600))
    await cloud.v2.run_task(name=task_name("a"))
    await until(lambda: cloud.runner.finished)
    task = await cloud.get("a")
    assert (task.dispatch_count, task.schedule_time) == (1, cloud.at(0.1))
    await cloud.runner.advance(DAY)
    assert cloud.app.times == [0, 0.1]


async def test_a_forced_run_ignores_rates_and_limits(make_cloud: MakeCloud) -> None:
    """Neither the queue's rate nor its limit of running tasks holds it up."""
    slow = QueueConfig("slow", rate=0.001, bucket_size=1, max_concurrent_requests=1)
    cloud = await make_cloud(slow, max_running=1)
    parent = queue_name("slow")
    release = cloud.hold(200, 200, 200)
    for name in "abc":
        await cloud.create(name, parent)
    await until(lambda: cloud.app.running)
    for name in "bc":
        await cloud.v2.run_task(name=task_name(name, parent))
    await until(lambda: cloud.app.running == 3)
    release.set()
    await until(lambda: cloud.runner.finished == 3)


async def test_a_slow_http_target_holds_up_no_task_of_the_app(
    make_cloud: MakeCloud,
) -> None:
    """Tasks for the app and those for HTTP targets have a limit each."""
    cloud = await make_cloud(max_running=1)
    release = cloud.hold(200, 200)
    slow = {"http_request": {"url": "http://localhost/slow"}}
    for task in (slow, slow, app_task(), app_task()):
        await cloud.v2.create_task(parent=QUEUE, task=task)
    await cloud.v2.create_queue(parent=LOCATION, queue={"name": queue_name("mine")})
    await cloud.v2.create_task(parent=queue_name("mine"), task=app_task())
    await until(lambda: cloud.app.running == 2)
    await settled()
    assert cloud.app.running == 2
    release.set()
    await until(lambda: cloud.runner.finished == 5)


async def test_a_forced_run_while_the_app_does_not_run(cloud: Cloud) -> None:
    """The answer is an error, and costs the task no attempt."""
    await cloud.create("a", schedule_time=cloud.at(60))
    cloud.app.fail("the app has a syntax error")
    name = task_name("a")
    assert await code_of(cloud.v2.run_task(name=name)) == code_pb2.UNAVAILABLE
    cloud.app.fail(None)
    assert (await cloud.get("a")).dispatch_count == 0
    await cloud.runner.advance(60)
    assert cloud.app.times == [60]


async def test_a_task_that_is_deleted_while_the_app_starts(cloud: Cloud) -> None:
    """RunTask does not send it any more."""
    await cloud.create("a", schedule_time=cloud.at(60))
    cloud.app.started.clear()
    run = asyncio.create_task(code_of(cloud.v2.run_task(name=task_name("a"))))
    await until(lambda: cloud.app.waiting)
    await cloud.delete("a")
    cloud.app.started.set()
    assert await run == code_pb2.NOT_FOUND
    assert cloud.app.names == []


# --- retries -------------------------------------------------------------------------


STEADY = {"min_backoff": 10, "max_backoff": 10}


@pytest.mark.parametrize("of", ["task", "queue"])
@pytest.mark.parametrize(
    ("config", "times"),
    [
        ({"max_attempts": 1, **STEADY}, [0]),
        ({"max_attempts": 3, **STEADY}, [0, 10, 20]),
        ({"max_attempts": -1, "max_retry_duration": 25, **STEADY}, [0, 10, 20, 30]),
        # a task is dropped when both limits are exceeded
        ({"max_attempts": 2, "max_retry_duration": 25, **STEADY}, [0, 10, 20, 30]),
        ({"max_attempts": 5, "max_retry_duration": 15, **STEADY}, [0, 10, 20, 30, 40]),
        (
            {"max_attempts": 7, "min_backoff": 1, "max_backoff": 5, "max_doublings": 2},
            [0, 1, 3, 7, 12, 17, 22],
        ),
    ],
)
async def test_retries(
    cloud: Cloud, of: str, config: dict[str, Any], times: list[float]
) -> None:
    """A task is retried by its own settings, or by those of its queue."""
    cloud.app.answer = lambda execution: 500
    settings = retries(**config)
    parent = queue_name("retrying")
    of_queue = {} if of == "task" else {"retry_config": settings}
    await cloud.v2.update_queue(queue={"name": parent, **of_queue})
    await cloud.create(
        "a", parent, **({"retry_config": settings} if not of_queue else {})
    )
    await cloud.runner.advance(3600)
    assert cloud.app.times == times


async def test_a_task_without_limit_is_retried_for_ever(cloud: Cloud) -> None:
    """With -1 attempts nothing drops it, also if its queue has a limit."""
    cloud.app.answer = lambda execution: 500
    parent = queue_name("limited")
    settings = retries(max_attempts=2, **STEADY)
    await cloud.v2.update_queue(queue={"name": parent, "retry_config": settings})
    await cloud.create("a", parent, retry_config={"max_attempts": -1})
    await cloud.runner.advance(1000)
    assert len(cloud.app.times) == 101


async def test_a_queue_that_is_made_has_the_documented_limit(cloud: Cloud) -> None:
    """Without a setting of its own it makes 100 attempts."""
    cloud.app.answer = lambda execution: 500
    parent = queue_name("made")
    await cloud.v2.update_queue(queue={"name": parent})
    await cloud.create("a", parent)
    await cloud.runner.advance(100 * 3600)
    assert len(cloud.app.times) == 100
