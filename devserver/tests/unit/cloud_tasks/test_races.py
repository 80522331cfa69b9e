"""Many clients that create, run and delete the same tasks at once."""

import asyncio
import collections
import contextlib
import random
from collections.abc import Awaitable

import pytest
from google.api_core import exceptions

from tests.helpers.cloud_tasks import QUEUE, task_name
from tests.helpers.recording_app import Execution
from tests.helpers.waiting import PATIENCE
from tests.unit.cloud_tasks.conftest import Cloud
from tests.unit.cloud_tasks.test_tasks import ids

pytestmark = pytest.mark.asyncio

CLIENTS = 8
STEPS = 60


class Race:
    """Clients of one queue, and what they have seen."""

    def __init__(self, cloud: Cloud, seed: int) -> None:
        self.cloud = cloud
        self.random = random.Random(seed)
        self.created = collections.Counter[str]()
        self.gone: dict[str, int] = {}
        """A task that was deleted or purged -> how often it had started by then."""
        self.succeeded = collections.Counter[str]()
        self.twice: list[str] = []
        """The tasks that ran twice at once."""
        self._running: set[str] = set()
        cloud.app.answer = self._run

    async def _run(self, execution: Execution) -> int:
        name = execution.name
        if name in self._running:
            self.twice.append(name)
        self._running.add(name)
        for _ in range(self.random.randrange(20)):
            await asyncio.sleep(0)
        self._running.discard(name)
        if self.random.random() < 0.2:
            return 500
        self.succeeded[name] += 1
        return 200

    async def client(self) -> None:
        """Do something with a task that other clients use, too; again and again."""
        for step in range(STEPS):
            name = f"{step // 4}-{self.random.randrange(3)}"
            acts = [self._create] * 4 + [self._delete, self._force, self._force]
            acts += [self._pause, self._resume, self._resume, self._advance]
            act = self._purge if step % 20 == 19 else self.random.choice(acts)
            with contextlib.suppress(exceptions.NotFound, exceptions.AlreadyExists):
                await act(name)

    async def _create(self, name: str) -> None:
        due = self.cloud.at(self.random.choice([0, 0, 60]))
        await self.cloud.create(name, schedule_time=due)
        self.created[name] += 1

    async def _delete(self, name: str) -> None:
        await self.cloud.delete(name)
        self.gone[name] = self.cloud.app.names.count(name)

    async def _force(self, name: str) -> None:
        await self.cloud.v2.run_task(name=task_name(name))

    async def _pause(self, name: str) -> None:
        await self.cloud.v2.pause_queue(name=QUEUE)

    async def _resume(self, name: str) -> None:
        await self.cloud.v2.resume_queue(name=QUEUE)

    async def _advance(self, name: str) -> None:
        await self.cloud.runner.advance(1)

    async def _purge(self, name: str) -> None:
        before = set(self.created)
        await self.cloud.v2.purge_queue(name=QUEUE)
        for purged in before - self.gone.keys():
            self.gone[purged] = self.cloud.app.names.count(purged)


@pytest.mark.parametrize("seed", range(3))
async def test_many_clients_at_once(cloud: Cloud, seed: int) -> None:
    """A task runs once unless it fails, and never starts after it was deleted.

    In the end each task that was created has succeeded or was deleted, and the queue is
    empty.
    """
    race = Race(cloud, seed)
    clients: list[Awaitable[None]] = [race.client() for _ in range(CLIENTS)]
    await asyncio.gather(*clients)
    await cloud.v2.pause_queue(name=QUEUE)
    await cloud.runner.quiet(PATIENCE)
    assert await cloud.count() == len(await cloud.listed())
    await cloud.v2.resume_queue(name=QUEUE)
    await cloud.runner.advance(86400)

    assert race.twice == []
    assert set(race.created.values()) == set(race.succeeded.values()) == {1}
    starts = collections.Counter(cloud.app.names)
    assert {name: starts[name] for name in race.gone} == race.gone
    assert set(race.created) == race.succeeded.keys() | race.gone.keys()
    assert (ids(await cloud.listed()), await cloud.count()) == ([], 0)
    assert not cloud.queue().running
