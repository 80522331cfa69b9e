"""Fixtures of the dev server's unit tests: services, a task runner and a fake app.

Tests that need the event loop have the mark `asyncio`, so they run in either mode of
pytest-asyncio.
"""

import asyncio
import dataclasses
from collections.abc import AsyncIterator, Callable, Sequence
from typing import Any

import pytest
import pytest_asyncio

from gae_devserver.config.cron_yaml import CronJob
from gae_devserver.config.dispatch_yaml import DispatchRule
from gae_devserver.config.queue_yaml import QueueConfig
from gae_devserver.cron.jobs import CronJobs
from gae_devserver.storage.storage import Storage
from gae_devserver.tasks.queues import Queue
from gae_devserver.tasks.runner import TaskRunner
from tests.helpers.calls import AppRequest, Server, add_request, application
from tests.helpers.clock import StoppedClock
from tests.helpers.recording_app import App


@pytest.fixture(autouse=True)
def _sdk_state(sdk_state: None) -> None:
    """Undo what `Services` sets, after each test here."""


@pytest.fixture
def clock() -> StoppedClock:
    """The clock of the services and of the task runner."""
    return StoppedClock()


@pytest_asyncio.fixture
async def make_server(clock: StoppedClock) -> AsyncIterator[Callable[..., Server]]:
    """Make services with given queues and options."""
    servers: list[Server] = []

    def make(*queues: Any, **options: Any) -> Server:
        servers.append(Server(*queues, **{"clock": clock, **options}))
        return servers[-1]

    yield make
    for server in servers:
        server.services.close()


@pytest_asyncio.fixture
async def server(make_server: Callable[..., Server]) -> Server:
    """Services with the default queue."""
    return make_server()


@pytest_asyncio.fixture
async def api(server: Server) -> AppRequest:
    """A request that the app of `server` is handling."""
    return server.request()


@pytest.fixture
def app(clock: StoppedClock) -> App:
    """A fake app that records its tasks."""
    return App(clock)


@dataclasses.dataclass(frozen=True)
class Bench:
    """A task runner that runs, with all that belongs to it."""

    server: Server
    app: App
    api: AppRequest
    runner: TaskRunner
    clock: StoppedClock
    cron: CronJobs

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

    def queue(self, name: str = "default") -> Queue:
        """Return a queue."""
        return self.server.services.taskqueue.queues()[name]

    def configure(self, *queues: QueueConfig) -> None:
        """Reload queue.yaml with these queues and the default one."""
        self.server.services.apply(application(*queues))

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
    """Start a task runner for given queues, with the options of `TaskRunner`.

    With `jobs`, it also runs these jobs of cron.yaml when they are due.
    """
    runners: list[TaskRunner] = []

    def make(
        *queues: QueueConfig,
        jobs: Sequence[CronJob] | None = None,
        storage: Storage | None = None,
        others: Sequence[str] = (),
        rules: Sequence[DispatchRule] = (),
        **options: Any,
    ) -> Bench:
        server = make_server(*queues, storage=storage, others=others, rules=rules)
        app.services += others
        taskqueue = server.services.taskqueue
        scheduled = jobs is not None
        cron = CronJobs(
            jobs or (),
            clock,
            taskqueue.changed,
            server.routing,
            app,
            scheduled=scheduled,
        )
        options |= {"other_queues": [cron.queue], "on_run": cron.ended}
        options["records"] = server.requests.activity
        runner = TaskRunner(taskqueue, clock, app.dispatch, app, **options)
        runner.start()
        runners.append(runner)
        app.listeners.append(runner.wake)
        return Bench(server, app, server.request(), runner, clock, cron)

    yield make
    for runner in runners:
        await runner.stop()


@pytest_asyncio.fixture
async def bench(make_bench: MakeBench) -> Bench:
    """A task runner with the default queue."""
    return make_bench()
