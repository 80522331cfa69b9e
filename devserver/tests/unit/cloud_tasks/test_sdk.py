"""The SDK's own code on Cloud Tasks, in a process that is connected as an app's is."""

import asyncio
import json
import os
import sys
from pathlib import Path
from typing import Any

import pytest

import gae_devserver
from gae_devserver.cloud_tasks.api import rpcs_of
from gae_devserver.cloud_tasks.service import CloudTasks
from gae_devserver.config.queue_yaml import QueueConfig
from gae_devserver.rpc.errors import UnavailableError
from gae_devserver.rpc.port import GrpcPort
from gae_devserver.storage.storage import StorageError
from tests.helpers.calls import PROJECT, PULL
from tests.helpers.cloud_tasks import QUEUE, queue_name
from tests.unit.cloud_tasks.conftest import Cloud, MakeCloud
from tests.unit.cloud_tasks.test_tasks import ids

pytestmark = pytest.mark.asyncio

CONNECT = Path(gae_devserver.__file__).parent / "app" / "connect"
EVALUATE = """
import json, os, sys
from google.appengine.api.taskqueue import Queue, Task, add

def outcome(expression):
    try:
        return eval(expression)
    except Exception as error:
        return type(error).__name__

print(json.dumps([outcome(expression) for expression in sys.argv[1:]]))
"""


async def in_an_app(host: str, *expressions: str) -> list[Any]:
    """Evaluate expressions with the SDK; return the values, or the errors' names."""
    variables = {
        "APPENGINE_USE_CLOUDTASK_PUSH_QUEUE": "true",
        "CLOUD_TASKS_EMULATOR_HOST": host,
        "GAE_SERVICE": "default",
        "GAE_VERSION": "1",
        "GOOGLE_CLOUD_PROJECT": PROJECT,
        "LOCATION_ID": "us-central1",
        "PYTHONPATH": str(CONNECT),
    }
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", EVALUATE, *expressions),
        env=os.environ | variables,
        stdout=asyncio.subprocess.PIPE,
    )
    output, _ = await process.communicate()
    return list(json.loads(output))


async def test_what_the_sdk_returns_and_raises(make_cloud: MakeCloud) -> None:
    """For each call, what it returns or raises with the bundled API."""
    expected = {
        "add(name='new', url='/x', countdown=60).name": "new",
        "add(name='there')": "TaskAlreadyExistsError",
        "add(name='gone')": "TombstonedTaskError",
        "add(queue_name='missing')": "UnknownQueueError",
        "add(queue_name='pull')": "InvalidQueueModeError",
        "add(payload=b'x' * 102_000).was_enqueued": True,
        "add(payload=b'x' * 102_400)": "TaskTooLargeError",
        "len(Queue('many').add([Task(name=f'n{i}') for i in range(100)]))": 100,
        "Queue().add([Task(name='b1'), Task(name='there')])": "TaskAlreadyExistsError",
        "Queue().add([Task(name='b2'), Task(name='gone')])": "TombstonedTaskError",
        "Queue('missing').add([Task(), Task()])": "UnknownQueueError",
        "Queue('pull').add([Task(), Task()])": "InvalidQueueModeError",
        "Queue('many').fetch_statistics().tasks": 1000,
        "Queue('missing').fetch_statistics()": "UnknownQueueError",
        "[task.was_deleted for task in Queue('many').delete_tasks("
        "[Task(name=f'n{i}') for i in range(1000)])].count(True)": 1000,
        "Queue('many').fetch_statistics().oldest_eta_usec": None,
        "[task.was_deleted for task in Queue().delete_tasks("
        "[Task(name=name) for name in ('there', 'gone', 'never')])]": [True]
        + [False] * 2,
        "Queue().delete_tasks_by_name('there').was_deleted": False,
        "Queue('pull').delete_tasks_by_name('leased').was_deleted": True,
        "Queue('missing').delete_tasks_by_name('a')": "UnknownQueueError",
        "Queue('many').purge()": None,
        "Queue('missing').purge()": "UnknownQueueError",
        "os.environ.update(GOOGLE_CLOUD_PROJECT='other') or add()": (
            "PermissionDeniedError"
        ),
    }
    cloud = await make_cloud(QueueConfig("pull", mode="pull"), QueueConfig("many"))
    for queue in (QUEUE, queue_name("many")):
        await cloud.v2.pause_queue(name=queue)
    for name in ("there", "gone"):
        await cloud.create(name)
    await cloud.delete("gone")
    await cloud.add("leased", queue="pull", mode=PULL)
    for number in range(100, 1000):
        await cloud.add(f"n{number}", queue="many")

    found = dict(zip(expected, await in_an_app(cloud.host, *expected), strict=True))
    assert found == expected
    named = [name for name in ids(await cloud.listed()) if not name.isdigit()]
    assert named == ["b1", "b2", "new"]
    task = await cloud.get("new")
    assert task.app_engine_http_request.relative_uri == "/x"
    assert 60 <= task.schedule_time.timestamp() - cloud.clock.start < 120


@pytest.mark.parametrize(
    ("error", "raised"),
    [
        # the answer is lost, as with --faults
        (UnavailableError("lost"), "TransientError"),
        # the disk is full
        (StorageError("full"), "InternalError"),
    ],
)
async def test_an_answer_that_fails(
    cloud: Cloud, error: Exception, raised: str
) -> None:
    """The app learns whether it can try an add, a batch or a delete again."""

    def fail(rpc: str) -> None:
        raise error

    service = CloudTasks(
        cloud.server.services.taskqueue, cloud.clock, PROJECT, cloud.runner.run_now
    )
    port = GrpcPort(rpcs_of(service, fail))
    host = f"127.0.0.1:{await port.start()}"
    add_two = "Queue().add([Task(), Task()])"
    calls = ("add()", add_two, "Queue().delete_tasks_by_name('a')")
    assert await in_an_app(host, *calls) == [raised] * 3
    await port.stop()
