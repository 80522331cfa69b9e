"""Cloud Tasks on a port, and the names and tasks that its clients send."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from gae_devserver.clock import Clock
from gae_devserver.cloud_tasks.api import rpcs_of
from gae_devserver.cloud_tasks.service import CloudTasks
from gae_devserver.cloud_tasks.task_rpcs import RunNow
from gae_devserver.rpc.method import Method
from gae_devserver.rpc.port import GrpcPort
from gae_devserver.services.services import Services
from gae_devserver.tasks.runner import TaskRunner
from tests.helpers.calls import PROJECT, Server

LOCATION = f"projects/{PROJECT}/locations/us-central1"
QUEUE = f"{LOCATION}/queues/default"
FULL = 2
"""The view with the body."""


def rpcs_on(services: Services, clock: Clock, run_now: RunNow) -> dict[str, Method]:
    """Return the RPCs on the queues of `services`, as the dev server has them."""
    service = CloudTasks(services.taskqueue, clock, PROJECT, run_now)
    return rpcs_of(service, lambda rpc: services.flush())


async def call(rpcs: dict[str, Method], rpc: str, **fields: Any) -> Any:
    """Call an RPC of v2, without a port."""
    method = rpcs[f"google.cloud.tasks.v2.CloudTasks/{rpc}"]
    return await method.call(method.request_class(**fields))


@asynccontextmanager
async def serving(server: Server, runner: TaskRunner) -> AsyncIterator[str]:
    """Serve the queues of `server` on a free port; yield the address."""
    port = GrpcPort(rpcs_on(server.services, server.clock, runner.run_now))
    yield f"127.0.0.1:{await port.start()}"
    await port.stop()


def queue_name(identifier: str) -> str:
    """Return the name of a queue."""
    return f"{LOCATION}/queues/{identifier}"


def task_name(identifier: str, queue: str = QUEUE) -> str:
    """Return the name of a task."""
    return f"{queue}/tasks/{identifier}"


def app_task(identifier: str = "", queue: str = QUEUE, **fields: Any) -> dict[str, Any]:
    """Return a task for the app, with a name if it gets an identifier."""
    task = {"app_engine_http_request": {"relative_uri": "/work"}, **fields}
    return task | {"name": task_name(identifier, queue)} if identifier else task
