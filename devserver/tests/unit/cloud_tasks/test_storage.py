"""What comes back with --storage, however the server ended."""

import contextlib
import shutil
import sqlite3
from pathlib import Path

import pytest
from google.protobuf import duration_pb2
from google.rpc import code_pb2

from gae_devserver.config.queue_yaml import QueueConfig
from gae_devserver.storage.storage import FILE_NAME, Storage
from tests.helpers.calls import PROJECT
from tests.helpers.clock import StoppedClock
from tests.helpers.cloud_tasks import FULL, QUEUE, queue_name, task_name
from tests.helpers.waiting import until
from tests.unit.cloud_tasks.conftest import Cloud, MakeCloud
from tests.unit.cloud_tasks.test_queues import MADE, SETTINGS, make, queues, update
from tests.unit.cloud_tasks.test_tasks import code_of, ids

pytestmark = pytest.mark.asyncio

DAY = 86400


class Starts:
    """Starts servers; each has the storage that a kill of the one before leaves."""

    def __init__(
        self, make_cloud: MakeCloud, clock: StoppedClock, folder: Path
    ) -> None:
        self._make_cloud = make_cloud
        self._clock = clock
        self._folder = folder
        self._last: Cloud | None = None

    async def __call__(self, *queues: QueueConfig, sql: str = "") -> Cloud:
        """Start a server, after a statement of SQL has changed the storage."""
        if self._last is not None:
            await self._last.runner.stop()
            before, self._folder = self._folder, self._folder / "next"
            shutil.copytree(before, self._folder)
        if sql:
            with contextlib.closing(sqlite3.connect(self._folder / FILE_NAME)) as db:
                db.execute(sql)
        storage = Storage(self._folder, PROJECT, now=self._clock.now)
        self._last = await self._make_cloud(*queues, storage=storage)
        return self._last


@pytest.fixture
def start(make_cloud: MakeCloud, clock: StoppedClock, tmp_path: Path) -> Starts:
    """Start servers one after the other."""
    return Starts(make_cloud, clock, tmp_path)


TARGETS = {
    "app": {
        "app_engine_http_request": {
            "http_method": "PUT",
            "relative_uri": "/x?y",
            "headers": {"A": "b", "C": "é"},
            "body": b"\x00\xff",
            "app_engine_routing": {"service": "default", "version": "v7"},
        }
    },
    "http": {
        "http_request": {
            "http_method": "OPTIONS",
            "url": "http://localhost:1/x",
            "headers": {"A": "b"},
            "oidc_token": {"service_account_email": "a@b", "audience": "c"},
        },
        "dispatch_deadline": duration_pb2.Duration(seconds=20, nanos=7),
    },
}


@pytest.mark.parametrize("target", TARGETS)
async def test_a_task_comes_back_as_it_was_sent(start: Starts, target: str) -> None:
    """With all its fields, and what its attempts have added."""
    cloud = await start()
    cloud.app.answers(503)
    await cloud.create(
        "a",
        **TARGETS[target],
        retry_config={
            "max_attempts": 9,
            "max_retry_duration": duration_pb2.Duration(seconds=DAY),
            "min_backoff": duration_pb2.Duration(seconds=3600, nanos=5000),
        },
        schedule_time=cloud.at(60),
    )
    await cloud.runner.advance(60)
    before = await cloud.get("a", FULL)
    assert before.last_attempt.response_status.code == code_pb2.UNAVAILABLE
    cloud = await start()
    assert await cloud.get("a", FULL) == before
    assert await cloud.listed(response_view=FULL) == [before]
    await cloud.runner.advance(3601)
    first, second = cloud.app.executions
    assert (second.method, second.target) == (first.method, first.target)
    assert (second.body, second.deadline) == (first.body, first.deadline)


async def test_a_queue_of_the_api_comes_back(start: Starts) -> None:
    """With its last settings, its tasks and its pause; a deleted one does not."""
    cloud = await start()
    await make(cloud)
    expected = await update(cloud, MADE, **SETTINGS)
    await cloud.create("a", MADE)
    await make(cloud, "deleted")
    await cloud.create("a", queue_name("deleted"), schedule_time=cloud.at(60))
    await cloud.v2.delete_queue(name=queue_name("deleted"))
    await until(lambda: cloud.runner.finished)
    cloud = await start()
    assert await queues(cloud) == [QUEUE, MADE]
    assert await cloud.v2.get_queue(name=MADE) == expected
    await cloud.v2.pause_queue(name=MADE)
    await cloud.create("b", MADE)
    cloud = await start()
    assert await cloud.runner.advance(60) == 0
    await cloud.v2.resume_queue(name=MADE)
    await until(lambda: cloud.app.names == ["a", "b"])
    cloud = await start()
    assert await cloud.v2.get_queue(name=MADE) == expected


async def test_a_queue_that_was_deleted_and_made_again(start: Starts) -> None:
    """It has only what was added since, also in the storage."""
    cloud = await start()
    for task in "ab":
        await make(cloud)
        await cloud.create(task, MADE, schedule_time=cloud.at(60))
        if task == "a":
            await cloud.v2.delete_queue(name=MADE)
    cloud = await start()
    assert ids(await cloud.listed(MADE)) == ["b"]
    await cloud.create("a", MADE)


@pytest.mark.parametrize("restarts", [0, 1])
@pytest.mark.parametrize("ending", ["ran", "deleted", "purged"])
@pytest.mark.parametrize(
    ("queue", "days"), [("default", 9), ("updated", 9), ("made", 1)]
)
async def test_names_are_refused_after_use(
    start: Starts, restarts: int, ending: str, queue: str, days: int
) -> None:
    """For nine days in a queue of queue.yaml, for one in a queue of the API.

    The clock of the server decides, also after a restart.
    """
    parent, updated = queue_name(queue), QueueConfig("updated")
    cloud = await start(updated)
    if queue != "default":
        await update(cloud, parent)
        # which stores the queue
        await cloud.v2.pause_queue(name=parent)
        await cloud.v2.resume_queue(name=parent)
    await cloud.create("a", parent, schedule_time=cloud.at(60))
    if ending == "ran":
        await cloud.runner.advance(60)
    elif ending == "deleted":
        await cloud.v2.delete_task(name=task_name("a", parent))
    else:
        await cloud.v2.purge_queue(name=parent)
    await cloud.runner.advance(days * DAY - 1)
    cloud.server.services.flush()  # as after an advance by the State API
    assert await code_of(cloud.create("a", parent)) == code_pb2.ALREADY_EXISTS
    for _ in range(restarts):
        cloud = await start(updated)
        assert await code_of(cloud.create("a", parent)) == code_pb2.ALREADY_EXISTS
    await cloud.runner.advance(1)
    await cloud.create("a", parent)


async def test_queue_yaml_decides_on_its_own_queues(start: Starts) -> None:
    """After a restart its settings hold again; only the pause is kept."""
    work = QueueConfig("work", rate=1, bucket_size=1)
    cloud = await start(work)
    name = queue_name("work")
    before = await cloud.v2.get_queue(name=name)
    await update(cloud, name, **SETTINGS)
    before.state = (await cloud.v2.pause_queue(name=name)).state
    cloud = await start(work)
    assert await cloud.v2.get_queue(name=name) == before
    # a queue of the API, too, once queue.yaml has it
    await make(cloud)
    await cloud.create("a", MADE, schedule_time=cloud.at(60))
    await cloud.v2.delete_queue(name=name)
    cloud = await start(work, QueueConfig("made", rate=2))
    assert await queues(cloud) == [QUEUE, MADE, name]
    queue = await cloud.v2.get_queue(name=MADE)
    assert queue.rate_limits.max_dispatches_per_second == 2
    assert ids(await cloud.listed(MADE)) == ["a"]
    # and without queue.yaml it is disabled, as any queue that queue.yaml had
    cloud = await start()
    assert (await cloud.v2.get_queue(name=MADE)).state.name == "DISABLED"


async def test_a_disabled_queue_stays_disabled(start: Starts) -> None:
    """Whatever the API has changed, before or after it left queue.yaml."""
    name = queue_name("work")
    cloud = await start(QueueConfig("work"))
    await update(cloud, name, **SETTINGS)
    await cloud.v2.pause_queue(name=name)
    for _ in range(2):
        cloud = await start()
        assert (await cloud.v2.get_queue(name=name)).state.name == "DISABLED"
        await update(cloud, name, **SETTINGS)
