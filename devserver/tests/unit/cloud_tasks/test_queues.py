"""The RPCs of queues: what they answer, and how their tasks run."""

import math
import re
from typing import Any

import pytest
from google.api_core import exceptions
from google.appengine.api import queueinfo
from google.cloud import tasks_v2, tasks_v2beta3
from google.protobuf import duration_pb2, field_mask_pb2
from google.rpc import code_pb2

from gae_devserver.config.queue_yaml import QueueConfig
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
from tests.unit.cloud_tasks.test_tasks import code_of, ids

pytestmark = pytest.mark.asyncio

DAY = 86400.0
MADE = queue_name("made")
State = tasks_v2.Queue.State


def seconds(value: float) -> duration_pb2.Duration:
    """Return a Duration."""
    duration = duration_pb2.Duration()
    duration.FromMicroseconds(int(value * 1e6))
    return duration


DEFAULTS: dict[str, Any] = {
    "rate_limits": {
        "max_dispatches_per_second": 500,
        "max_burst_size": 100,
        "max_concurrent_dispatches": 1000,
    },
    "retry_config": {
        "max_attempts": 100,
        "min_backoff": seconds(0.1),
        "max_backoff": seconds(3600),
        "max_doublings": 16,
    },
    "state": State.RUNNING,
}
SETTINGS: dict[str, Any] = {
    "rate_limits": {"max_dispatches_per_second": 2.5, "max_concurrent_dispatches": 3},
    "retry_config": {
        "max_attempts": 7,
        "max_retry_duration": seconds(60),
        "min_backoff": seconds(1.5),
        "max_backoff": seconds(30),
        "max_doublings": 2,
    },
    "app_engine_routing_override": {"service": "default", "version": "v7"},
    "stackdriver_logging_config": {"sampling_ratio": 0.5},
}


async def make(cloud: Cloud, name: str = "made", **fields: Any) -> tasks_v2.Queue:
    """Create a queue."""
    queue = {"name": queue_name(name), **fields}
    return await cloud.v2.create_queue(parent=LOCATION, queue=queue)


async def update(cloud: Cloud, name: str, *paths: str, **fields: Any) -> tasks_v2.Queue:
    """Update a queue."""
    return await cloud.v2.update_queue(
        queue={"name": name, **fields},
        update_mask=field_mask_pb2.FieldMask(paths=paths),
    )


async def state(cloud: Cloud, name: str = QUEUE) -> str:
    """Return the state of a queue."""
    return (await cloud.v2.get_queue(name=name)).state.name


async def queues(cloud: Cloud, parent: str = LOCATION, **fields: Any) -> list[str]:
    """Return the names of the queues that a list has."""
    pages = await cloud.v2.list_queues(request={"parent": parent, **fields})
    return [queue.name async for queue in pages]


# --- create, get, list ---------------------------------------------------------------


async def test_a_queue_has_the_documented_defaults(cloud: Cloud) -> None:
    """For all that is left out; the burst size follows the rate."""
    created = await make(cloud)
    assert created == tasks_v2.Queue(name=MADE, **DEFAULTS)
    assert await cloud.v2.get_queue(name=MADE) == created
    await cloud.create("a", MADE)
    await until(lambda: cloud.app.names == ["a"])


async def test_a_queue_has_the_settings_that_it_got(cloud: Cloud) -> None:
    """A queue is answered as it was sent, without what only the server sets."""
    ignored = {"state": State.PAUSED, "purge_time": cloud.at(-5)}
    created = await make(cloud, **(SETTINGS | ignored))
    expected = tasks_v2.Queue(name=MADE, state=State.RUNNING, **SETTINGS)
    expected.rate_limits.max_burst_size = 10
    assert created == expected


async def test_a_queue_of_queue_yaml(make_cloud: MakeCloud) -> None:
    """It is there with the settings of queue.yaml."""
    retry = queueinfo.RetryParameters(task_retry_limit=3, min_backoff_seconds=2)
    config = QueueConfig(
        "work",
        rate=4.5,
        bucket_size=9,
        max_concurrent_requests=2,
        retry_parameters=retry,
        target="v7.default",
    )
    cloud = await make_cloud(config)
    queue = await cloud.v2.get_queue(name=queue_name("work"))
    assert queue.rate_limits == tasks_v2.RateLimits(
        max_dispatches_per_second=4.5, max_burst_size=9, max_concurrent_dispatches=2
    )
    assert queue.retry_config == tasks_v2.RetryConfig(
        max_attempts=4,
        min_backoff=seconds(2),
        max_backoff=seconds(3600),
        max_doublings=16,
    )
    routing = queue.app_engine_routing_override
    assert (routing.service, routing.version) == ("default", "v7")
    default = await cloud.v2.get_queue(name=QUEUE)
    assert default.retry_config.max_attempts == -1


async def test_queues_are_the_same_in_each_location(cloud: Cloud) -> None:
    """A client may choose any; the answers name the one that it asked for."""
    elsewhere = "projects/unit/locations/europe-west1"
    await make(cloud)
    await cloud.create("a", MADE, schedule_time=cloud.at(60))
    assert await queues(cloud, elsewhere) == [
        f"{elsewhere}/queues/default",
        f"{elsewhere}/queues/made",
    ]
    (task,) = await cloud.listed(f"{elsewhere}/queues/made")
    assert task.name == f"{elsewhere}/queues/made/tasks/a"


async def test_lists_have_pages_and_filters(make_cloud: MakeCloud) -> None:
    """Lists are in the order of names, without pull queues."""
    cloud = await make_cloud(
        QueueConfig("b", rate=0), QueueConfig("pull", mode="pull"), QueueConfig("a")
    )
    await cloud.v2.pause_queue(name=queue_name("a"))
    every = [queue_name(name) for name in ("a", "b", "default")]
    assert await queues(cloud, page_size=2) == await queues(cloud) == every
    assert await queues(cloud, filter="state: PAUSED", page_size=1) == every[:2]
    assert await queues(cloud, filter='state="RUNNING"') == every[2:]
    code = await code_of(
        cloud.v2.list_queues(request={"parent": LOCATION, "filter": "x"})
    )
    assert code == code_pb2.UNIMPLEMENTED


@pytest.mark.parametrize(
    ("name", "code"),
    [
        (queue_name("missing"), code_pb2.NOT_FOUND),
        (f"{LOCATION}/queues/", code_pb2.INVALID_ARGUMENT),
        ("queues/a", code_pb2.INVALID_ARGUMENT),
        (queue_name("a_b"), code_pb2.INVALID_ARGUMENT),
        (queue_name("a" * 101), code_pb2.INVALID_ARGUMENT),
        (QUEUE.replace("unit", "other"), code_pb2.PERMISSION_DENIED),
    ],
)
async def test_names_that_have_no_queue(cloud: Cloud, name: str, code: int) -> None:
    """Each RPC refuses them, and names what was sent."""
    v2 = cloud.v2
    for call in (
        v2.get_queue,
        v2.delete_queue,
        v2.purge_queue,
        v2.pause_queue,
        v2.resume_queue,
    ):
        assert await code_of(call(name=name)) == code
    assert await code_of(v2.list_tasks(parent=name)) == code
    with pytest.raises(exceptions.GoogleAPICallError, match=re.escape(name)) as error:
        await v2.create_task(parent=name, task=app_task())
    assert error.value.grpc_status_code is not None
    assert error.value.grpc_status_code.value[0] == code


@pytest.mark.parametrize(
    ("fields", "code"),
    [
        ({"name": QUEUE}, code_pb2.ALREADY_EXISTS),
        ({"name": ""}, code_pb2.INVALID_ARGUMENT),
        ({"name": MADE.replace("central", "east")}, code_pb2.INVALID_ARGUMENT),
        (
            {"rate_limits": {"max_dispatches_per_second": 501}},
            code_pb2.INVALID_ARGUMENT,
        ),
        ({"rate_limits": {"max_dispatches_per_second": -1}}, code_pb2.INVALID_ARGUMENT),
        (
            {"rate_limits": {"max_concurrent_dispatches": 5001}},
            code_pb2.INVALID_ARGUMENT,
        ),
        ({"retry_config": {"max_attempts": -2}}, code_pb2.INVALID_ARGUMENT),
        (
            {"retry_config": {"min_backoff": seconds(4000), "max_backoff": seconds(1)}},
            code_pb2.INVALID_ARGUMENT,
        ),
        (
            {"stackdriver_logging_config": {"sampling_ratio": 2}},
            code_pb2.INVALID_ARGUMENT,
        ),
    ],
)
async def test_queues_that_cannot_be_created(
    cloud: Cloud, fields: dict[str, Any], code: int
) -> None:
    """A name that is taken or invalid, and settings out of their range."""
    before = await queues(cloud)
    queue = {"name": MADE, **fields}
    call = cloud.v2.create_queue(parent=LOCATION, queue=queue)
    assert await code_of(call) == code
    if "name" not in fields:
        assert await code_of(cloud.v2.update_queue(queue=queue)) == code
    assert await queues(cloud) == before


# --- update --------------------------------------------------------------------------


async def test_an_update_without_a_mask_replaces_all(cloud: Cloud) -> None:
    """What it leaves out has the defaults again; a missing queue is created."""
    created = await update(cloud, MADE, **SETTINGS)
    assert created.retry_config.max_attempts == 7
    assert await update(cloud, MADE) == tasks_v2.Queue(name=MADE, **DEFAULTS)


async def test_an_update_changes_the_fields_of_its_mask(cloud: Cloud) -> None:
    """Also nested ones; the rest stays, even if the message has it."""
    await make(cloud, **SETTINGS)
    expected = await cloud.v2.get_queue(name=MADE)
    expected.rate_limits = DEFAULTS["rate_limits"]
    expected.retry_config.max_attempts = -1
    expected.retry_config.min_backoff = seconds(2)
    paths = ["retry_config.max_attempts", "retry_config.min_backoff", "rate_limits"]
    changes = {"max_attempts": -1, "min_backoff": seconds(2), "max_doublings": 9}
    assert await update(cloud, MADE, *paths, retry_config=changes) == expected
    # what only the server sets is ignored
    paused = {"state": State.PAUSED, "purge_time": cloud.at(0)}
    assert await update(cloud, MADE, "state", "purge_time", **paused) == expected


@pytest.mark.parametrize(
    "path", ["x", "retry_config.x", "name.x", "", "retry_config.", "*"]
)
async def test_masks_of_unknown_fields(cloud: Cloud, path: str) -> None:
    """The update is refused."""
    assert await code_of(update(cloud, QUEUE, path)) == code_pb2.INVALID_ARGUMENT


async def test_an_update_of_a_queue_of_queue_yaml(make_cloud: MakeCloud) -> None:
    """It holds until queue.yaml changes."""
    config = QueueConfig("work", rate=1, bucket_size=1)
    cloud = await make_cloud(config)
    name = queue_name("work")
    await update(cloud, name, "retry_config", retry_config={"max_attempts": 2})
    cloud.configure(config)
    queue = await cloud.v2.get_queue(name=name)
    assert queue.retry_config.max_attempts == 2
    assert queue.rate_limits.max_dispatches_per_second == 1
    cloud.configure(QueueConfig("work", rate=2))
    queue = await cloud.v2.get_queue(name=name)
    assert queue.retry_config.max_attempts == -1
    assert queue.rate_limits.max_dispatches_per_second == 2


async def test_an_update_releases_no_queue_that_is_held(make_cloud: MakeCloud) -> None:
    """A queue whose rate is 0 in queue.yaml stays paused until it is resumed."""
    cloud = await make_cloud(QueueConfig("held", rate=0))
    name = queue_name("held")
    await cloud.create("a", name)
    await update(cloud, name, "retry_config", retry_config={"max_attempts": 2})
    assert await state(cloud, name) == "PAUSED"
    assert await cloud.runner.advance(60) == 0
    await cloud.v2.resume_queue(name=name)
    await until(lambda: cloud.app.names == ["a"])


async def test_rates_of_a_queue(cloud: Cloud) -> None:
    """An update of the rate and the concurrency holds for the tasks that wait.

    Even a slow queue sends ten tasks at once, as in production.
    """
    await make(cloud)
    await cloud.v2.pause_queue(name=MADE)
    for name in "abc":
        await cloud.create(name, MADE)
    limits = {"max_concurrent_dispatches": 2}
    await update(cloud, MADE, "rate_limits", rate_limits=limits)
    release = cloud.hold(200, 200)
    await cloud.v2.resume_queue(name=MADE)
    await until(lambda: cloud.app.running == 2)
    release.set()
    await until(lambda: cloud.runner.finished == 3)
    assert cloud.app.peak == 2
    await cloud.v2.pause_queue(name=MADE)
    for name in "defghijklmnop":
        await cloud.create(name, MADE)
    rate = {"max_dispatches_per_second": 0.5}
    await update(cloud, MADE, "rate_limits", rate_limits=rate)
    await cloud.v2.resume_queue(name=MADE)
    await cloud.runner.advance(60)
    assert cloud.app.times[3:] == [*[0] * 10, 2, 4, 6]


# --- pause, resume, purge, delete ----------------------------------------------------


async def test_a_pause_holds_the_tasks(cloud: Cloud) -> None:
    """They wait until the queue is resumed; both RPCs can be repeated."""
    for _ in range(2):
        assert (await cloud.v2.pause_queue(name=QUEUE)).state == State.PAUSED
    await cloud.create("a")
    assert await cloud.runner.advance(60) == 0
    for _ in range(2):
        assert (await cloud.v2.resume_queue(name=QUEUE)).state == State.RUNNING
    await until(lambda: cloud.app.names == ["a"])


async def test_a_purge_deletes_all_tasks(cloud: Cloud) -> None:
    """The queue shows when; its names stay taken."""
    assert not (await cloud.v2.get_queue(name=QUEUE)).purge_time
    for name in "abc":
        await cloud.create(name, schedule_time=cloud.at(60))
    assert (await cloud.v2.purge_queue(name=QUEUE)).purge_time == cloud.at(0)
    await cloud.runner.advance(90)
    assert cloud.app.names == []
    assert (await cloud.v2.get_queue(name=QUEUE)).purge_time == cloud.at(-90)
    assert await code_of(cloud.create("a")) == code_pb2.ALREADY_EXISTS


async def test_a_deleted_queue(cloud: Cloud) -> None:
    """Its tasks never run, and its name can be used again at once."""
    release = cloud.hold(500)
    await make(cloud)
    await cloud.create("running", MADE)
    await until(lambda: cloud.app.running)
    await cloud.create("waiting", MADE, schedule_time=cloud.at(60))
    await cloud.v2.delete_queue(name=MADE)
    assert await code_of(cloud.v2.get_queue(name=MADE)) == code_pb2.NOT_FOUND
    code = await code_of(cloud.v2.run_task(name=task_name("waiting", MADE)))
    assert code == code_pb2.NOT_FOUND
    release.set()
    await cloud.runner.advance(DAY)
    assert cloud.app.names == ["running"]
    await make(cloud)
    await cloud.create("running", MADE)
    await until(lambda: cloud.app.names == ["running"] * 2)


async def test_a_queue_of_queue_yaml_can_be_deleted(make_cloud: MakeCloud) -> None:
    """It stays away when the configuration is read again, and can be created."""
    cloud = await make_cloud(QueueConfig("work"))
    name = queue_name("work")
    await cloud.v2.delete_queue(name=name)
    cloud.configure(QueueConfig("work"))
    assert await queues(cloud) == [QUEUE]
    await make(cloud, "work")
    await cloud.create("a", name)
    await until(lambda: cloud.app.names == ["a"])


async def test_a_disabled_queue(make_cloud: MakeCloud) -> None:
    """Tasks of a queue that queue.yaml has no longer wait until it is resumed."""
    cloud = await make_cloud(QueueConfig("old"))
    old = queue_name("old")
    await cloud.create("a", old, schedule_time=cloud.at(60))
    cloud.configure()
    assert await state(cloud, old) == "DISABLED"
    assert await queues(cloud, filter="state: DISABLED") == [old]
    assert await code_of(make(cloud, "old")) == code_pb2.ALREADY_EXISTS
    # documented: tasks can be created, but are not dispatched
    await cloud.create("b", old)
    assert await cloud.runner.advance(60) == 0
    assert ids(await cloud.listed(old)) == ["a", "b"]
    assert (await cloud.v2.resume_queue(name=old)).state == State.RUNNING
    await until(lambda: sorted(cloud.app.names) == ["a", "b"])


async def test_queues_that_queue_yaml_does_not_have_are_kept(cloud: Cloud) -> None:
    """A queue that was made by the API stays when queue.yaml is read again."""
    await make(cloud)
    cloud.configure(QueueConfig("new"))
    assert await queues(cloud) == [QUEUE, MADE, queue_name("new")]


async def test_a_queue_that_queue_yaml_takes_over(cloud: Cloud) -> None:
    """It has the settings of queue.yaml, and keeps names for nine days."""
    await make(cloud)
    await cloud.create("a", MADE)
    await until(lambda: cloud.app.names == ["a"])
    cloud.configure(QueueConfig("made", rate=2))
    queue = await cloud.v2.get_queue(name=MADE)
    assert queue.rate_limits.max_dispatches_per_second == 2
    await cloud.runner.advance(9 * DAY - 1)
    assert await code_of(cloud.create("a", MADE)) == code_pb2.ALREADY_EXISTS


async def test_the_bundled_api_has_the_same_queues(cloud: Cloud) -> None:
    """It can add tasks to a queue that was made by the API, and delete them."""
    await make(cloud)
    await cloud.add("a", 60, queue="made")
    await cloud.add("b", 60, queue="made")
    await cloud.v2.delete_task(name=task_name("a", MADE))
    assert await cloud.api.names("made") == ids(await cloud.listed(MADE)) == ["b"]
    await cloud.runner.advance(60)
    assert cloud.app.names == ["b"]


async def test_the_service_of_a_task_of_the_bundled_api(make_cloud: MakeCloud) -> None:
    """It is that of its routing; without one, the service is `default`."""
    cloud = await make_cloud(others=["worker"])
    await cloud.add("a", 60, headers=[("Host", "v1.worker.localhost:8080")])
    await cloud.add("b", 60)
    routings = [
        t.app_engine_http_request.app_engine_routing for t in await cloud.listed()
    ]
    assert [routing.service for routing in routings] == ["worker", ""]


@pytest.mark.parametrize(
    "fields",
    [
        {"retry_parameters": {"retry_limit": 2**31 - 1, "min_backoff_sec": math.nan}},
        {"retry_parameters": {"max_backoff_sec": math.inf, "age_limit_sec": 2**31 - 1}},
        {"retry_parameters": {"min_backoff_sec": 1e300, "max_doublings": 2**31 - 1}},
        {"retry_parameters": {"retry_limit": -1, "min_backoff_sec": -1}},
        {"dispatch_deadline_usec": 2**63 - 1},
        {"dispatch_deadline_usec": -(2**63)},
        {"description": b"\xff"},
        {"url": b"/\xff", "body": b"\xff", "headers": [("é", "\x00")]},
    ],
)
async def test_each_task_of_the_bundled_api_is_listed(
    cloud: Cloud, fields: dict[str, Any]
) -> None:
    """Also one with values that no task of Cloud Tasks can have."""
    await cloud.add("a", 60, **fields)
    assert ids(await cloud.listed(response_view=FULL)) == ["a"]
    await cloud.runner.advance(60)
    assert cloud.app.names == ["a"]


async def test_a_reset(make_cloud: MakeCloud) -> None:
    """Queues are those of queue.yaml again, and all names are free."""
    cloud = await make_cloud(QueueConfig("updated"), QueueConfig("deleted"))
    every = await queues(cloud)
    before = await cloud.v2.get_queue(name=queue_name("updated"))
    await make(cloud)
    await update(cloud, queue_name("updated"), **SETTINGS)
    await cloud.v2.pause_queue(name=queue_name("updated"))
    await cloud.v2.delete_queue(name=queue_name("deleted"))
    await cloud.v2.purge_queue(name=QUEUE)
    for queue in (QUEUE, MADE):
        await cloud.create("a", queue, schedule_time=cloud.at(60))
    cloud.server.services.clear()
    assert await queues(cloud) == every
    assert await cloud.v2.get_queue(name=queue_name("updated")) == before
    assert not (await cloud.v2.get_queue(name=QUEUE)).purge_time
    await make(cloud)
    for queue in (QUEUE, MADE):
        await cloud.create("a", queue)
    await until(lambda: cloud.app.names == ["a", "a"])


# --- v2beta3 -------------------------------------------------------------------------


async def test_statistics_of_a_queue(make_cloud: MakeCloud) -> None:
    """Only a mask that names them gets them."""
    cloud = await make_cloud(QueueConfig("work", rate=5.0))
    name = queue_name("work")
    get = cloud.v2beta3.get_queue
    assert "stats" not in await get(name=name)
    await cloud.create("done", name)
    await until(lambda: cloud.runner.finished)
    await cloud.runner.advance(30)
    release = cloud.hold(200)
    await cloud.create("running", name)
    await cloud.create("waiting", name, schedule_time=cloud.at(60))
    await until(lambda: cloud.app.running)
    mask = field_mask_pb2.FieldMask(paths=["stats", "state"])
    queue = await get(request={"name": name, "read_mask": mask})
    assert queue == tasks_v2beta3.Queue(
        state=tasks_v2beta3.Queue.State.RUNNING,
        stats={
            "tasks_count": 2,
            "oldest_estimated_arrival_time": cloud.at(0),
            "executed_last_minute_count": 1,
            "concurrent_dispatches_count": 1,
            "effective_execution_rate": 5.0,
        },
    )
    pages = await cloud.v2beta3.list_queues(
        request={"parent": LOCATION, "read_mask": mask}
    )
    assert [listed.stats.tasks_count async for listed in pages] == [0, 2]
    bad = field_mask_pb2.FieldMask(paths=["x"])
    code = await code_of(get(request={"name": name, "read_mask": bad}))
    assert code == code_pb2.INVALID_ARGUMENT
    release.set()


async def test_the_same_queue_in_both_versions(cloud: Cloud) -> None:
    """v2beta3 has the routing in app_engine_http_queue."""
    routing = {"service": "default", "version": "v7"}
    client = cloud.v2beta3
    created = await client.create_queue(
        parent=LOCATION,
        queue={
            "name": MADE,
            "app_engine_http_queue": {"app_engine_routing_override": routing},
            "type_": tasks_v2beta3.Queue.Type.PUSH,
            "retry_config": {"max_attempts": 7},
        },
    )
    assert created.app_engine_http_queue.app_engine_routing_override.version == "v7"
    assert created.type_ == tasks_v2beta3.Queue.Type.PUSH
    queue = await cloud.v2.get_queue(name=MADE)
    assert queue.app_engine_routing_override.version == "v7"
    for path in (
        "app_engine_http_queue",
        "app_engine_http_queue.app_engine_routing_override",
        "app_engine_http_queue.app_engine_routing_override.version",
    ):
        routing["version"] += "x"
        change = {"app_engine_http_queue": {"app_engine_routing_override": routing}}
        updated = await client.update_queue(
            queue={"name": MADE, **change},
            update_mask=field_mask_pb2.FieldMask(paths=[path]),
        )
        override = updated.app_engine_http_queue.app_engine_routing_override
        assert override.version == routing["version"]
        assert updated.retry_config.max_attempts == 7


async def test_the_same_task_in_both_versions(cloud: Cloud) -> None:
    """A task is created with one version, and got with the other."""
    task = app_task("a", schedule_time=cloud.at(60), retry_config={"max_attempts": 3})
    created = await cloud.v2beta3.create_task(parent=QUEUE, task=task)
    other = await cloud.get("a")
    assert type(created).to_dict(created) == type(other).to_dict(other)


@pytest.mark.parametrize(
    "fields",
    [
        {"type_": tasks_v2beta3.Queue.Type.PULL},
        {"task_ttl": seconds(11 * DAY)},
        {"tombstone_ttl": seconds(DAY)},
    ],
)
async def test_what_only_v2beta3_has(cloud: Cloud, fields: dict[str, Any]) -> None:
    """The answer names what the server lacks."""
    create, name = cloud.v2beta3.create_queue, next(iter(fields)).rstrip("_")
    with pytest.raises(exceptions.MethodNotImplemented, match=name):
        await create(parent=LOCATION, queue={"name": MADE, **fields})
    assert await queues(cloud) == [QUEUE]


async def test_pull_messages_are_not_implemented(cloud: Cloud) -> None:
    """The answer says so, for one and in a batch."""
    task = {"pull_message": {"payload": b"x"}}
    create = cloud.v2beta3.create_task(parent=QUEUE, task=task)
    assert await code_of(create) == code_pb2.UNIMPLEMENTED
    request = {"parent": QUEUE, "requests": [{"task": app_task()}, {"task": task}]}
    batch = cloud.v2beta3.batch_create_tasks(request=request)
    assert await code_of(batch) == code_pb2.UNIMPLEMENTED
    await settled()
    assert cloud.app.names == []
