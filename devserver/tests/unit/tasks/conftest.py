"""A task runner that runs, with the services and the app that belong to it."""

import asyncio
import dataclasses
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest_asyncio

from gae_devserver.config.queue_yaml import QueueConfig
from gae_devserver.tasks.queues import Queue
from gae_devserver.tasks.runner import TaskRunner
from tests.helpers.calls import AppRequest, Server, add_request
from tests.helpers.clock import StoppedClock
from tests.helpers.recording_app import App


@dataclasses.dataclass(frozen=True)
class Bench:
    """A task runner that runs, with all that belongs to it."""

    server: Server
    app: App
    api: AppRequest
    runner: TaskRunner
    clock: StoppedClock

    async def add(self, name: str = "", due_in: float = 0.0, **fields: Any) -> str:
        """Add a task as the app does, whose time stands still."""
        fields.setdefault("now", self.clock.start)
        return await self.api.add(name, due_in=due_in, **fields)

    async def add_many(self, count: int, **fields: Any) -> None:
        """Add tasks that are due now."""
        results = await self.api.bulk_add(
            add_request(f"task-{number:02}", now=self.clock.start, **fields)
            for number in range(count)
        )
        assert not any(results)

    async def waiting(self, queue: str = "default") -> list[str]:
        """Return the names of the tasks that are in a queue."""
        return [task.task_name.decode() for task in await self.api.tasks(queue)]

    def queue(self, name: str = "default") -> Queue:
        """Return a queue."""
        return self.server.services.taskqueue.queues()[name]

    def configure(self, *queues: QueueConfig) -> None:
        """Reload queue.yaml with these queues and the default one."""
        self.server.services.taskqueue.update([QueueConfig("default"), *queues])

    def hold(self, *statuses: int) -> asyncio.Event:
        """Hold the next tasks until the event is set; then answer with `statuses`."""
        released = asyncio.Event()

        async def answer(status: int) -> int:
            await released.wait()
            return status

        self.app.answers(*map(answer, statuses))
        return released


MakeBench = Callable[..., Bench]


@pytest_asyncio.fixture
async def make_bench(
    make_server: Callable[..., Server], app: App, clock: StoppedClock
) -> AsyncIterator[MakeBench]:
    """Start a task runner for given queues, with the options of `TaskRunner`."""
    runners: list[TaskRunner] = []

    def make(*queues: QueueConfig, **options: Any) -> Bench:
        server = make_server(*queues)
        runner = TaskRunner(
            server.services.taskqueue, clock, app.dispatch, app.ready, **options
        )
        runner.start()
        runners.append(runner)
        return Bench(server, app, server.request(), runner, clock)

    yield make
    for runner in runners:
        await runner.stop()


@pytest_asyncio.fixture
async def bench(make_bench: MakeBench) -> Bench:
    """A task runner with the default queue."""
    return make_bench()
