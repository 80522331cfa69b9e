"""The SDK's task queue: its import here, and what the app gets from it."""

import asyncio
import json
import os
import sys
from collections.abc import Callable
from typing import Any

import pytest

from gae_devserver.config.queue_yaml import QueueConfig
from tests.helpers.api_port import ApiPort
from tests.helpers.calls import APP_ID, HOSTNAME, Server
from tests.helpers.command import run_python

# Evaluates expressions as an app does that the API port answers.
EVALUATE = """
import json, os, sys
from google.appengine.api.datastore import RunInTransaction
from google.appengine.api.taskqueue import Queue, Task
from google.appengine.runtime import context, default_api_stub

context.init_from_wsgi_environ(os.environ)
stub = default_api_stub.DefaultApiStub
# only the thread of a request has a ticket
stub.ShouldUseRequestSecurityTicketForThread = staticmethod(lambda: True)
default_api_stub.Register(stub())
push = lambda: [Task(url="/x", countdown=99) for _ in range(5)]
pull = lambda: [Task(payload=b"x", method="PULL") for _ in range(5)]
print(json.dumps([[task.name for task in eval(text)] for text in sys.argv[1:]]))
"""


def test_the_clients_of_cloud_tasks_are_not_imported() -> None:
    """The server imports only the messages; later imports get the client, and gRPC."""
    code = """
import sys
from gae_devserver.tasks import sdk
sdk.import_taskqueue()
import gae_devserver.server
assert "google.cloud.tasks_v2.types" in sys.modules
assert "google.cloud.tasks_v2.services" not in sys.modules
assert "grpc" not in sys.modules
from google.cloud.tasks_v2 import CloudTasksClient
from google.api_core.exceptions import NotFound, from_grpc_status
from grpc import StatusCode
assert isinstance(from_grpc_status(StatusCode.NOT_FOUND, ""), NotFound)
assert NotFound.grpc_status_code is StatusCode.NOT_FOUND
"""
    done = run_python("-W", "ignore", "-c", code)
    assert (done.returncode, done.stderr) == (0, "")


def test_other_packages_are_not_imported() -> None:
    """The task queue does without NDB and requests; later imports get them."""
    code = """
import sys
from gae_devserver.tasks import sdk
sdk.import_taskqueue()
from google.appengine.api.taskqueue import Queue
assert "requests" not in sys.modules
assert "google.appengine.ext.ndb" not in sys.modules
assert "google.api_core" not in sys.modules
from google.appengine.ext import ndb
from google.appengine.api.app_identity import _metadata_server
_metadata_server.get_service_account_token
"""
    done = run_python("-W", "ignore", "-c", code)
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.asyncio
async def test_every_task_of_an_add_has_a_name(
    make_server: Callable[..., Server],
) -> None:
    """Push, pull, asynchronous and transactional adds; the names are those of tasks."""
    expressions = (
        "Queue().add(push())",
        "Queue('pull').add(pull())",
        "Queue().add_async(push()).get_result()",
        "RunInTransaction(Queue().add, push(), True)",
        "Queue().add([Task(name='named', url='/x'), *push()])",
        "Queue().add_async([task := Task(url='/x')]).get_result()",
        "[t for t in Queue().delete_tasks(Queue().add(push())) if t.was_deleted]",
    )
    server = make_server(QueueConfig("pull", mode="pull"))
    port = ApiPort(server)
    await port.start()
    variables = {
        "API_HOST": "127.0.0.1",
        "API_PORT": str(port.number),
        "APPLICATION_ID": APP_ID,
        "HTTP_HOST": HOSTNAME,
        "HTTP_X_APPENGINE_API_TICKET": port.ticket,
    }
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", EVALUATE, *expressions),
        env=os.environ | variables,
        stdout=asyncio.subprocess.PIPE,
    )
    output, _ = await process.communicate()
    await port.stop()
    found: list[list[Any]] = json.loads(output)
    assert [len(names) for names in found] == [5, 5, 5, 5, 6, 1, 5]
    assert found[4][0] == "named"
    added = {name for names in found[:-1] for name in names}
    queues = server.services.taskqueue.queues().values()
    assert added == {
        task.task_name.decode() for queue in queues for task in queue.tasks_by_eta(99)
    }
    assert None not in found[-1]
