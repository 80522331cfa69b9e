"""Cloud Tasks on a real port, its own clients, a task runner and a fake app."""

import contextlib
import dataclasses
import datetime
import functools
from collections.abc import AsyncIterator, Callable
from typing import Any

import grpc.aio
import pytest_asyncio
from google.cloud import tasks_v2, tasks_v2beta3
from google.cloud.tasks_v2.services.cloud_tasks import transports as v2
from google.cloud.tasks_v2beta3.services.cloud_tasks import transports as v2beta3

from gae_devserver.cloud_tasks.identity import Identity
from gae_devserver.cloud_tasks.requests import make_request
from gae_devserver.config.queue_yaml import QueueConfig
from tests.helpers.cloud_tasks import QUEUE, app_task, serving, task_name
from tests.unit.conftest import Bench, MakeBench


@dataclasses.dataclass(frozen=True)
class Cloud(Bench):
    """A bench whose queues are served, and clients of both versions of the API."""

    host: str
    # the clients take dictionaries too, which their types do not say
    v2: Any
    v2beta3: Any

    def at(self, seconds: float) -> datetime.datetime:
        """Return a time that is so many seconds ahead of the app's."""
        return datetime.datetime.fromtimestamp(self.clock.start + seconds, datetime.UTC)

    async def create(self, name: str = "", queue: str = QUEUE, **fields: Any) -> Any:
        """Create a task for the app."""
        task = app_task(name, queue, **fields)
        return await self.v2.create_task(parent=queue, task=task)

    async def delete(self, name: str) -> None:
        """Delete a task of the default queue."""
        await self.v2.delete_task(name=task_name(name))

    async def get(self, name: str, view: int = 0, queue: str = QUEUE) -> Any:
        """Get a task."""
        request = {"name": task_name(name, queue), "response_view": view}
        return await self.v2.get_task(request=request)

    async def listed(self, queue: str = QUEUE, **fields: Any) -> list[Any]:
        """Return all tasks of a queue."""
        pages = await self.v2.list_tasks(request={"parent": queue, **fields})
        return [task async for task in pages]

    async def count(self, queue: str = QUEUE) -> int:
        """Return how many tasks a queue has, by its statistics."""
        request = {"name": queue, "read_mask": {"paths": ["stats"]}}
        return int((await self.v2beta3.get_queue(request=request)).stats.tasks_count)


MakeCloud = Callable[..., Any]


@pytest_asyncio.fixture
async def make_cloud(make_bench: MakeBench) -> AsyncIterator[MakeCloud]:
    """Serve given queues, with the options of `make_bench`."""
    async with contextlib.AsyncExitStack() as stack:

        async def make(*queues: QueueConfig, **options: Any) -> Cloud:
            request = functools.partial(make_request, Identity())
            bench = make_bench(*queues, make_request=request, **options)
            host = await stack.enter_async_context(serving(bench.server, bench.runner))
            channel = await stack.enter_async_context(grpc.aio.insecure_channel(host))
            return Cloud(
                **vars(bench),
                host=host,
                v2=tasks_v2.CloudTasksAsyncClient(
                    transport=v2.CloudTasksGrpcAsyncIOTransport(channel=channel)
                ),
                v2beta3=tasks_v2beta3.CloudTasksAsyncClient(
                    transport=v2beta3.CloudTasksGrpcAsyncIOTransport(channel=channel)
                ),
            )

        yield make


@pytest_asyncio.fixture
async def cloud(make_cloud: MakeCloud) -> Cloud:
    """Cloud Tasks with the default queue."""
    served: Cloud = await make_cloud()
    return served
